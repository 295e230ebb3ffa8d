#!/bin/sh
# Never ends by itself: for tests of what the host does then. Says where a function is that the kernel calls all the
# time, for a debugger's breakpoint.
awk '$3 == "hrtimer_interrupt" { print "SYMBOL", $3, $1 }' /proc/kallsyms
echo "TEST idle: waiting"
while :; do sleep 1; done
