#!/bin/sh
# Follows the hypervisor's target with the agent's module, and runs enclaves meanwhile, until somebody ends the machine.
. /tests/lib
insmod /lib/cloister/cloister_epc.ko
check_equal loaded $? 0
at=/sys/module/cloister_epc/parameters
while sleep 1; do
  # Nobody else knows which pages are given, so it stays then. But the last of them may come back between the two commands.
  if [ "$(cat $at/given)" != 0 ] && rmmod cloister_epc 2>/dev/null; then insmod /lib/cloister/cloister_epc.ko; fi
  /enclaves/hello >/dev/null
  hello=$?
  /enclaves/paging >/dev/null
  echo "BALLOON target=$(cat $at/target) given=$(cat $at/given) hello=$hello paging=$?"
done
