// Names of the checks that SGX leaves make, so that each can be switched off: a test that does not notice is no test.
//
// In a build with CLOISTER_DISABLE_CHECKS the environment variable CLOISTER_DISABLED_CHECK names one check that never
// fails, and CLOISTER_LISTED_CHECKS a file to which the names of all checks that were made are added.
// scripts/sgx-checks runs every check's test that way. In every other build `fails` is its condition.
#pragma once

#include <optional>

#include "arch/types.hpp"

namespace cloister::silicon {

#ifdef CLOISTER_DISABLE_CHECKS
/// `name` and `part` together name the check: helpers that many leaves use give the part.
bool fails(const char* name, const char* part, bool violated);
inline bool fails(const char* name, bool violated) { return fails(name, "", violated); }
#else
constexpr bool fails(const char* /*name*/, const char* /*part*/, bool violated) { return violated; }
constexpr bool fails(const char* /*name*/, bool violated) { return violated; }
#endif

/// The EPC page that an operand names, which has been checked to be one. With that check switched off, the page that
/// the low bits of its frame number name: as if nobody had looked at the high ones.
inline u32 epc_index_of(const std::optional<u32>& index, [[maybe_unused]] u64 physical, [[maybe_unused]] u64 pages) {
#ifdef CLOISTER_DISABLE_CHECKS
  if (!index) return static_cast<u32>((physical >> arch::page_shift) % pages);
#endif
  return *index;
}

}  // namespace cloister::silicon
