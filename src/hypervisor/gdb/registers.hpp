// The registers that GDB sees, in its numbering: the standard features of i386:x86-64 (64-bit core, SSE, AVX,
// segment bases), and the control registers as a feature of our own. The description is the same in 32-bit code, so
// that one `vmlinux` serves from the first instruction on.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "vmx/package.hpp"

namespace cloister::hypervisor::gdb {

struct RegisterFile {
  vmx::GeneralRegs general;
  vmx::SystemRegs system;
  vmx::FxsaveImage fpu{};
  vmx::UpperHalves upper{};
};

unsigned register_count();
/// Bytes, little-endian, of register n. Precondition: n < register_count().
std::vector<u8> get_register(const RegisterFile& file, unsigned n);
/// False: n does not exist, the size is wrong, or it cannot be written from here (selectors and control registers).
bool set_register(RegisterFile& file, unsigned n, std::span<const u8> bytes);
/// The target description, target.xml.
const std::string& target_description();

}  // namespace cloister::hypervisor::gdb
