#!/bin/sh
# Runs examples with enclaves: those that the kernel's command line names (enclave=NAME,...), or all. A sealed blob of an
# earlier boot comes with it as sealed=HEX.
. /tests/lib
names= sealed=
for word in $(cat /proc/cmdline); do
  case $word in
    enclave=*) names=$(echo "${word#enclave=}" | tr , ' ') ;;
    sealed=*) sealed=${word#sealed=} ;;
  esac
done
[ -n "$names" ] || names=$(cd /enclaves && ls | grep -v '\.')
for name in $names; do
  case $name in
    seal) /enclaves/seal $sealed ;;
    *) "/enclaves/$name" ;;
  esac
  check_equal "$name" $? 0
done
