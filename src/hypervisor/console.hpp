// The host's end of the guest's serial port: bytes out to a callback, bytes in from a descriptor.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "arch/types.hpp"
#include "platform/uart.hpp"

namespace cloister::hypervisor {

class Console {
 public:
  using Output = std::function<void(std::span<const u8>)>;
  /// in: -1 for none.
  void connect(Output out, int in);

  /// A byte from the guest: kept until the line ends, the buffer is full, or flush().
  void transmit(u8 byte);
  void flush();

  /// The descriptor to wait on for input that the UART can take now; -1 if there is none.
  int wanted(const platform::Uart16550& uart) const;
  /// Input may still come.
  bool open() const { return in_ >= 0; }
  /// Whether what makes the descriptor readable is the end of the input, which is then closed.
  bool at_end();
  /// Reads what is there, without waiting, if the UART can take it. Precondition: the descriptor is readable.
  void receive(platform::Uart16550& uart);

 private:
  Output out_;
  int in_ = -1;
  std::vector<u8> line_;
};

}  // namespace cloister::hypervisor
