#!/bin/sh
# Processes: pipes, signals, exit statuses, timers, files.
. /tests/lib
cd "$(mktemp -d)" || exit 1
check_equal pipe "$(seq 1 10000 | grep 7 | tail -n 1 | tr -d '\n')" 9997
check_equal long-pipe "$(yes | head -n 50000 | cat | cat | wc -l | tr -d ' ')" 50000
check_equal sigpipe "$(yes | head -n 1)" y
check_equal status "$(sh -c 'exit 42'; echo $?)" 42
check_equal killed "$(sh -c 'kill -9 $$' 2>/dev/null; echo $?)" 137
check_equal trap "$(sh -c 'trap "echo caught; exit 7" TERM; kill -TERM $$; sleep 5'; echo $?)" "caught
7"
sleep 100 &
kill $! && wait $! 2>/dev/null
check_equal background $? 143
check_equal timeout "$(timeout 1 sleep 100; echo $?)" 143
check_equal forks "$(i=0; while [ $i -lt 50 ]; do (exit $((i % 3))) || n=$((n + 1)); i=$((i + 1)); done; echo $n)" 33
mkfifo pipe
echo through >pipe &
check_equal fifo "$(cat pipe)" through
dd if=/dev/urandom of=random bs=4096 count=64 2>/dev/null
cp random copy
check_equal compare "$(cmp random copy && echo same)" same
check_equal random "$(gzip -c random | wc -c | awk '{ print ($1 > 260000) }')" 1
before=$(cut -d ' ' -f 1 /proc/uptime)
sleep 1
check_equal clock "$(awk -v before="$before" '{ print ($1 - before >= 1) }' /proc/uptime)" 1
check_equal division "$(sh -c 'echo $((1 / 0))' 2>&1 | grep -ci zero)" 1
