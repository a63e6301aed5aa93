# shellcheck shell=bash
# Every version of the local cluster, once. Sourced, never run.
# Kubernetes and containerd as built here are pinned by kubernetes/go.mod and
# containerd/go.mod; the lines below must agree with them.
# shellcheck disable=SC2034 # read by the scripts that source this file

kubernetes_version=v1.36.3
containerd_version=v2.2.1
# What kubeadm of that Kubernetes asks for by name.
coredns_version=v1.14.2
etcd_tag=3.6.8-0
pause_tag=3.10.2

kind_version=v0.33.0
helm_version=v4.3.1
kafka_version=4.3.1
s3_version=v1.8.0

# Stock images, for a machine that reaches a registry. kind lists the node image with its release.
stock_node_image=kindest/node:v1.36.4@sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed
stock_kafka_image=apache/kafka:$kafka_version
stock_redis_image=redis:7.4
stock_s3_image=versity/versitygw:$s3_version
# The smallest image there is: pulling it tells whether a registry answers.
probe_image=hello-world:latest
