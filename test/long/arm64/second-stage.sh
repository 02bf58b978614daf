export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
/debootstrap/debootstrap --second-stage
echo "KERBSIDE-DONE $?"
sync
echo o >/proc/sysrq-trigger
sleep 60
