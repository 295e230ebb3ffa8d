// MSI-X (PCI Express Base 5.0, 7.7.2 and 6.1.4.6): a table of messages in the function's memory, each of which may be
// masked, and a bit for each that waits meanwhile. A message is a store, of which those to the local APICs are
// interrupts (SDM vol. 3A, 11.11); nothing listens elsewhere.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "arch/types.hpp"
#include "platform/apic.hpp"

namespace cloister::platform::pci {

class Msix {
 public:
  using Send = std::function<void(const InterruptMessage&)>;
  /// Where table and pending bits lie in their BAR.
  static constexpr u64 table_offset = 0, pending_offset = 0x800, bytes = 0x1000;
  static constexpr unsigned most_vectors = 64;
  static constexpr u8 capability_id = 0x11;
  /// Of the message control register (7.7.2.2).
  static constexpr u16 control_enable = 1u << 15, control_mask = 1u << 14;

  struct Entry {
    u64 address = 0;
    u32 data = 0;
    bool masked = true;
    bool operator==(const Entry&) const = default;
  };
  /// All that it remembers.
  struct State {
    std::vector<Entry> table{};
    u64 pending = 0;
    bool enabled = false, masked = false;  ///< as the message control register has it
    bool operator==(const State&) const = default;
  };
  /// vectors: 1 to most_vectors. `send` is called for every message to the local APICs.
  Msix(unsigned vectors, Send send);
  const State& state() const { return state_; }
  /// False: it is of another number of vectors, and nothing has changed.
  bool set_state(const State& state);

  /// The memory; an access is 4 or 8 bytes wide and aligned, and others read zero and are ignored.
  u64 read(u64 offset, unsigned size) const;
  void write(u64 offset, u64 value, unsigned size);
  /// The message control register was written.
  void control(u16 value);

  bool enabled() const { return state_.enabled; }
  unsigned vectors() const { return static_cast<unsigned>(state_.table.size()); }
  /// Sends a vector's message, at once or when it is no longer masked. Nothing while MSI-X is off.
  void signal(unsigned vector);

 private:
  u32 read_register(u64 offset) const;
  void write_register(u64 offset, u32 value);
  void send_pending();

  Send send_;
  State state_;
};

/// The interrupt that a store of `data` to `address` is; nullopt: none.
std::optional<InterruptMessage> message_of(u64 address, u32 data);

}  // namespace cloister::platform::pci
