export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
for folder in /run /tmp /dev/shm; do
  mkdir -p $folder
  mount -t tmpfs tmpfs $folder
done
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up
uname -a
cd /srv/kerbside
sh tools/setup.sh start
echo "set-up ended with $?"
bin/kerb sim drive --for 5m --plain
echo "KERBSIDE-DONE $?"
sync
echo o >/proc/sysrq-trigger
sleep 60
