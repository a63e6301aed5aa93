# shellcheck shell=bash
# Prometheus and Alertmanager, of which the cluster itself knows nothing. Sourced, never run.
# shellcheck disable=SC2034 # read by the scripts that source this file

# Prometheus 3.x is v0.3xx as a Go module.
prometheus_version=v0.316.0
alertmanager_version=v0.35.0

# What draws the dashboard for its test: the library of Grafana's own time series, of npm.
uplot_version=1.6.32
uplot_sha512=2883159c6ebccefbb95d751b0b82d010f9e1c0ec41b8bc96d401eda66e882935c89a46cb824332fa369b8cb8122cc6ac36e186cd09bf7a9ded3a4c93c6989023
