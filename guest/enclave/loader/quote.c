// A quote is a REPORT that a quoting enclave has signed with a key whose certificate leads to Intel's roots. It needs a
// service in front of that enclave, and the certificate of this platform's provisioning key (PCK), which Intel issues
// to platforms that it has made. A platform registers for one by an EFI variable; the places of the service, of the
// settings of Intel's library for certificates and of that variable are those of SGX's PSW and DCAP.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "loader.h"

static const struct {
  const char* path;
  const char* what;
} needs[] = {
    {"/var/run/aesmd/aesm.socket", "no quoting service"},
    {"/etc/sgx_default_qcnl.conf", "no source of certificates"},
    {"/sys/firmware/efi/efivars/SgxRegistrationServerRequest-304e0796-d515-4698-ac6e-e76cb1a71c28",
     "no platform that Intel could have certified"},
};

const char* quote_unavailable(void) {
  static char text[512];
  size_t used = 0;
  for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
    if (access(needs[i].path, F_OK) == 0) continue;
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%s (%s: %s)", used ? ", " : "", needs[i].what,
                             needs[i].path, strerror(errno));
  }
  return used ? text : NULL;
}
