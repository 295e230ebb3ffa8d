// A 16550A UART (NS16550A data sheet) on I/O ports, with FIFOs; bytes leave at once, there is no baud rate.
//
// The peer does hardware flow control: bytes from the outside wait on the line while the guest holds RTS (MCR bit 1)
// back. So nothing that came before the guest's driver was ready is lost when that driver clears the receiver.
#pragma once

#include <deque>
#include <functional>
#include <optional>
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
  /// Bytes received and not yet read: how much of a backlog there is.
  std::size_t backlog() const { return fifo_.size() + line_.size(); }
  void reset();

 private:
  bool divisor_latched() const;
  bool loopback() const;
  u8 modem_status() const;
  std::optional<u8> interrupt() const;
  void clear_receiver();
  void send(u8 value);
  void write_modem_control(u8 value);
  void write_fifo_control(u8 value);
  void update();

  Transmit transmit_;
  Irq irq_;
  std::deque<u8> line_;  // from the outside, not yet in the receiver
  std::deque<u8> fifo_;
  u16 divisor_ = 0;
  u8 interrupt_enable_ = 0, fifo_control_ = 0, line_control_ = 0, modem_control_ = 0, scratch_ = 0;
  u8 modem_deltas_ = 0;
  bool overrun_ = false, transmitter_interrupt_ = false, irq_level_ = false;
};

}  // namespace cloister::platform
