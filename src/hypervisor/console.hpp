// The host's end of the guest's console, which is its serial port, and beside it a virtio one where there is one: bytes
// out to a callback, bytes in from a descriptor.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "arch/types.hpp"

namespace cloister::hypervisor {

class Console {
 public:
  using Output = std::function<void(std::span<const u8>)>;
  /// in: -1 for none.
  void connect(Output out, int in);

  /// A byte from the guest: kept until the line ends, the buffer is full, or flush().
  void transmit(u8 byte);
  void flush();

  /// The descriptor to wait on for input, of whoever has so many bytes to give the guest still; -1 if it has enough.
  int wanted(std::size_t backlog) const;
  /// Input may still come.
  bool open() const { return in_ >= 0; }
  /// Whether what makes the descriptor readable is the end of the input, which is then closed.
  bool at_end();
  /// Reads what is there, without waiting. Precondition: the descriptor is readable.
  void receive(const Output& to);

 private:
  Output out_;
  int in_ = -1;
  std::vector<u8> line_;
};

}  // namespace cloister::hypervisor
