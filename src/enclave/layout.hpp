// From a linked program to an enclave: which page is where, and who may do what with it.
//
//   0           the program's segments, each page with the permissions of its segment
//   heap        pages of zeros, readable and writable
//   threads     for each: an unmapped guard page, the stack, its TCS, two pages of thread data (FS and GS point at
//               them), and the state save areas
//   dynamic     addresses without pages, for EAUG
//
// A thread finds its stack and its data by the address of its TCS, which EENTER leaves in RBX, so nothing about the
// layout has to be written into the program, except what it wants to know of heap and dynamic room: if it has a section
// `.enclave_layout`, a LayoutNote is stored there.
#pragma once

#include "enclave/settings.hpp"

namespace cloister::enclave {

inline constexpr u64 thread_data_pages = 2;

/// Offsets from the enclave's base, and sizes, in bytes.
struct LayoutNote {
  u64 size;
  u64 heap, heap_bytes;
  u64 dynamic, dynamic_bytes;
  u64 ssa_frame_bytes;
};
static_assert(sizeof(LayoutNote) == 48);

/// The program is a position-independent ELF64 file for x86-64, linked from address 0, that needs no relocation at run
/// time and has its entry point at the enclave's.
Result<Stream> lay_out(std::span<const u8> program, const Settings& settings);

}  // namespace cloister::enclave
