// The file that a domain is being saved in, as its record has it: it gets its name, or is removed, before that is
// forgotten.
#pragma once

#include <string>

#include "arch/types.hpp"
#include "host/owner.hpp"

namespace cloister::toolstack {

struct SavingRecord {
  std::string file{};  ///< absolute; without its name yet (host/partial_file.hpp)
  Owner owner{};       ///< with whose rights it was made
  u64 inode = 0;       ///< not its device, whose number may be another one when the host has come up again
  bool operator==(const SavingRecord&) const = default;
};

}  // namespace cloister::toolstack
