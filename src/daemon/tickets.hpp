// Tickets: with one the enclaves of a saved domain go on, once. It has what the file lacks: the session in which their
// root was sealed, with its key, and the token that lets them run. It is on the disk before the root is exported, and
// away before anybody is told the token.
//
// A file whose domain was not saved after all, or went on, has none.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "protocol/saving.hpp"

namespace cloister::toolstack {

inline constexpr u32 ticket_version = 1;

struct Ticket {
  std::string uuid{};          ///< the domain's
  u64 boot = 0;                ///< of its platform's counters (LaunchKeys)
  vmx::MoveSession session{};  ///< as who imports has it
  vmx::MoveToken token{};      ///< commits the import
  // Of earlier versions not known:
  std::string name{}, file{};  ///< the domain's, and where its file was made
  unsigned user = 0;           ///< its owner
  std::string group{};         ///< that it has its keys with; empty: none
  std::string made{};          ///< RFC 3339, UTC
};
/// In place of a group's name: a ticket of an earlier version does not say.
inline constexpr const char* unknown_group = "?";

/// A session that never was, for a domain of this uuid.
Ticket new_ticket(const std::string& uuid, u64 boot);
/// The same session as who exports has it, with the digest of the token that takes the export back.
vmx::MoveSession exporting(const Ticket& ticket, const vmx::MoveToken& take_back);

/// A ticket's name is the id of its file, in hexadecimal.
std::string ticket_name(const stream::SealId& id);
bool is_ticket_name(std::string_view name);

std::string write_ticket(const Ticket& ticket);
tl::expected<Ticket, std::string> read_ticket(std::string_view text);

}  // namespace cloister::toolstack
