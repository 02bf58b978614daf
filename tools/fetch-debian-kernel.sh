#!/bin/sh
# Fetches Debian's stock kernel for tests that need what the kernel of this machine may not have (CAN, vxcan, can-gw,
# netem). It is downloaded with apt, unpacked into build/kernel, and never installed; what is there already is kept.
# What tests find then: build/kernel/vmlinuz, build/kernel/version, build/kernel/modules/**.ko[.xz].
set -eu
cd "$(dirname "$0")/.."
folder=build/kernel
[ ! -f "$folder/complete" ] || exit 0

fail() { echo "fetch-debian-kernel: $*" >&2; exit 1; }

[ "$(uname -m)" = x86_64 ] || fail "it is for x86-64; this machine is $(uname -m)"
command -v apt-get >/dev/null 2>&1 || fail "there is no apt-get here"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The metapackage names the kernel of this release.
newest() { apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1; }
# apt's own user has to be able to write there, or apt says so.
chmod 755 "$work"
download() { package=$(newest); [ -n "$package" ] && (cd "$work" && apt-get download -qq "$package" >log 2>&1); }
if ! download; then
  # Old package lists are the commonest reason for a failure. Who is not root cannot renew them.
  [ "$(id -u)" != 0 ] || apt-get update >"$work/update" 2>&1 || { tail -n 5 "$work/update" >&2; fail "apt-get update failed"; }
  download || { [ ! -f "$work/log" ] || tail -n 5 "$work/log" >&2; fail "apt-get cannot download Debian's kernel (linux-image-amd64)"; }
fi

mkdir "$work/root"
# The folders that tests need, out of 400 MB.
dpkg-deb --fsys-tarfile "$work"/linux-image-*.deb | tar -x -C "$work/root" --wildcards \
  '*/boot/vmlinuz-*' '*/kernel/drivers/virtio' '*/kernel/drivers/net/can' '*/kernel/net/can' '*/kernel/net/9p' '*/kernel/net/sched' \
  '*/kernel/fs/9p' '*/kernel/fs/netfs' '*/kernel/fs/fscache' '*/kernel/fs/overlayfs' 2>"$work/log" ||
  # A folder that this kernel does not have is not missed: its code is elsewhere, or in the kernel itself.
  ! grep -v -e 'Not found in archive' -e 'Exiting with failure' "$work/log" >&2 || fail "the kernel's package cannot be unpacked"

image=$(find "$work/root" -name 'vmlinuz-*' | head -n 1)
[ -n "$image" ] || fail "there is no kernel in $package"
version=$(basename "$image")
version=${version#vmlinuz-}
modules=$(find "$work/root" -type d -path "*/lib/modules/$version" | head -n 1)
[ -n "$modules" ] || fail "there are no modules in $package"
rm -rf "$folder"
mkdir -p "$folder"
mv "$image" "$folder/vmlinuz"
mv "$modules" "$folder/modules"
echo "$version" >"$folder/version"
touch "$folder/complete"
