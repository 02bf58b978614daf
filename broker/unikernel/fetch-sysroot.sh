#!/bin/sh
# Unpacks what the cross compiler needs of another machine's Debian (musl, kernel headers, the libraries that tasks link)
# into build/sysroot-ARCH at the top of the repository, or other packages of it into another folder, unless that is there.
# Nothing is installed, dpkg learns of no other architecture, and nobody has to be root: apt is given lists of its own, from
# the sources that this machine has.
#
#   fetch-sysroot.sh aarch64 [FOLDER PACKAGE...]
#
# The metapackage of a kernel stands for the kernel that it names.
set -eu

arch=${1:?usage: fetch-sysroot.sh aarch64 [FOLDER PACKAGE...]}
case $arch in
  aarch64) debian=arm64 ;;
  x86_64) debian=amd64 ;;
  *)
    echo "fetch-sysroot.sh: $arch is neither aarch64 nor x86_64" >&2
    exit 64
    ;;
esac
shift
build=$(cd -- "$(dirname -- "$0")/../.." && pwd)/build
[ $# -gt 0 ] || set -- "$build/sysroot-$arch" musl-dev linux-libc-dev zlib1g-dev nettle-dev
root=$1
shift
[ ! -f "$root/complete" ] || exit 0
mkdir -p "$build"
work=$(mktemp -d "$build/.sysroot-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root" "$work/packages"

apt() {
  program=$1
  shift
  "$program" -qq -o APT::Architecture="$debian" -o APT::Architectures="$debian" -o Acquire::Languages=none \
    -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o APT::Sandbox::User="$(id -un)" -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
    -o Dir::State::status=/dev/null "$@" >"$work/log" 2>&1
}
fetch() {
  apt apt-get update || return
  for package in "$@"; do
    case $package in
      linux-image-*)
        apt apt-cache depends "$package" || return
        package=$(sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' "$work/log")
        ;;
    esac
    apt apt-get download "$package" || return
  done
}
cd "$work/packages"
if ! fetch "$@"; then
  tail -n 5 "$work/log" >&2
  echo "fetch-sysroot.sh: cannot fetch $* for $debian" >&2
  exit 69
fi
for package in *.deb; do dpkg-deb -x "$package" "$work/root"; done
touch "$work/root/complete"
rm -rf "$root"
mv "$work/root" "$root"
