#!/bin/sh
# The two workloads that bench/guest times, each between two marks on the console with the guest's own clock.
mark() { echo "MARK $1 $(cut -d ' ' -f 1 /proc/uptime)"; }
mark userland
mark sha256-begin
head -c 33554432 /dev/zero | sha256sum
mark sha256-end
mark awk-begin
awk 'BEGIN { for (i = 0; i < 300000; i++) s += 0.1; printf "%.6f\n", s }'
mark awk-end
