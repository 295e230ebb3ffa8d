// The I/O APIC (82093AA data sheet; version 0x20 with 24 entries): index, data and EOI register at 0xFEC00000.
#pragma once

#include <array>
#include <functional>

#include "arch/types.hpp"
#include "platform/apic.hpp"

namespace cloister::platform {

inline constexpr u64 ioapic_base = 0xfec0'0000;
inline constexpr u64 ioapic_bytes = 0x1000;

class IoApic {
 public:
  using Send = std::function<void(const InterruptMessage&)>;
  static constexpr unsigned pins = 24;
  /// All that it remembers.
  struct State {
    u32 index = 0, id = 0;
    u32 levels = 0;  ///< of the input pins, a bit each
    std::array<u64, pins> entries{};
    bool operator==(const State&) const = default;
  };
  /// `send` is called for every message to local APICs.
  explicit IoApic(Send send);
  const State& state() const { return state_; }
  /// Goes on where another was, whose messages were sent.
  void set_state(const State& state) { state_ = state; }

  u32 read(u32 offset) const;
  void write(u32 offset, u32 value);
  /// The level of an input pin, 0 to 23; what it means is up to the entry's polarity.
  void set_pin(unsigned pin, bool level);
  /// EOI broadcast of a level-triggered vector.
  void eoi(u8 vector);
  void reset();

 private:
  u32 read_register(u32 index) const;
  void write_register(u32 index, u32 value);
  bool asserted(unsigned pin) const;
  void deliver(unsigned pin);
  void deliver_level(unsigned pin);

  Send send_;
  State state_;
};

}  // namespace cloister::platform
