# shellcheck shell=bash
# Container images from folders, without a registry or a Dockerfile: a folder
# becomes a tar, and `docker import` makes the tar an image of one layer.

# libraries ROOT BINARY...: copies the shared libraries that the binaries name, and their loader, if not in ROOT already.
libraries() {
  local root=$1 library
  shift
  ldd "$@" | sed -nE 's/^\t(.* => )?(\/[^ ]+) \(0x.*/\2/p' | sort -u | while read -r library; do
    [[ $library == "$root"/* ]] || install -D -m755 "$(readlink -f "$library")" "$root$library"
  done
}

# skeleton ROOT: what a program expects of a root file system. User 65532 owns nothing but may use /tmp.
skeleton() {
  mkdir -p "$1"/{etc/ssl/certs,usr/local/bin,tmp}
  chmod 1777 "$1/tmp"
  printf 'root:x:0:0::/:\nnonroot:x:65532:65532::/tmp:\n' >"$1/etc/passwd"
  printf 'root:x:0:\nnonroot:x:65532:\n' >"$1/etc/group"
  cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
}

# pack ROOT: the folder as a tar on stdout, the same bytes for the same files.
pack() { tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -c .; }

# import_root ROOT IMAGE INSTRUCTION...: the folder as an image, with Dockerfile instructions such as 'USER 65532'.
import_root() {
  local root=$1 image=$2 changes=() instruction
  shift 2
  for instruction in "$@"; do changes+=(--change "$instruction"); done
  pack "$root" | docker import "${changes[@]}" - "$image"
}
