#!/bin/sh
# Boots an emulated arm64 machine from the kernel of FOLDER and the disk ROOT, runs SCRIPT in it as its only program, prints
# what that prints, and ends with the machine. With a disk TREE that is mounted at /srv, nothing is written to either disk.
#
#   boot.sh FOLDER ROOT SCRIPT [TREE]
set -eu
folder=$1
root=$2
script=$3
tree=${4:-}
# The script comes as a disk of its own: what is read of it ends with its size.
disk=$(mktemp)
trap 'rm -f "$disk"' EXIT
trap 'exit 130' INT TERM
cp "$script" "$disk"
truncate -s 65536 "$disk"
set -- -drive "file=$root,format=raw,if=virtio,cache=unsafe" -drive "file=$disk,format=raw,if=virtio,readonly=on"
[ -z "$tree" ] || set -- -snapshot "$@" -drive "file=$tree,format=raw,if=virtio,cache=unsafe"
# The processor of a Raspberry Pi 4: what that runs is what an OBU may have.
timeout 5400 qemu-system-aarch64 -M virt -cpu cortex-a72 -accel tcg,thread=multi -smp 2 -m 3072 -nographic -net none -no-reboot \
  -kernel "$folder/kernel" -initrd "$folder/initrd" -append "console=ttyAMA0 panic=-1 quiet" "$@" </dev/null | stdbuf -oL tr -d '\r'
