// The platform's door: what a guest finds around its processor. Devices are plain objects that the hypervisor's exit
// handlers call with port or offset, size and value; they know neither processors nor domains. Time is in TSC cycles.
//
// Nothing here is thread-safe: who calls holds the domain's lock.
#pragma once

#include "platform/acpi.hpp"
#include "platform/apic.hpp"
#include "platform/ioapic.hpp"
#include "platform/memory_map.hpp"
#include "platform/pci/host_bridge.hpp"
#include "platform/power.hpp"
#include "platform/pvh.hpp"
#include "platform/pvpanic.hpp"
#include "platform/rtc.hpp"
#include "platform/uart.hpp"
#include "platform/virtio/block.hpp"
#include "platform/virtio/console.hpp"
#include "platform/virtio/net.hpp"
#include "platform/virtio/rng.hpp"
#include "platform/virtio/vsock.hpp"
