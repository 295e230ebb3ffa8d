// A domain in a file (docs/stream.md): what stands before its stream, and what the daemon tells a VMM that is to write
// it, or to go on from it.
#pragma once

#include <cstring>
#include <string>
#include <tl/expected.hpp>

#include "stream/sealing.hpp"

namespace cloister::toolstack {

/// The stream's first record: whose domain it is, and what makes it anew. Its fields are its format.
struct SavedConfig {
  std::string uuid{}, name{};
  std::string config{}, file{}, directory{};  ///< as they came (DomainRecord)
  u32 user = ~0u;                             ///< its owner
  bool operator==(const SavedConfig&) const = default;
};

/// Secret: it is handed over in memory that has no name, and is sealed.
struct SavingOrder {
  stream::SealKey key{};  ///< of this file alone
  stream::SealId id{};
  SavedConfig config{};
  bool operator==(const SavingOrder&) const = default;
  /// By which it is offered in the domain's page.
  u64 offer() const {
    u64 number = 0;
    std::memcpy(&number, id.data(), sizeof number);
    return number | 1;
  }
};

std::vector<u8> write_order(const SavingOrder& order);
tl::expected<SavingOrder, std::string> read_order(std::span<const u8> bytes);

}  // namespace cloister::toolstack
