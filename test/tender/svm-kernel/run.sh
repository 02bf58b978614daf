#!/bin/sh
# Isolation `vm` on AMD's SVM, whatever this machine is: boots Debian's kernel in QEMU, whose software emulation knows SVM, with
# init.c as its only program, and prints what that has checked. Minutes; not a part of `npm test`. It runs kerb-tender-patient:
# the tender as it is installed refuses KVM that is so slow.
#
#   apt-get install -y --no-install-recommends qemu-system-x86 busybox-static
#   test/tender/svm-kernel/run.sh [PROCESSOR]
#
# PROCESSOR is QEMU's name of a processor (default: EPYC). KERNEL names a folder with Debian's linux-image package unpacked;
# without it the package is fetched to build/linux-image, and not installed.
set -eu

top=$(cd -- "$(dirname -- "$0")/../../.." && pwd)
build=$top/build/unikernel
kernel=${KERNEL:-$top/build/linux-image}
for program in qemu-system-x86_64 busybox; do
  command -v "$program" >/dev/null || {
    echo "run.sh: $program is missing: apt-get install -y --no-install-recommends qemu-system-x86 busybox-static" >&2
    exit 69
  }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

if [ ! -e "$kernel/boot" ]; then
  package=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
  (cd "$work" && apt-get download -qq "$package" && dpkg -x "$package"_*.deb "$work/kernel")
  mkdir -p "$(dirname "$kernel")" && mv "$work/kernel" "$kernel"
fi
guests="hello float loop recursion write-to jump-to instruction divide leak leak-large claim"
# shellcheck disable=SC2086
make -s -C "$top/broker/unikernel" "$build/kernel-init" "$build/kerb-tender-patient" "$build/tasks/echo.elf" \
  "$top/build/bench/dirty-16M.elf" $(printf "$build/guests/%s.elf " $guests)

modules=$kernel/lib/modules/$(ls "$kernel/lib/modules")/kernel
mkdir -p "$work/root/guests" "$work/root/tasks" "$work/root/mod" "$work/root/dev"
cp "$build/kernel-init" "$work/root/init"
cp "$build/kerb-tender-patient" "$work/root/kerb-tender"
for guest in $guests; do cp "$build/guests/$guest.elf" "$work/root/guests/"; done
cp "$build/tasks/echo.elf" "$work/root/tasks/"
cp "$top/build/bench/dirty-16M.elf" "$work/root/"
for module in virt/lib/irqbypass drivers/crypto/ccp/ccp arch/x86/kvm/kvm arch/x86/kvm/kvm-amd; do
  cp "$modules/$module.ko" "$work/root/mod/"
done
(cd "$work/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"
timeout 900 qemu-system-x86_64 -accel tcg -cpu "${1:-EPYC}" -m 1024 -smp 1 -nographic -net none -no-reboot \
  -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/initrd" -append "console=ttyS0 panic=-1 quiet mitigations=off" \
  </dev/null 2>/dev/null | tr -d '\r' | tee "$work/log"
grep -q '^[0-9]* checks passed, 0 failed$' "$work/log"
