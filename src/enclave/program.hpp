// The parts of an ELF64 file that an enclave is made of.
#pragma once

#include <optional>
#include <vector>

#include "enclave/stream.hpp"

namespace cloister::enclave {

struct Segment {
  u64 address = 0, memory_bytes = 0;
  u64 permissions = 0;  ///< SECINFO's R, W, X
  std::span<const u8> content;
};

struct Program {
  u64 entry = 0;
  std::vector<Segment> segments;   ///< by address; no two share a page
  std::optional<u64> layout_note;  ///< address of the section .enclave_layout
  u64 layout_note_bytes = 0;
};

/// Checks everything that is not a plain image: other machines, an interpreter, relocations, overlapping segments.
Result<Program> read_program(std::span<const u8> file);

}  // namespace cloister::enclave
