// ENCLS[ECREATE] on behalf of a guest that may not have enclaves with the provisioning key.
#pragma once

#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

/// The exit is that of an ECREATE. The SECS is copied out of the guest, the copy is judged, and ECREATE runs on the
/// copy: another processor of the guest cannot change what was looked at. ATTRIBUTES.PROVISIONKEY raises #GP(0), as a
/// bit does that CPUID does not list; otherwise the guest finds what it would without the exit.
Result ecreate(Processor& processor, const vmx::Exit& exit);

}  // namespace cloister::hypervisor::exits
