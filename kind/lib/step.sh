# shellcheck shell=bash
# shellcheck disable=SC2154 # lib/env.sh sets what is not set here
# How a script here speaks: what it does, how long that usually takes, how long
# it has taken, and on failure the end of the log and what to do about it.

say() { printf '%s\n' "$*" >&2; }

# die MESSAGE...: one line per argument, the last of them the fix.
die() { printf '%s\n' "$@" >&2; exit 1; }

# step TITLE USUAL COMMAND...: runs COMMAND with its output in a log file.
# `fix=… step …` names the remedy to show if it fails.
# Never call it in a condition: bash would then ignore errors inside COMMAND.
step() {
  local title=$1 usual=$2 log status start=$SECONDS ticker
  shift 2
  log=$logs/$(tr -cs '[:alnum:]' - <<<"${title,,}" | sed 's/-$//').log
  say "==> $title (usually $usual)"
  ticker "$title" &
  ticker=$!
  # The command stays in the foreground, so that Ctrl-C reaches it.
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1 </dev/null
  status=$?
  set -e
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  [ -t 2 ] && printf '\r\033[K' >&2
  if [ "$status" -ne 0 ]; then
    say "    $title: failed after $((SECONDS - start)) s. The end of $log:"
    tail -n 25 "$log" | sed 's/^/    | /' >&2
    say "    Fix: ${fix:-read the log above; running the same command again continues where it stopped}"
    exit "$status"
  fi
  say "    $title: done in $((SECONDS - start)) s"
}

# The elapsed seconds: on a terminal in place each second, else a line each half minute.
ticker() {
  local start=$SECONDS every=30
  [ -t 2 ] && every=1
  # It ends with the script, whatever ended that.
  while sleep "$every" >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    if [ -t 2 ]; then
      printf '\r\033[K    %s s' $((SECONDS - start)) >&2
    else
      say "    $1: $((SECONDS - start)) s so far"
    fi
  done
}

# locked NAME COMMAND...: one process at a time per NAME, over all checkouts that share the cache.
# As with `step`, never call it in a condition.
locked() {
  local name=$1
  shift
  (
    flock 9
    "$@"
  ) 9>"$cache/locks/$name"
}

# key FILE...: a short hash of the files' names (as given) and contents; folders are taken whole.
key() { find "$@" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12; }
