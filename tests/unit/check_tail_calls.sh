#!/bin/sh
# Handlers must jump to the next one (CLOISTER_NEXT), not call it: a call would grow the host's stack with every guest
# instruction. Looks for calls through the handler of op + 1, 32 bytes on, in what takes an Op in the optimised library. A
# virtual function may be as far into its class's table: there the register was loaded from the start of an object right
# before.
#
#   check_tail_calls.sh LIBRARY
set -eu
found=$(objdump -dC "$1" | awk '
  /^[0-9a-f]+ </ { fn = $0 }
  fn ~ /Op const\*/ && /call +\*0x20\(%r/ {
    called = $0
    sub(/.*\(/, "", called)
    sub(/\).*/, "", called)
    if (before !~ "mov +\\(%r[a-z0-9]+\\)," called "$") print fn
  }
  { before = $0 }' | sort | uniq -c)
[ -z "$found" ] && exit 0
echo "these handlers call the next one instead of jumping to it:"
echo "$found"
exit 1
