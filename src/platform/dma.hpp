// The machine's RAM as its devices reach it by themselves. EPC is none of it, nor is what is not there.
#pragma once

#include <cstddef>
#include <span>

#include "arch/types.hpp"

namespace cloister::platform {

class Dma {
 public:
  Dma() = default;
  virtual ~Dma() = default;
  Dma(const Dma&) = delete;
  Dma& operator=(const Dma&) = delete;

  /// False, and with nothing written: a part of the range is no RAM.
  virtual bool read(arch::Gpa from, std::span<std::byte> to) const = 0;
  virtual bool write(arch::Gpa to, std::span<const std::byte> from) = 0;
};

}  // namespace cloister::platform
