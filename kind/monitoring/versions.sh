# shellcheck shell=bash
# Prometheus and Alertmanager, of which the cluster itself knows nothing. Sourced, never run.
# shellcheck disable=SC2034 # read by the scripts that source this file

# Prometheus 3.x is v0.3xx as a Go module.
prometheus_version=v0.316.0
alertmanager_version=v0.35.0
