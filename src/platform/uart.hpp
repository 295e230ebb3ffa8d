// A 16550A UART (NS16550A data sheet) on I/O ports, with FIFOs; bytes leave at once, there is no baud rate.
#pragma once

#include <deque>
#include <functional>
#include <span>

#include "arch/types.hpp"

namespace cloister::platform {

inline constexpr u16 com1_port = 0x3f8;
inline constexpr unsigned com1_irq = 4;

class Uart16550 {
 public:
  using Transmit = std::function<void(u8)>;
  using Irq = std::function<void(bool level)>;
  Uart16550(Transmit transmit, Irq irq);

  u8 read(u16 reg);  ///< reg: 0 to 7
  void write(u16 reg, u8 value);
  /// Bytes from the outside; kept in order until the guest reads them.
  void receive(std::span<const u8> bytes);
  void reset();
};

}  // namespace cloister::platform
