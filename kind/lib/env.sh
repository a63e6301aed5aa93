# shellcheck shell=bash
# The names and places that all scripts here share. Sourced first, never run.
#
# What a user may set:
#   FEATUREMILL_CACHE      where everything fetched or built is kept (default ~/.cache/featuremill)
#   FEATUREMILL_CLUSTER    the cluster's name (default featuremill)
#   FEATUREMILL_PORT_BASE  its ports on 127.0.0.1 start here (default 30000); give each cluster its own
#   FEATUREMILL_IMAGES     auto (default), stock (needs a registry) or own (needs none)
# shellcheck disable=SC2034 # read by the scripts that source this file

kind_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root_dir=$(dirname "$kind_dir")
cache=${FEATUREMILL_CACHE:-$HOME/.cache/featuremill}
cluster=${FEATUREMILL_CLUSTER:-featuremill}
port_base=${FEATUREMILL_PORT_BASE:-30000}
kafka_port=$((port_base + 92))
redis_port=$((port_base + 379))
serve_port=$((port_base + 566))
s3_port=$((port_base + 900))

node=$cluster-control-plane          # kind's name for the node's container
state=$cache/clusters/$cluster       # what belongs to this cluster alone
kubeconfig=$state/kubeconfig
bin=$cache/bin
logs=$cache/logs
mkdir -p "$bin" "$logs" "$cache/locks"

# Outside the checkout, so that a clean one starts warm.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
# Cargo knows sources by their times, and some hold the path of their checkout: another checkout's are all newer.
if [ -d "$CARGO_TARGET_DIR" ] && [ "$(cat "$CARGO_TARGET_DIR/.checkout" 2>/dev/null)" != "$root_dir" ]; then
  [ ! -e "$CARGO_TARGET_DIR/.checkout" ] || find "$root_dir" -name target -prune -o -name '*.rs' -exec touch {} +
  echo "$root_dir" >"$CARGO_TARGET_DIR/.checkout"
fi

# The machine's own tools win over those installed here.
export PATH=$PATH:$bin:/usr/sbin:/sbin

. "$kind_dir/versions.sh"
. "$kind_dir/lib/step.sh"
