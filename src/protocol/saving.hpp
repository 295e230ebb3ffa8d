// A domain in a file (docs/stream.md): what stands before its stream, and what the daemon tells a VMM that is to write
// it, or to go on from it.
#pragma once

#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "stream/record.hpp"
#include "stream/sealing.hpp"
#include "vmx/root_mover.hpp"

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
  /// In which its enclaves go with it, or come; none: they are lost.
  std::optional<vmx::MoveSession> session{};
  bool operator==(const SavingOrder& other) const;
  /// By which it is offered in the domain's page.
  u64 offer() const {
    u64 number = 0;
    std::memcpy(&number, id.data(), sizeof number);
    return number | 1;
  }
};

/// What becomes of a domain when all of it is in the file. One that goes on has its enclaves still: none are in the
/// file.
enum class AfterSave : u8 { ends, goes_on };

/// Which a stream's first record is, and whether it is one of these.
constexpr stream::Kind config_kind(bool alive, AfterSave then) {
  if (then == AfterSave::goes_on) return stream::Kind::config_snapshot;
  return alive ? stream::Kind::config_alive : stream::Kind::config;
}
constexpr bool is_config(stream::Kind kind) {
  return kind == stream::Kind::config || kind == stream::Kind::config_alive || kind == stream::Kind::config_snapshot;
}

/// An earlier VMM understands one without a session.
std::vector<u8> write_order(const SavingOrder& order);
tl::expected<SavingOrder, std::string> read_order(std::span<const u8> bytes);

/// A token as a control message has it: 64 hexadecimal digits.
std::string text_of_token(const vmx::MoveToken& token);
std::optional<vmx::MoveToken> read_token(std::string_view text);

}  // namespace cloister::toolstack
