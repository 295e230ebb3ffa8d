// pidfd_open(2) and pidfd_send_signal(2). glibc's header declares them without C linkage for C++ in version 2.36.
#pragma once

#include <signal.h>

extern "C" {
#include <sys/pidfd.h>
}
