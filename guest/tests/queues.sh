#!/bin/sh
# A network interface on a bridge with more queues than the guest has processors, by the kernel's own driver: it uses one
# for each processor in both directions. Who connects has back what it sends; it says to port 7001 that it is done.
. /tests/lib
load_network
queues() { find /sys/class/net/eth0/queues -name "$1-*" -type d | wc -l; }
check_equal received-by "$(queues rx)" "$(nproc)"
check_equal sent-by "$(queues tx)" "$(nproc)"
ip addr add 10.99.0.2/24 dev eth0
ip link set eth0 up
nc -ll -p 7000 -e /bin/cat &
echo "TEST queues: listens"
nc -l -p 7001 >/dev/null
# Lines of interrupts with one that has come.
used() { grep "virtio.*-$1\." /proc/interrupts | awk '{ for (n = 2; n <= '"$(nproc)"' + 1; n++) all += $n; if (all) used++; all = 0 } END { print used + 0 }'; }
check_equal several-received "$(test "$(used input)" -gt 1 && echo several)" several
check_equal several-sent "$(test "$(used output)" -gt 1 && echo several)" several
