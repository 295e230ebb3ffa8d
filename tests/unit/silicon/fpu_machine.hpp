// A bare processor for tests of single floating-point instructions.
#pragma once

#include <array>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "silicon/engine/stepper.hpp"
#include "silicon/isa/x87/x87.hpp"
#include "silicon/state/fpu.hpp"

namespace cloister::silicon {

class FpuMachine {
 public:
  static constexpr u64 base = 0x10000, code = base, data = base + 0x1000, end = base + 0x3000;

  FpuMachine() : memory_(end - base), stepper_(base, memory_) {
    update_fpu_blocks(cpu());
    cpu().gpr[arch::rax] = data;
  }

  Cpu& cpu() { return stepper_.cpu(); }
  FpuState& fpu() { return cpu().fpu; }
  Stepper& stepper() { return stepper_; }

  /// Runs one instruction; its vector if it faulted, else -1.
  int run(std::initializer_list<u8> bytes) {
    // Fresh code each time, so that no block of an older one is found.
    std::copy(bytes.begin(), bytes.end(), memory_.begin() + static_cast<std::ptrdiff_t>(at_));
    stepper_.set_rip(code + at_);
    at_ += 16;
    const Stepper::Result r = stepper_.step();
    return r.fault ? r.fault->vector : -1;
  }

  void set_control(u64 cr0_set, u64 cr0_clear, u64 cr4_clear = 0) {
    cpu().cr0 = (cpu().cr0 | cr0_set) & ~cr0_clear;
    cpu().cr4 &= ~cr4_clear;
    update_fpu_blocks(cpu());
  }

  u8* at(u64 linear) { return memory_.data() + (linear - base); }
  template <class T>
  T read(u64 linear) {
    T v;
    std::memcpy(&v, at(linear), sizeof v);
    return v;
  }
  template <class T>
  void write(u64 linear, const T& v) {
    std::memcpy(at(linear), &v, sizeof v);
  }

  template <class T>
  void set_xmm(unsigned r, const std::array<T, 16 / sizeof(T)>& v) {
    std::memcpy(fpu().xmm[r].byte.data(), v.data(), 16);
  }
  template <class T>
  std::array<T, 16 / sizeof(T)> xmm(unsigned r) {
    std::array<T, 16 / sizeof(T)> v;
    std::memcpy(v.data(), fpu().xmm[r].byte.data(), 16);
    return v;
  }

 private:
  std::vector<u8> memory_;
  u64 at_ = 0;
  Stepper stepper_;
};

}  // namespace cloister::silicon
