// A domain's RAM behind its devices: the door's (vmx/memory.hpp), through which every store is seen by who caches code
// or keeps a log of what is dirty. EPC is no RAM there.
#pragma once

#include "platform/dma.hpp"
#include "vmx/memory.hpp"

namespace cloister::hypervisor {

class GuestRam final : public platform::Dma {
 public:
  explicit GuestRam(vmx::GuestMemory& memory) : memory_(memory) {}
  bool read(arch::Gpa from, std::span<std::byte> to) const override { return memory_.read(from, to); }
  bool write(arch::Gpa to, std::span<const std::byte> from) override { return memory_.write(to, from); }

 private:
  vmx::GuestMemory& memory_;
};

}  // namespace cloister::hypervisor
