# shellcheck shell=bash
# The cluster itself: which images it is made of, its configuration, its life.
# shellcheck disable=SC2154 # lib/env.sh sets what is not set here

cluster_exists() { docker container inspect "$node" >/dev/null 2>&1; }

# `stock` or `own`: what the cluster was made of, or for a new one what can be had here.
flavour() {
  if cluster_exists && [ -e "$state/flavour" ]; then
    cat "$state/flavour"
  elif [ "${FEATUREMILL_IMAGES:-auto}" != auto ]; then
    echo "$FEATUREMILL_IMAGES"
  elif have_image "$stock_node_image" || timeout 20 docker pull --quiet "$probe_image" >/dev/null 2>&1; then
    echo stock
  else
    echo own
  fi
}

# cluster_config FLAVOUR: kind's configuration, on stdout.
cluster_config() {
  cat <<YAML
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  extraPortMappings:
  - {listenAddress: 127.0.0.1, hostPort: $kafka_port, containerPort: 30092}
  - {listenAddress: 127.0.0.1, hostPort: $redis_port, containerPort: 30379}
  - {listenAddress: 127.0.0.1, hostPort: $serve_port, containerPort: 30566}
  - {listenAddress: 127.0.0.1, hostPort: $s3_port, containerPort: 30900}
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  failCgroupV1: false # some machines still have it
YAML
  [ "$1" = own ] || return 0
  # What the node of kind/node has: no systemd cgroups, a resolver that pods can
  # reach, one CNI plugin, and nft but no iptables for kube-proxy.
  cat <<YAML
  cgroupDriver: cgroupfs
  resolvConf: /etc/pods-resolv.conf
networking: {disableDefaultCNI: true, kubeProxyMode: nftables, podSubnet: 10.244.0.0/16}
YAML
}

# cluster_is FLAVOUR IMAGE: whether the cluster is one that would be made today.
cluster_is() {
  cluster_config "$1" | cmp -s - "$state/kind.yaml" || return 1
  # A stock image is named by its version; ours by all that goes in.
  [ "$1" != own ] || [ "$(docker container inspect -f '{{.Config.Image}}' "$node")" = "$2" ]
}

# cluster_create FLAVOUR IMAGE
cluster_create() {
  cluster_exists && return
  mkdir -p "$state"
  echo "$1" >"$state/flavour"
  cluster_config "$1" >"$state/kind.yaml"
  kind create cluster --name "$cluster" --image "$2" --config "$state/kind.yaml" --kubeconfig "$kubeconfig"
}

# A node that stopped, with its engine for one, starts again with all that it held.
cluster_resume() {
  docker start "$node"
  kind export kubeconfig --name "$cluster" --kubeconfig "$kubeconfig"
  await 60 kubectl get --raw /readyz
  kubectl wait node --all --for=condition=Ready --timeout=60s
}

# await SECONDS COMMAND...: until it succeeds.
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || { echo "not in time: $*"; return 1; }
    sleep 0.5
  done
}

# kubectl for this cluster, whatever the user's own configuration says.
kubectl() { command kubectl --kubeconfig "$kubeconfig" "$@"; }
