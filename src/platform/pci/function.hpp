// A function of the bus: its configuration space, and memory behind its base address registers. Those that interrupt
// have MSI-X, or a line of the bus while that is off.
#pragma once

#include <functional>
#include <optional>

#include "platform/pci/config_space.hpp"

namespace cloister::platform::pci {

class Function {
 public:
  explicit Function(const Identity& identity) : config_(identity) {}
  virtual ~Function() = default;
  Function(const Function&) = delete;
  Function& operator=(const Function&) = delete;

  /// Registers of 32 bits; `enables`: the bits of the bytes that are read or written.
  virtual u32 read_config(u16 offset, u32 /*enables*/) { return config_.read(offset); }
  virtual void write_config(u16 offset, u32 value, u32 enables) { config_.write(offset, value, enables); }
  /// Memory of a BAR. size: 1, 2, 4 or 8, within a page.
  virtual u64 read_memory(unsigned bar, u64 offset, unsigned size) = 0;
  virtual void write_memory(unsigned bar, u64 offset, u64 value, unsigned size) = 0;
  /// The level of its INTA.
  virtual bool line() const { return false; }

  ConfigSpace& config() { return config_; }
  const ConfigSpace& config() const { return config_; }
  /// Called whenever line() may have changed; the bus sets it.
  std::function<void()> line_changed = [] {};

 private:
  ConfigSpace config_;
};

}  // namespace cloister::platform::pci
