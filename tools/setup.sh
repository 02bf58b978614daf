#!/bin/sh
# Brings a fresh Debian machine with Node and npm to where Kerbside runs (`setup.sh start`) or is tested
# (`setup.sh test`, the default). It looks first and does only what is missing, so it may be run at any time; when
# nothing is missing it prints nothing.
set -eu
cd "$(dirname "$0")/.."
purpose=${1:-test}

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

# --- Debian packages -------------------------------------------------------------------------------------------------
# gcc, musl-tools: unikernels and tender; nettle-dev, zlib1g-dev: linked into example tasks; wabt: tasks in TypeScript;
# g++, python3, make: the socketcan add-on; can-utils: cangw, for CAN interfaces of containers; the rest are run as they are.
packages="can-utils docker.io ffmpeg gcc g++ iproute2 libc6-dev make musl-dev musl-tools nettle-dev python3 wabt zlib1g-dev"
[ "$purpose" = test ] && packages="$packages busybox-static faketime"

# Which of these are not installed; each with a blank before it.
missing_of() {
  for package in "$@"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || printf ' %s' "$package"
  done
}

# As root installs these packages; otherwise says how. Its status says whether they are there now.
provide() {
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: these Debian packages are missing, and there is no apt-get here: $*" >&2
    return 1
  fi
  if [ "$(id -u)" != 0 ]; then
    echo "setup: Debian packages are missing; run this line and try again:  sudo apt-get install -y --no-install-recommends $*" >&2
    return 1
  fi
  say "installing Debian packages: $*"
  log=$(mktemp)
  # Old package lists are the commonest reason for a failure, so they are renewed first.
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    echo "setup: apt-get could not install: $* (its whole output is in $log)" >&2
    return 1
  fi
  rm -f "$log"
}

missing=$(missing_of $packages)
[ -z "$missing" ] || provide $missing || exit 1

# --- npm packages ----------------------------------------------------------------------------------------------------
# The stamp says which lock file node_modules was made from; without it an interrupted `npm ci` would pass for done.
stamp=node_modules/.kerbside-lock
wanted=$(cksum <package-lock.json)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
  say "installing npm packages (npm ci)"
  # Not from our own node_modules/.bin, which npm ci is about to remove.
  PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -v 'node_modules/\.bin$' | paste -sd: -)
  # node-gyp downloads Node's headers unless it is told where some are. Any will do: the add-on uses Node-API, which is
  # the same in all of them.
  if [ -z "${npm_config_nodedir:-}" ] && [ -f /usr/include/node/node_api.h ]; then export npm_config_nodedir=/usr; fi
  npm ci --no-audit --no-fund --loglevel=error || fail "npm ci failed; its message is above"
  [ -x node_modules/.bin/node ] || fail "the npm package 'node' did not bring its binary; run 'npm ci' and look for its message"
  # npm leaves out optional packages whose engines do not name the Node that it runs with; with Debian's Node those are
  # native parts of what we use. A second look, with the Node that the first one brought, gets them.
  if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 24 ]; then
    NODE_OPTIONS=--no-deprecation node_modules/.bin/node "$(readlink -f "$(command -v npm)")" \
      install --no-save --no-audit --no-fund --loglevel=error || fail "npm install failed; its message is above"
  fi
  echo "$wanted" >"$stamp"
fi
node_modules/.bin/node -e 'process.exit(process.versions.node.split(".")[0] >= 24 ? 0 : 1)' ||
  fail "node_modules/.bin/node is not Node 24; remove node_modules and try again"

# --- our own build ---------------------------------------------------------------------------------------------------
tools/generate-protocol.sh || fail "the protobuf code could not be generated; the message is above"
tools/build-app-sdk.sh || fail "shared/app-sdk could not be built; the message is above"
unikernel() { make -s -C broker/unikernel "$@"; }

# Builds the example tasks one by one (arguments are make's): each that does not build is named in one line, and keeps
# nothing else from starting.
example_tasks() {
  folder=$1
  shift
  mkdir -p "$folder/tasks"
  for task in $(unikernel "$@" list-tasks); do
    log=$folder/tasks/$task.log
    if unikernel "$@" "$PWD/$folder/tasks/$task.elf" >"$log" 2>&1; then
      cat "$log" >&2
      rm -f "$log"
      continue
    fi
    rm -f "$folder/tasks/$task.elf"
    why=$({ grep -m 1 -i -E 'error|build-task\.sh' "$log" || head -n 1 "$log"; } | cut -c 1-300)
    echo "setup: going on without the example task $task, which does not build: $why (all of it: $log)" >&2
  done
}

target=all
[ "$purpose" = test ] && target=tests
if ! make -C broker/unikernel -q "$target" >/dev/null 2>&1; then
  say "building the tender, the libOS and the example tasks (make -C broker/unikernel $target)"
  unikernel core || fail "broker/unikernel did not build; the compiler's message is above"
  example_tasks build/unikernel
  if [ "$purpose" = test ] && ! unikernel -k test-parts; then
    say "some of what only tests run did not build; the message is above, and the tests that need it will fail"
  fi
fi

# What Node makes of the sources; renewed when one of them, or a package, is newer.
cache=build/compile-cache
if [ ! -f "$cache/complete" ] ||
  [ -n "$(find cli obu broker shared sim node_modules/.kerbside-lock -type f \( -name '*.ts' -o -name '*.js' -o -name .kerbside-lock \) \
    -newer "$cache/complete" | head -n 1)" ]; then
  say "compiling the TypeScript sources into $cache"
  # Once for each set of V8 flags in bin/kerb: they are part of what a cache is good for.
  for flags in "" --max-semi-space-size=2; do
    NODE_COMPILE_CACHE=$cache node_modules/.bin/node --disable-warning=ExperimentalWarning $flags \
      tools/fill-compile-cache.ts || fail "a source cannot be loaded; the message is above"
  done
  touch "$cache/complete"
fi

# --- a kernel with CAN, for tests only: they use this machine's own where it has vcan, vxcan and can-gw --------------------
if [ "$purpose" = test ] && [ "$(uname -m)" = x86_64 ]; then
  kernel() {
    missing=$(missing_of qemu-system-x86)
    [ -z "$missing" ] || provide $missing || return 1
    [ ! -f build/kernel/complete ] || return 0
    say "fetching Debian's stock kernel into build/kernel (70 MB, nothing is installed)"
    tools/fetch-debian-kernel.sh
  }
  kernel || say "the message is above; going on without a kernel for the SocketCAN tests, which will say that they are not run"
fi

# --- arm64, for tests only: nothing else fails where it cannot be had --------------------------------------------------
if [ "$purpose" = test ] && [ "$(uname -m)" = x86_64 ]; then
  arm64() {
    missing=$(missing_of gcc-aarch64-linux-gnu qemu-user)
    [ -z "$missing" ] || provide $missing || return 1
    if [ ! -f build/sysroot-aarch64/complete ]; then
      say "fetching musl, zlib and nettle for arm64 into build/sysroot-aarch64 (nothing is installed)"
      broker/unikernel/fetch-sysroot.sh aarch64 || return 1
    fi
    make -C broker/unikernel -q ARCH=aarch64 tests >/dev/null 2>&1 && return
    say "building the tender, the libOS and the example tasks for arm64 (make -C broker/unikernel ARCH=aarch64 tests)"
    unikernel ARCH=aarch64 core || return 1
    example_tasks build/unikernel-aarch64 ARCH=aarch64
    unikernel -k ARCH=aarch64 test-parts
  }
  arm64 || say "the message is above; going on without arm64, whose tests will not be run"
fi
