// A processor for tests of policies: an x86-64 with SGX2, launch control and two EPC sections, and no AVX.
#pragma once

#include <map>
#include <utility>

#include "arch/cpuid.hpp"

namespace cloister::tests {

class Processor {
 public:
  Processor() {
    leaves_ = {
        {{0x0, 0}, {0x16, 0x756e6547, 0x6c65746e, 0x49656e69}},
        // APIC ID 5 and 16 logical processors, which no domain may inherit; OSXSAVE set.
        {{0x1, 0}, {0x000506e3, 0x05100800, 0x7ff83203 & ~0x00001000u, 0x1f8bfbff}},
        {{0x2, 0}, {0x76036301, 0x00f0b5ff, 0, 0x00c30000}},
        {{0x4, 0}, {0x1c004121, 0x01c0003f, 0x3f, 0}},
        {{0x4, 1}, {0x1c004143, 0x00c0003f, 0x3ff, 0}},
        {{0x4, 2}, {0x1c03c163, 0x03c0003f, 0x1fff, 6}},
        {{0x6, 0}, {0x4, 0, 0, 0}},
        {{0x7, 0}, {0, 0x219c05ad & ~0x00000020u, 0x40000004, 0}},
        {{0xb, 0}, {1, 2, 0x100, 5}},
        {{0xb, 1}, {4, 16, 0x201, 5}},
        {{0xd, 0}, {3, 576, 576, 0}},
        {{0xd, 1}, {0xf, 576, 0, 0}},
        {{0x12, 0}, {0x3, 1, 0, 0x381f}},
        {{0x12, 1}, {0xb6, 0, 3, 0}},
        {{0x12, 2}, {0x70200001, 0, 0x05f00001, 0}},
        {{0x12, 3}, {0x80000001, 1, 0x05f00001, 0}},
        {{0x15, 0}, {1, 40, 25000000, 0}},
        {{0x16, 0}, {1000, 1000, 100, 0}},
        {{0x80000000, 0}, {0x80000008, 0, 0, 0}},
        {{0x80000001, 0}, {0, 0, 0x21, 0x2c100800}},
        {{0x80000007, 0}, {0, 0, 0, 0x100}},
        {{0x80000008, 0}, {0x302e, 0, 0, 0}},
    };
  }

  arch::CpuidRegs& at(u32 leaf, u32 subleaf = 0) { return leaves_[{leaf, subleaf}]; }

  arch::CpuidRegs operator()(u32 leaf, u32 subleaf) const {
    // Leaves without sub-leaves do not look at ECX; those with them are listed above sub-leaf by sub-leaf.
    const bool listed = leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x12;
    const auto found = leaves_.find({leaf, listed ? subleaf : 0});
    return found == leaves_.end() ? arch::CpuidRegs{} : found->second;
  }

 private:
  std::map<std::pair<u32, u32>, arch::CpuidRegs> leaves_;
};

}  // namespace cloister::tests
