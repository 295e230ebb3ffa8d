// The host bridge of a PCI Express root complex with one bus, 0, and its functions, one a device. Configuration space
// is reached by the ports 0xCF8 and 0xCFC (PCI Local Bus 3.0, 3.2.2.3.2) and as memory (ECAM; PCI Express Base 5.0,
// 7.2.2, and the MCFG table of PCI Firmware 3.3, 4.1.2). There is no firmware in the guest: base address registers have
// their places from the start. INTA of device n is pin 16 + n % 8 of the I/O APIC, active low, as _PRT says.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "platform/memory_map.hpp"
#include "platform/pci/function.hpp"

namespace cloister::platform::pci {

inline constexpr u16 address_port = 0xcf8, data_port = 0xcfc;
/// Device 0 is the bridge itself.
inline constexpr unsigned most_devices = 32;
inline constexpr u32 first_gsi = 16, gsis = 8;
constexpr u32 gsi_of(unsigned device) { return first_gsi + device % gsis; }

class HostBridge {
 public:
  using Irq = std::function<void(u32 gsi, bool asserted)>;
  /// All that it remembers beside its functions' states.
  struct State {
    u32 address = 0;  ///< the port's
    ConfigSpace::State config{};
    bool operator==(const State&) const = default;
  };
  /// `irq` is told the level of every interrupt line at first, and whenever it may have changed.
  HostBridge(const PciWindows& windows, Irq irq);
  State state() const { return {address_, bridge_.config().state()}; }
  /// Goes on where another was, which has told the levels of its lines.
  void set_state(const State& state);

  /// Puts a function on the bus, which must outlive it. False: there is no place for it or for its memory.
  [[nodiscard]] bool add(Function& function);

  /// The eight ports from 0xCF8 on: size 1, 2 or 4.
  u32 read_port(u16 port, unsigned size);
  void write_port(u16 port, u32 value, unsigned size);
  /// Memory, of 1, 2, 4 or 8 bytes within a page. Nullopt, false: nobody answers.
  std::optional<u64> read(arch::Gpa from, unsigned size);
  bool write(arch::Gpa to, u64 value, unsigned size);

 private:
  struct Bridge final : Function {
    Bridge();
    u64 read_memory(unsigned, u64, unsigned) override { return 0; }
    void write_memory(unsigned, u64, u64, unsigned) override {}
  };
  struct Place {
    Function* function = nullptr;
    unsigned bar = 0;
    u64 offset = 0;
  };
  std::optional<Place> find(u64 address) const;
  Function* function_at(u32 bus_device_function) const;
  u32 read_config(u32 where, u16 offset, unsigned size);
  void write_config(u32 where, u16 offset, u32 value, unsigned size);
  void tell_line(unsigned device);

  PciWindows windows_;
  u64 next_low_, next_high_;  ///< in the windows, where the next memory goes
  Irq irq_;
  Bridge bridge_;
  std::vector<Function*> devices_;
  u32 address_ = 0;
};

}  // namespace cloister::platform::pci
