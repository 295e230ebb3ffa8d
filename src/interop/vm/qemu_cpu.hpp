// The value of QEMU's -cpu: a model, then features as NAME=on|off, NAME, +NAME and -NAME.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "interop/vm/qemu_options.hpp"
#include "interop/vm/vm.hpp"

namespace cloister::toolstack::vm {

struct ReadQemuCpu {
  Cpu cpu;
  std::vector<Diagnostic> ignored;  ///< properties that are no features
};
/// Positions are in this line, their columns places in the value.
tl::expected<ReadQemuCpu, Diagnostic> read_qemu_cpu(std::string_view value, u32 line);

/// A feature of -cpu with a value that is neither on nor off, or one behind a sign, with which QEMU does not start.
bool is_odd_switch(const QemuField& field);

/// -global of a processor's class: "host-x86_64-cpu.sgx=on", or driver=…,property=…,value=…. What -cpu says counts
/// more.
struct CpuGlobal {
  std::string model;  ///< empty: any
  std::string word;
  bool on = true;
};
/// nullopt: of something else, or no switch.
std::optional<CpuGlobal> read_cpu_global(std::string_view value);

}  // namespace cloister::toolstack::vm
