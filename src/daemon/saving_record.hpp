// The file that a domain is being saved in, as its record has it: it gets its name, or is removed, before that is
// forgotten.
#pragma once

#include <string>

#include "arch/types.hpp"
#include "host/owner.hpp"

namespace cloister::toolstack {

struct SavingRecord {
  std::string file{};     ///< absolute; without its name yet (host/partial_file.hpp)
  Owner owner{};          ///< with whose rights it was made
  u64 inode = 0;          ///< not its device, whose number may be another one when the host has come up again
  std::string ticket{};   ///< its name (tickets.hpp); empty: enclaves are lost
  std::string token{};    ///< takes enclaves back that have left; with a ticket
  bool snapshot = false;  ///< the domain goes on when all of it is in the file
  bool replaces = false;  ///< a file of its name that was saved before goes when this one is whole
  bool operator==(const SavingRecord&) const = default;
};

/// What a domain that is restored goes on from once, as its record has it: enclaves by their ticket, all of it from a
/// file of the state folder's. While the record says that it does not run yet they are as they were; from then on they
/// are spent.
struct ArrivalRecord {
  std::string ticket{};  ///< its name; empty: no enclaves come
  std::string token{};   ///< commits them; with a ticket
  bool paused = false;   ///< it is to wait then
  std::string saved{};   ///< the file's name (host_saves.hpp); empty: it is no such file
  bool operator==(const ArrivalRecord&) const = default;
};

}  // namespace cloister::toolstack
