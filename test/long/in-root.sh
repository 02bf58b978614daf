#!/bin/sh
# Runs a command in another Debian root as on a machine of its own: own mount, process and IPC namespaces, the root a
# mount point of its own and nothing above it (pivot_root, which Docker's runc wants, and not chroot). The network and
# the control groups are this machine's. What the command leaves running ends with it.
#
#   in-root.sh ROOT COMMAND [ARGUMENT...]
#
# Needs root.
set -eu
root=${1:?usage: in-root.sh ROOT COMMAND [ARGUMENT...]}
shift
[ "$(id -u)" = 0 ] || { echo "in-root.sh: only root can mount another root" >&2; exit 77; }
[ -x "$root/bin/sh" ] || { echo "in-root.sh: $root is not a Debian root" >&2; exit 66; }

export KERB_ROOT="$root"
exec unshare --mount --pid --ipc --fork --kill-child --propagation private sh -eu -c '
  mount --bind "$KERB_ROOT" "$KERB_ROOT"
  cd "$KERB_ROOT"
  mount --rbind /dev dev
  mount --rbind /sys sys
  mount -t tmpfs -o mode=755 tmpfs run
  mount -t proc proc proc
  pivot_root . mnt
  cd /
  umount -l /mnt
  unset KERB_ROOT
  exec env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    ${NODE_EXTRA_CA_CERTS:+"NODE_EXTRA_CA_CERTS=$NODE_EXTRA_CA_CERTS"} "$@"
' in-root "$@"
