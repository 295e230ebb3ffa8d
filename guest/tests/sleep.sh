#!/bin/sh
# Suspends to RAM while enclaves run, and goes on when somebody wakes the machine: these enclaves are lost, and new ones are
# as good as ever.
. /tests/lib
while [ ! -e /tmp/awake ] && /enclaves/seal >/dev/null 2>&1; do :; done &
loop=$!
/enclaves/hello >/dev/null
check_equal before $? 0
before=$(date +%s)
echo "TEST sleep: falls asleep"
echo mem >/sys/power/state
check_equal awake $? 0
check_equal date "$([ "$(date +%s)" -ge "$before" ] && echo later)" later
touch /tmp/awake
wait $loop
for example in hello threads seal; do
  /enclaves/$example >/dev/null
  check_equal $example $? 0
done
check_equal processors "$(grep -c ^processor /proc/cpuinfo)" 2
