#!/bin/sh
# Builds one task into a unikernel image.
#
#   build-task.sh SOURCE IMAGE [LIBRARY...]
#
# SOURCE is a folder (all its *.c files are the task) or one C file, or a folder with a task in TypeScript, which
# typescript/build.ts makes C of and hands back to this script. A folder with C files may hold a file `libraries`: names of
# Debian static libraries, one a line, as after gcc's -l (`z` for zlib). KERB_ARCH names the machine that the image is for
# (x86_64, aarch64; default: this one). KERB_TASK_CFLAGS adds compiler flags. The compiler's messages come through as they
# are; its warnings are for the task's own files.
set -eu

here=$(cd -- "$(dirname -- "$0")" && pwd)
arch=${KERB_ARCH:-$(uname -m)}
build=$here/../../build/unikernel
[ "$arch" = "$(uname -m)" ] || build=$build-$arch

if [ $# -lt 2 ]; then
  echo "usage: build-task.sh SOURCE IMAGE [LIBRARY...]" >&2
  exit 64
fi
source=$1
image=$2
shift 2
if [ ! -f "$build/libos.a" ] || [ ! -f "$build/libpure.a" ]; then
  echo "build-task.sh: the libOS for $arch is not built: run npm run setup, or make -C $here ARCH=$arch" >&2
  exit 69
fi

# The arguments of this script become, in order: sources, then libraries.
for library in "$@"; do
  set -- "$@" "-l$library"
  shift
done
if [ -d "$source" ]; then
  if [ -f "$source/libraries" ]; then
    while read -r library; do
      [ -z "$library" ] || set -- "$@" "-l$library"
    done <"$source/libraries"
  fi
  for file in "$source"/*.ts; do
    [ -e "$file" ] || continue
    # --liftoff-only: the compiler is WebAssembly itself and runs for a second or two, which is over before code that V8
    # optimises (on every processor) has paid for itself.
    exec "$here/../../node_modules/.bin/node" --disable-warning=ExperimentalWarning --liftoff-only \
      "$here/typescript/build.ts" "$source" "$image"
  done
  found=
  for file in "$source"/*.c; do
    [ -e "$file" ] || continue
    found=yes
    set -- "$file" "$@"
  done
  if [ -z "$found" ]; then
    echo "build-task.sh: $source holds neither C nor TypeScript" >&2
    exit 66
  fi
elif [ -f "$source" ]; then
  set -- "$source" "$@"
else
  echo "build-task.sh: $source does not exist" >&2
  exit 66
fi

# -ffp-contract=off: a processor with fused multiply-add gives the same bytes as one without.
libraries=$("$here/musl-cc.sh" --libraries)
words=$(mktemp)
trap 'rm -f "$words"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
status=0
# LC_ALL: the linker's words are looked through, and have to be the ones that are known.
# shellcheck disable=SC2086
LC_ALL=C "$here/musl-cc.sh" -std=gnu11 -O3 -g0 -Wall -Wextra ${KERB_TASK_CFLAGS:-} \
  -fno-pic -fno-pie -fno-plt -mcmodel=small -fstack-protector-strong -fstack-clash-protection -fno-asynchronous-unwind-tables \
  -ffp-contract=off -ffunction-sections -fdata-sections -fno-common -isystem "$here/include" \
  -nostdlib -static -no-pie -Wl,--build-id=none -Wl,--gc-sections ${KERB_WERROR:+-Wl,--fatal-warnings} \
  -Wl,--wrap=vfprintf,--wrap=fwrite,--wrap=fwrite_unlocked -Wl,-z,noexecstack -Wl,-z,max-page-size=4096 -T "$here/libos/kerbside.ld" \
  -o "$image" "$@" -L "$libraries" -Wl,--start-group "$build/libos.a" "$build/libpure.a" -lgcc -Wl,--end-group \
  2>"$words" || status=$?
cat "$words" >&2
[ "$status" -eq 0 ] || "$here/link-hints.sh" <"$words" >&2
exit "$status"
