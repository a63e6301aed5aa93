# shellcheck shell=bash
# shellcheck disable=SC2154 # lib/env.sh sets what is not set here
# What the machine must have: Debian packages and a running Docker engine.

# packages COMMAND=PACKAGE...: installs the packages whose command is missing.
packages() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || die "These are missing: ${missing[*]}" "Fix: install them; this machine has no apt-get."
  [ "$(id -u)" -eq 0 ] || die "These packages are missing: ${missing[*]}" "Fix: sudo apt-get install --no-install-recommends ${missing[*]}"
  fix="see whether the package mirror answers: apt-get update" \
    step "Install ${missing[*]}" "1 min" locked apt apt_install "${missing[@]}"
}

apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -y -q --no-install-recommends "$@"
  # Tests start their own Redis on their own ports; Debian's would only be in the way.
  if [[ " $* " == *" redis-server "* && -d /run/systemd/system ]]; then
    systemctl disable --now redis-server
  fi
}

engine_runs() { docker info >/dev/null 2>&1; }

# Makes sure that a Docker engine answers, and remembers one that we started.
engine_up() {
  engine_runs && return
  packages docker=docker.io dockerd=docker.io runc=runc iptables=iptables jq=jq
  fix="read $logs/dockerd.log" step "Start the Docker engine" "5 s" locked engine engine_start
}

engine_start() {
  local pid options=()
  engine_runs && return
  [ "$(id -u)" -eq 0 ] || { echo "Only root can start dockerd."; return 1; }
  if [ -d /run/systemd/system ] && systemctl start docker; then
    engine_runs
    return
  fi
  if ! has_sys_resource && ! jq -e '."default-runtime"' /etc/docker/daemon.json >/dev/null 2>&1; then
    # runc grants that capability to every container, which fails where root has not got it.
    install -m755 "$kind_dir/node/files/usr/local/bin/runc-capless" "$bin/runc-capless"
    options=(--add-runtime "capless=$bin/runc-capless" --default-runtime capless)
  fi
  # Descriptor 9 is the lock, which must not live as long as the engine.
  setsid nohup dockerd "${options[@]}" >"$logs/dockerd.log" 2>&1 </dev/null 9>&- &
  pid=$!
  echo "$pid" >"$cache/dockerd.pid"
  until engine_runs; do
    kill -0 "$pid" 2>/dev/null || { tail -n 20 "$logs/dockerd.log"; return 1; }
    sleep 0.2
  done
}

# Whether root here may raise resource limits (capability 24).
has_sys_resource() { (((0x$(awk '/^CapEff/ {print $2}' /proc/self/status) >> 24) & 1)); }

# Stops the engine if it is one that `engine_start` started.
engine_down() {
  local pid
  pid=$(cat "$cache/dockerd.pid" 2>/dev/null) || { say "The Docker engine was not started from here; it stays."; return 0; }
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
    kill "$pid"
    tail --pid="$pid" -f /dev/null
    say "Stopped the Docker engine (process $pid)."
  fi
  rm -f "$cache/dockerd.pid"
}
