// The configuration space of a function of type 0 (PCI Express Base 5.0, 7.5.1): a register is its fixed bits and those
// that software may write. What comes beyond the 256 bytes of PCI, the extended capabilities, are none: zeros (7.6).
#pragma once

#include <array>
#include <optional>
#include <span>

#include "arch/types.hpp"

namespace cloister::platform::pci {

/// Registers of 32 bits, by their byte offset (figure 7-10).
enum Register : u16 {
  reg_id = 0x00,
  reg_command = 0x04,  ///< command below, status above
  reg_class = 0x08,
  reg_cache_line = 0x0c,
  reg_bar0 = 0x10,
  reg_subsystem = 0x2c,
  reg_capabilities = 0x34,
  reg_interrupt = 0x3c,  ///< line, pin
};
inline constexpr u32 command_memory = 1u << 1, command_master = 1u << 2, command_no_intx = 1u << 10;
inline constexpr u32 status_interrupt = 1u << 19, status_capabilities = 1u << 20;
inline constexpr unsigned bar_count = 6;

struct Identity {
  u16 vendor = 0, device = 0;
  u32 class_code = 0;  ///< base class, sub-class, interface
  u8 revision = 0;
  u16 subsystem_vendor = 0, subsystem = 0;
  bool intx = false;  ///< it has the pin INTA
};

class ConfigSpace {
 public:
  static constexpr unsigned registers = 64;
  /// All that it remembers: what software has written.
  struct State {
    std::array<u32, registers> written{};
    bool operator==(const State&) const = default;
  };
  explicit ConfigSpace(const Identity& identity);
  const State& state() const { return state_; }
  /// Goes on where another was, of the same make.
  void set_state(const State& state);

  u32 read(u16 offset) const;
  /// `enables`: the bits of the bytes that are written.
  void write(u16 offset, u32 value, u32 enables);

  /// Memory of a power of two of bytes, 4 KiB at least; `wide`: of 64 bits, prefetchable, and of two registers.
  void add_bar(unsigned bar, u64 bytes, bool wide);
  /// Bytes of it; 0: there is none.
  u64 bar_bytes(unsigned bar) const { return bar_bytes_[bar]; }
  bool is_wide(unsigned bar) const { return (fixed_[bar_register(bar)] & bar_64) != 0; }
  void place_bar(unsigned bar, u64 base);
  /// Nullopt: it has none, or decodes no memory now.
  std::optional<u64> bar_base(unsigned bar) const;

  /// A capability (7.5.3 and on): its body, behind ID and pointer, with the bits that may be written. Its offset.
  u16 add_capability(u8 id, std::span<const u8> body, std::span<const u8> writable = {});

 private:
  static constexpr u32 bar_64 = 2u << 1, bar_prefetchable = 1u << 3;
  static constexpr unsigned bar_register(unsigned bar) { return reg_bar0 / 4 + bar; }

  std::array<u32, registers> fixed_{}, writable_{};
  std::array<u64, bar_count> bar_bytes_{};
  u16 capabilities_end_ = 0x40, last_pointer_ = reg_capabilities;
  State state_;
};

}  // namespace cloister::platform::pci
