#!/bin/sh
# Runs examples with enclaves: those that the kernel's command line names, or all.
#   enclave=NAME[:ARGUMENT],...     one after the other; with + in place of the comma at the same time
. /tests/lib
start() {
  case $1 in
    *:*) "/enclaves/${1%%:*}" "${1#*:}" ;;
    *) "/enclaves/$1" ;;
  esac
}
groups=
for word in $(cat /proc/cmdline); do
  case $word in
    enclave=*) groups=$(echo "${word#enclave=}" | tr , ' ') ;;
  esac
done
[ -n "$groups" ] || groups=$(cd /enclaves && ls | grep -v '\.')
for together in $groups; do
  running=
  for example in $(echo "$together" | tr + ' '); do
    start "$example" &
    running="$running ${example%%:*}:$!"
  done
  for one in $running; do
    wait "${one##*:}"
    check_equal "${one%%:*}" $? 0
  done
done
