// Which domain the host's going down stops next: those of each user as they are listed, so many at a time, and those of
// a lower order when all of the higher ones have ended. A user's places are that user's own, so that nobody's domains
// wait for another's.
//
// Thread rules: its owner's.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <vector>

#include "arch/types.hpp"

namespace cloister::toolstack::client {

/// How many of each user's are stopped together, where so many may be: of very many users fewer, but one at least.
std::size_t places_of_a_user(std::size_t at_once, std::size_t users);

class StopTurns {
 public:
  struct Domain {
    unsigned user = 0;
    u64 order = 0;
  };

  /// at_once: of one user, 1 at least.
  StopTurns(std::vector<Domain> domains, std::size_t at_once);

  /// How many can be under way together.
  std::size_t most() const;
  /// The number of the next one in the list, which is under way from now on; none: not before one has ended.
  std::optional<std::size_t> next();
  void ended(std::size_t number);
  /// All have been begun.
  bool all_begun() const;

 private:
  struct OfUser {
    std::vector<std::size_t> numbers{};  ///< in the list
    std::size_t begun = 0, under_way = 0;
  };

  std::vector<Domain> domains_;
  std::map<unsigned, OfUser> users_;
  std::size_t places_ = 1;
};

}  // namespace cloister::toolstack::client
