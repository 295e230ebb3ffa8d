// Options of QEMU's that libvirt adds to any domain by itself, or that say nothing of the machine: passed over in
// silence.
#pragma once

#include <string_view>

namespace cloister::toolstack::vm {

inline constexpr std::string_view silent_options[] = {
    "S",          "no-user-config", "nodefaults", "no-shutdown", "no-reboot", "chardev",  "mon",    "boot",
    "overcommit", "display",        "nographic",  "msg",         "sandbox",   "audiodev", "serial", "watchdog-action"};
inline constexpr std::string_view silent_in_machine[] = {"usb", "dump-guest-core", "memory-backend", "acpi"};
inline constexpr std::string_view silent_objects[] = {"secret", "thread-context"};

}  // namespace cloister::toolstack::vm
