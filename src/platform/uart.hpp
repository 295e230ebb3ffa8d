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
  /// All that it remembers.
  struct State {
    std::deque<u8> line{};  ///< from the outside, not yet in the receiver
    std::deque<u8> fifo{};
    u16 divisor = 0;
    u8 interrupt_enable = 0, fifo_control = 0, line_control = 0, modem_control = 0, scratch = 0;
    u8 modem_deltas = 0;
    bool overrun = false, transmitter_interrupt = false, irq_level = false;
    bool operator==(const State&) const = default;
  };
  Uart16550(Transmit transmit, Irq irq);
  const State& state() const { return state_; }
  /// No other state is to be set.
  static bool can_be(const State& state) { return state.fifo.size() <= fifo_bytes; }
  /// Goes on where another was, which has told the level of its interrupt line.
  void set_state(const State& state) { state_ = state; }

  u8 read(u16 reg);  ///< reg: 0 to 7
  void write(u16 reg, u8 value);
  /// Bytes from the outside; kept in order until the guest reads them.
  void receive(std::span<const u8> bytes);
  /// Bytes received and not yet read: how much of a backlog there is.
  std::size_t backlog() const { return state_.fifo.size() + state_.line.size(); }
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
  static constexpr std::size_t fifo_bytes = 16;
  State state_;
};

}  // namespace cloister::platform
