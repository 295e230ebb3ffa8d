// The value of QEMU's -cpu: a model, then features as NAME=on|off, NAME, +NAME and -NAME.
#pragma once

#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "interop/vm/vm.hpp"

namespace cloister::toolstack::vm {

struct ReadQemuCpu {
  Cpu cpu;
  std::vector<Diagnostic> ignored;  ///< properties that are no features
};
/// Positions are in this line, their columns places in the value.
tl::expected<ReadQemuCpu, Diagnostic> read_qemu_cpu(std::string_view value, u32 line);

}  // namespace cloister::toolstack::vm
