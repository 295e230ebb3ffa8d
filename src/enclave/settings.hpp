// What an author decides about an enclave beyond its code: a text of `key = value` lines, where `#` starts a comment.
// `build` takes the room of the enclave from it, `sign` its identity.
#pragma once

#include <string_view>

#include "enclave/stream.hpp"

namespace cloister::enclave {

struct Settings {
  // Room. `build` takes these.
  u64 size = 0;          ///< of the address range; 0: the smallest that holds everything
  u64 heap = 0;          ///< bytes, added and measured
  u64 dynamic = 0;       ///< bytes of addresses for pages that come after EINIT
  u64 stack = 16 << 10;  ///< bytes for each thread
  u64 threads = 1;
  u64 ssa_frames = 2;
  u64 ssa_frame_pages = 1;

  // Identity. `sign` takes these.
  arch::Attributes attributes{.flags = arch::attributes::mode64bit, .xfrm = 3};
  u32 miscselect = 0;
  u16 isvprodid = 0, isvsvn = 0;
  u32 date = 0x20260101;  ///< binary-coded decimal, yyyymmdd
  arch::Bytes16 isvfamilyid{}, isvextprodid{};
};

/// One line, `key = value`; the error names the key.
Result<void> set(Settings& settings, std::string_view line);

/// A whole text; the error names the line.
Result<Settings> read_settings(std::string_view text);

/// What does not fit together in it, or nothing.
std::string problem_of(const Settings& settings);

/// The keys, a line each, for the program's help.
std::string settings_help();

}  // namespace cloister::enclave
