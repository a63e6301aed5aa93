# shellcheck shell=bash
# A throwaway API server over its own etcd, without nodes: it judges what a chart renders as a cluster would.
# shellcheck disable=SC2154 # kind/lib/env.sh sets what is not set here

# api_server_up FOLDER: starts it and leaves $api_server, a kubeconfig. Its processes end by api_server_down, with all
# that they held: nothing is to be saved, so they are not asked.
api_server_up() {
  local etcd port token=charts
  etcd=$(free_port) port=$(free_port)
  api_server=$1/kubeconfig
  openssl genrsa -out "$1/sa.key" 2048 2>/dev/null
  echo "$token,charts,charts,system:masters" >"$1/tokens.csv"
  cat >"$api_server" <<YAML
apiVersion: v1
kind: Config
current-context: charts
contexts: [{name: charts, context: {cluster: charts, user: charts}}]
users: [{name: charts, user: {token: $token}}]
# The server signs a certificate of its own at each start, and listens here only.
clusters: [{name: charts, cluster: {server: "https://127.0.0.1:$port", insecure-skip-tls-verify: true}}]
YAML
  chmod 600 "$api_server"
  "$bin/etcd" --data-dir="$1/etcd" --listen-client-urls="http://127.0.0.1:$etcd" --advertise-client-urls="http://127.0.0.1:$etcd" \
    --listen-peer-urls=http://127.0.0.1:0 --unsafe-no-fsync >"$1/etcd.log" 2>&1 &
  api_server_processes=($!)
  # No controller makes service accounts here, and no pod ever runs.
  "$bin/kube-apiserver" --etcd-servers="http://127.0.0.1:$etcd" --secure-port="$port" --bind-address=127.0.0.1 \
    --cert-dir="$1/certificates" --token-auth-file="$1/tokens.csv" --authorization-mode=RBAC \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$1/sa.key" \
    --service-account-signing-key-file="$1/sa.key" --service-cluster-ip-range=10.96.0.0/16 \
    --disable-admission-plugins=ServiceAccount >"$1/kube-apiserver.log" 2>&1 &
  api_server_processes+=($!)
  local end=$((SECONDS + 90))
  until kubectl get --raw /readyz >/dev/null 2>&1; do
    if ((SECONDS >= end)) || ! kill -0 "${api_server_processes[@]}" 2>/dev/null; then
      tail -n 15 "$1/etcd.log" "$1/kube-apiserver.log" >&2
      return 1
    fi
    sleep 0.2
  done
}

api_server_down() {
  local process
  for process in "${api_server_processes[@]:-}"; do
    [ -n "$process" ] || continue
    kill -9 "$process" 2>/dev/null || true
    # It answers how the process ended, which is no failure of ours.
    wait "$process" 2>/dev/null || true
  done
}

# A port of the loopback interface on which nobody listens, below those that the kernel hands out.
free_port() {
  local port
  while port=$((20000 + SRANDOM % 9000)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# kubectl for that server, whatever the user's own configuration says.
kubectl() { command kubectl --kubeconfig "$api_server" "$@"; }
