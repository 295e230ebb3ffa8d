#!/bin/sh
# Asks for a quote, as a program would whose verifier is elsewhere. With "provision" on the kernel's command line the domain's
# enclaves may have the provisioning key.
. /tests/lib
output=$(timeout 60 /enclaves/attest quote)
check_equal status $? 3
echo "$output"
check_equal report "$(echo "$output" | grep -c '^TEST attest/report-for-a-quote: ok')" 1
for path in /var/run/aesmd/aesm.socket /etc/sgx_default_qcnl.conf /sys/firmware/efi; do
  check_equal "absent-${path##*/}" "$(ls -d $path 2>/dev/null)" ""
done
check_equal certificates "$(echo "$output" | grep -c 'no source of certificates .*no platform that Intel could have certified')" 1

# The key that a quoting enclave is certified by.
output=$(timeout 60 /enclaves/attest provisioned)
status=$?
echo "$output"
if grep -qw provision /proc/cmdline; then
  check_equal provisioned $status 0
else
  check_equal not-provisioned "$status $output" \
    "1 attest: create: refused, since this machine does not give enclaves the provisioning key"
fi
