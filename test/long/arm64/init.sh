#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
for module in virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk crc16 crc32c_generic mbcache jbd2 ext4 overlay; do
  $B insmod /mod/$module.ko || echo "kernel module $module was not loaded"
done
$B mount -t ext4 -o rw,noatime /dev/vda /mnt || $B poweroff -f
[ ! -b /dev/vdc ] || $B mount -t ext4 -o rw,noatime /dev/vdc /mnt/srv
$B tr -d '\0' </dev/vdb >/mnt/stage.sh
for name in proc sys dev; do $B mount --move /$name /mnt/$name; done
exec $B switch_root /mnt /bin/sh /stage.sh
