# shellcheck shell=bash
# shellcheck disable=SC2154 # lib/env.sh sets what is not set here
# Programs built from Go modules, into $bin. Each is built once per version.

needs_go() {
  command -v go >/dev/null || die "Go is missing." "Fix: install Go 1.24 or newer (https://go.dev/dl); it fetches the release it needs by itself."
}

# go_tool NAME VERSION PACKAGE USUAL: a program that the machine has not got, by `go install`.
go_tool() {
  command -v "$1" >/dev/null && return
  needs_go
  fix="see whether the Go module proxy answers: go env GOPROXY" \
    step "Build $1 $2" "$4" locked "$1" env GOBIN="$bin" GOFLAGS=-buildvcs=false go install "$3@$2"
}

# The Kubernetes binary with its names: $bin/kubernetes and links.
kubernetes() {
  local stamp
  stamp=$(cd "$kind_dir" && key kubernetes versions.sh)
  [ "$(cat "$bin/.kubernetes" 2>/dev/null)" = "$stamp" ] && return
  needs_go
  fix="see whether the Go module proxy answers: go env GOPROXY" \
    step "Build Kubernetes $kubernetes_version from source" "6 min the first time, 1 min after" locked kubernetes kubernetes_build "$stamp"
}

kubernetes_build() {
  local component=k8s.io/component-base/version client=k8s.io/client-go/pkg/version name
  local minor=${kubernetes_version#v1.}
  go_build kubernetes . "-X $component.gitVersion=$kubernetes_version -X $component.gitMajor=1 -X $component.gitMinor=${minor%%.*} \
    -X $component.gitTreeState=clean -X $client.gitVersion=$kubernetes_version"
  for name in etcd kube-apiserver kube-controller-manager kubectl; do ln -sf kubernetes "$bin/$name"; done
  echo "$1" >"$bin/.kubernetes"
}

# go_build NAME PACKAGE LINKER_FLAGS: a static binary from the module of the same folder, with `tags` if set.
# It appears whole or not at all, because others may be running the old one.
go_build() {
  CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -C "$kind_dir/${module:-$1}" -trimpath -tags "${tags:-}" \
    -ldflags "-s -w $3" -o "$bin/.$1.new" "$2"
  mv "$bin/.$1.new" "$bin/$1"
}
