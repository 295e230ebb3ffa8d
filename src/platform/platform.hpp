// The platform's door: what a guest finds around its processor. Devices are plain objects that the hypervisor's exit
// handlers call with port or offset, size and value; they know neither processors nor domains. Time is in TSC cycles.
//
// Nothing here is thread-safe: one domain's devices belong to one thread, except Uart16550::receive's caller, which
// must be that thread too.
#pragma once

#include "platform/acpi.hpp"
#include "platform/apic.hpp"
#include "platform/ioapic.hpp"
#include "platform/memory_map.hpp"
#include "platform/power.hpp"
#include "platform/pvh.hpp"
#include "platform/uart.hpp"
