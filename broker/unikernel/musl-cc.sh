#!/bin/sh
# The C compiler with musl's headers, for the machine that KERB_ARCH names (x86_64, aarch64; default: this one). For
# another machine it is Debian's cross compiler, and headers and libraries are those that fetch-sysroot.sh unpacked.
#
#   musl-cc.sh ARGUMENT...      as gcc
#   musl-cc.sh --libraries      prints where the static libraries of Debian are
#
# musl's headers come first, then gcc's own, and after all that the arguments name Debian's, for libraries such as zlib.
set -eu

here=$(cd -- "$(dirname -- "$0")" && pwd)
arch=${KERB_ARCH:-$(uname -m)}
if [ "$arch" = "$(uname -m)" ]; then
  gcc=gcc
  root=
else
  gcc=$arch-linux-gnu-gcc
  root=$here/../../build/sysroot-$arch
  if ! command -v "$gcc" >/dev/null || [ ! -f "$root/complete" ]; then
    echo "musl-cc.sh: nothing to compile for $arch with: run  npm run setup  as root, or apt-get install" \
      "gcc-$(echo "$arch" | tr _ -)-linux-gnu  and then  $here/fetch-sysroot.sh $arch" >&2
    exit 69
  fi
fi

case $arch in
  x86_64) flags=-fcf-protection=none ;;
  # Without outline atomics: those ask the run-time library, and so the kernel, what the processor has.
  aarch64) flags="-mbranch-protection=none -mno-outline-atomics" ;;
  *)
    echo "musl-cc.sh: no unikernel is built for $arch, only for x86_64 and aarch64" >&2
    exit 64
    ;;
esac

if [ "${1:-}" = --libraries ]; then
  echo "$root/usr/lib/$arch-linux-gnu"
  exit
fi
# shellcheck disable=SC2086
exec "$gcc" -nostdinc -isystem "$root/usr/include/$arch-linux-musl" -isystem "$("$gcc" -print-file-name=include)" $flags "$@" \
  -idirafter "$root/usr/include" -idirafter "$root/usr/include/$arch-linux-gnu" -idirafter /usr/include
