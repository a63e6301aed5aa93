# shellcheck shell=bash
# Which images there are, in the engine and in the cluster's node, and how they get there.
# shellcheck disable=SC2154 # lib/env.sh sets what is not set here

have_image() { docker image inspect "$1" >/dev/null 2>&1; }

# Whether the cluster's node holds exactly this image under this name.
node_has() {
  local id target
  id=$(docker image inspect -f '{{.Id}}' "$1")
  target=$(on_node images ls "name==$(full_name "$1")" | awk 'NR == 2 {print $3}')
  [ -n "$target" ] || return
  # The node lists a manifest; Docker names an image by its configuration, or with containerd's store by that manifest.
  [ "$target" = "$id" ] || [ "$(on_node content get "$target" | jq -r .config.digest)" = "$id" ]
}

# load IMAGE...: brings images of the engine to the node, those that it lacks.
# It is what `kind load docker-image` does, as a stream and for this platform alone.
load() {
  local image wanted=()
  for image in "$@"; do node_has "$image" || wanted+=("$image"); done
  [ ${#wanted[@]} -eq 0 ] && return
  docker save "${wanted[@]}" | docker exec -i "$node" ctr --namespace=k8s.io images import --digests -
}

# forget_old NAME: the engine forgets builds of an image, tagged by their hash, that no other tag names any more.
forget_old() {
  local tag id kept
  kept=$(docker image ls --no-trunc --format '{{.Tag}} {{.ID}}' "$1" | awk 'length($1) != 12 || $1 ~ /[^0-9a-f]/ {print $2}')
  docker image ls --no-trunc --format '{{.Tag}} {{.ID}}' "$1" | while read -r tag id; do
    if [[ $tag =~ ^[0-9a-f]{12}$ ]] && ! grep -qxF "$id" <<<"$kept"; then
      docker rmi "$1:$tag" >/dev/null || true
    fi
  done
}

# forget_on_node NAME: the node forgets those that the engine has forgotten. Kubernetes names each image a second time, by
# its hash, and would keep it for that: a few builds fill a disk.
forget_on_node() {
  local image
  on_node images ls -q | { grep -E "/$1:[0-9a-f]{12}$" || true; } | while read -r image; do
    have_image "$1:${image##*:}" || on_node images rm "$image" >/dev/null || true
  done
  on_node images ls | awk '
    $1 ~ /^sha256:/ {hash[$1] = $3}
    $1 !~ /^sha256:/ {named[$3] = 1}
    END {for (image in hash) if (!(hash[image] in named)) print image}' | while read -r image; do
    on_node images rm --sync "$image" >/dev/null || true
  done
}

# ctr would otherwise warn of cgroup v1 at each call.
on_node() { docker exec --env CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1 "$node" ctr --namespace=k8s.io "$@"; }

# The name by which Kubernetes knows an image.
full_name() { case $1 in *.*/*) echo "$1" ;; */*) echo "docker.io/$1" ;; *) echo "docker.io/library/$1" ;; esac; }
