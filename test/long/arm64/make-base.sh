#!/bin/sh
# Makes FOLDER/base.img, a disk with Debian for arm64 as its installer leaves it and with the packages that `npm start` would
# install, and FOLDER/kernel and FOLDER/initrd to boot it. The second half of the installation runs in the emulated machine.
# Twenty minutes; it is kept.
#
#   make-base.sh FOLDER SUITE MIRROR
#
# Needs root (device files of the new root), debootstrap, qemu-system-arm, busybox, e2fsprogs.
set -eu
folder=${1:?usage: make-base.sh FOLDER SUITE MIRROR}
suite=$2
mirror=$3
here=$(cd -- "$(dirname -- "$0")" && pwd)
top=$(cd -- "$here/../../.." && pwd)
mkdir -p "$folder"
folder=$(cd -- "$folder" && pwd)
[ ! -f "$folder/complete" ] || exit 0
work=$(mktemp -d "$folder/.base-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

packages=$(sed -n 's/^packages="\(.*\)"$/\1/p' "$top/tools/setup.sh" | head -n 1 | tr ' ' ',')
debootstrap --foreign --arch=arm64 --variant=minbase --include="ca-certificates,procps,nodejs,$packages" "$suite" "$work/root" "$mirror"
# A link to the /proc of this machine, which would hide that of the emulated one.
rm -f "$work/root/proc"
mkdir -p "$work/root/proc" "$work/root/srv"

"$top/broker/unikernel/fetch-sysroot.sh" aarch64 "$work/kernel" linux-image-arm64
"$top/broker/unikernel/fetch-sysroot.sh" aarch64 "$work/busybox" busybox-static
mkdir -p "$work/initial/bin" "$work/initial/proc" "$work/initial/sys" "$work/initial/dev" "$work/initial/mnt" "$work/initial/mod"
cp "$work/busybox/bin/busybox" "$work/initial/bin/"
for module in virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk crc16 crc32c_generic mbcache jbd2 ext4 overlay vcan; do
  find "$work/kernel/lib/modules" -name "$module.ko" -exec cp {} "$work/initial/mod/" \;
done
cp "$here/init.sh" "$work/initial/init"
chmod +x "$work/initial/init"
(cd "$work/initial" && find . | busybox cpio -o -H newc 2>/dev/null) >"$folder/initrd"
cp "$work"/kernel/boot/vmlinuz-* "$folder/kernel"

mke2fs -q -t ext4 -O ^has_journal -d "$work/root" "$work/base.img" 6G
"$here/boot.sh" "$folder" "$work/base.img" "$here/second-stage.sh" | tee "$folder/second-stage.log"
grep -q '^KERBSIDE-DONE 0' "$folder/second-stage.log"
mv "$work/base.img" "$folder/base.img"
touch "$folder/complete"
