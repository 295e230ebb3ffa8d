#!/bin/sh
# Makes the kernel panic.
echo "TEST panic: about to panic"
echo 1 >/proc/sys/kernel/sysrq
echo c >/proc/sysrq-trigger
