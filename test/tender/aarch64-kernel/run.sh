#!/bin/sh
# What qemu-user cannot show: that the seal of a guest holds on a real arm64 kernel. Boots Debian's kernel in an emulated
# machine, with init.c as its only program, and prints what that has checked. About two minutes; not a part of `npm test`.
#
#   apt-get install -y --no-install-recommends qemu-system-arm busybox-static gcc-aarch64-linux-gnu
#   test/tender/aarch64-kernel/run.sh [METAPACKAGE [PROCESSOR]]
#
# METAPACKAGE is Debian's name of the kernel (default: linux-image-cloud-arm64), PROCESSOR QEMU's of a processor (max).
set -eu

top=$(cd -- "$(dirname -- "$0")/../../.." && pwd)
kernel=${1:-linux-image-cloud-arm64}
build=$top/build/unikernel-aarch64
for program in qemu-system-aarch64 busybox; do
  command -v "$program" >/dev/null || {
    echo "run.sh: $program is missing: apt-get install -y --no-install-recommends qemu-system-arm busybox-static" >&2
    exit 69
  }
done

"$top/broker/unikernel/fetch-sysroot.sh" aarch64
"$top/broker/unikernel/fetch-sysroot.sh" aarch64 "$top/build/$kernel" "$kernel"
make -s -C "$top/broker/unikernel" ARCH=aarch64 tests "$build/kernel-init"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/root/guests"
cp "$build/kernel-init" "$work/root/init"
cp "$build/kerb-tender" "$work/root/"
cp "$build"/guests/*.elf "$work/root/guests/"
(cd "$work/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"
timeout 300 qemu-system-aarch64 -M virt -cpu "${2:-max}" -m 512 -smp 2 -nographic -net none -no-reboot \
  -kernel "$top/build/$kernel"/boot/vmlinuz-* -initrd "$work/initrd" -append "console=ttyAMA0 panic=-1 quiet audit=0" \
  </dev/null | tr -d '\r' | tee "$work/log"
grep -q '^[0-9]* checks passed, 0 failed$' "$work/log"
