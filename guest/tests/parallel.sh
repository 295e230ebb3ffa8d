#!/bin/sh
# Several processors: each online, each runs processes, and what they do at the same time is right.
. /tests/lib
cd "$(mktemp -d)" || exit 1
count=$(grep -c ^processor /proc/cpuinfo)
echo "TEST parallel: $count processors"
dmesg | sed -n 's/.*smpboot: Total of/TEST parallel: smpboot: total of/p'
check_equal online "$(cat /sys/devices/system/cpu/online)" "0-$((count - 1))"

# One process bound to each processor: its work and the processor that it says it ran on.
for i in $(seq 0 $((count - 1))); do
  mask=$(printf %x $((1 << i)))
  taskset "$mask" awk -v n="$i" 'BEGIN { for (i = 1; i <= 20000; i++) s += i; print s + n }' >"sum$i" &
done
wait
check_equal bound "$(cat sum* | awk '{ s += $1 } END { print s }')" $((count * 200010000 + count * (count - 1) / 2))

# Digests of the same bytes, all at once, through pipes: page faults, copies, wake-ups across processors.
yes 0123456789abcdef | head -c 500000 >data
expected=$(sha256sum <data | cut -c 1-64)
for i in $(seq 1 $((2 * count))); do
  cat data | cat | sha256sum >"digest$i" &
done
wait
check_equal digests "$(cat digest* | cut -c 1-64 | sort -u)" "$expected"
check_equal digest-count "$(cat digest* | wc -l | tr -d ' ')" $((2 * count))

# Short processes: address spaces and code pages that come and go on all processors.
for i in $(seq 1 $((2 * count))); do
  (n=0; j=0; while [ $j -lt 10 ]; do n=$((n + $(echo $j))); j=$((j + 1)); done; echo $n >"forks$i") &
done
wait
check_equal forks "$(cat forks* | sort -u)" 45
