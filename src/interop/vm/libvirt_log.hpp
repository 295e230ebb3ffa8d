// libvirt's log of a domain, /var/log/libvirt/qemu/NAME.log (src/qemu/qemu_domain.c, qemuDomainLogContextNew): each
// start has a line with the versions, then the environment and the command in lines that go on; around them is what
// libvirt and QEMU say as time goes by.
#pragma once

#include <optional>
#include <string_view>

#include "arch/types.hpp"

namespace cloister::toolstack::vm {

struct LoggedStart {
  std::string_view command;  ///< with its environment
  u32 line = 1;              ///< where it begins
  std::size_t starts = 1;    ///< how many commands there are
};

/// The last start that has a command; nullopt: the text is no log.
std::optional<LoggedStart> last_start(std::string_view text);

}  // namespace cloister::toolstack::vm
