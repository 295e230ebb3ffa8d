// The enclaves of a domain in a stream: pages of EPC as EWB has left them, where their versions are, and the root of
// these, sealed for a session (docs/vendor-leaves.md). Without the root the rest is of no use to anybody, and the root
// is of use once.
//
// Out: save_enclaves(), as the last of the domain's records; or its two halves, between which it is said elsewhere that
// they may run there: write_enclaves(), after which they can still stay by keep_enclaves(), and export_enclaves(). From
// then on its package is latched, and it cannot go on but by take_enclaves_back(), with the token that says that the
// move has failed.
// In: ArrivingEnclaves takes the records, import() loads what may be loaded, and commit_enclaves(), with the token that
// says that the move has succeeded, lets the domain run.
#pragma once

#include <optional>

#include "hypervisor/epc/moving/movable_epc.hpp"
#include "hypervisor/machine.hpp"
#include "hypervisor/saving/parts.hpp"
#include "stream/reader.hpp"
#include "stream/writer.hpp"

namespace cloister::hypervisor {

// The records' bodies.

/// As many as there are, in as many records as that takes.
struct EpcMapState {
  std::vector<MovedPage> pages{};
  std::vector<u64> lost{};
};
struct EpcPageState {
  u64 address = 0;
  std::array<u8, sizeof(arch::Pcmd)> pcmd{};
  std::array<u8, arch::page_size> bytes{};
};
struct VaPageState {
  u32 number = 0;
  SlotName slot{};
  std::array<u8, sizeof(arch::Pcmd)> pcmd{};
  std::array<u8, arch::page_size> bytes{};
};
struct RootState {
  u32 number = 0;
  vmx::RootImage image{};
};

/// Whether the domain has EPC, and its package the leaves that move it. The error says what is missing.
Loaded can_move_enclaves(Machine& machine);

/// A page that is out. It comes as a record `epc-page`.
Loaded write_epc_page(arch::Gpa page, const SealedSpan& image, stream::Writer& to);
/// What is in the stream already: nothing, or what left early (epc/moving/movable_epc.hpp).
enum class Sent : u8 { nothing, early };
/// The domain stands still. All goes out, and into the stream but for the root, whose number this is. An error: it is
/// as before.
tl::expected<u32, std::string> write_enclaves(Machine& machine, stream::Writer& to, Sent sent = Sent::nothing);
/// Then the root leaves. An error: it is as after write_enclaves(), unless it is one of writing what has left (`left`).
Loaded export_enclaves(Machine& machine, u32 root, stream::Writer& to, const vmx::MoveSession& session, bool& left);
/// Or none of them does: it is as before.
Loaded keep_enclaves(Machine& machine);
/// Both halves. An error: it is as before, unless it is one of writing what has left (`left`).
Loaded save_enclaves(Machine& machine, stream::Writer& to, const vmx::MoveSession& session, bool& left);
/// Its enclaves have left, and come back.
Loaded take_enclaves_back(Machine& machine, const vmx::MoveToken& token);
/// They may have left, or not, and nobody says what became of them: they are lost, as in S3, and so are the keys that
/// they had. An error: it is not to go on.
Loaded give_enclaves_up(Machine& machine, const vmx::PlatformSecrets& secrets);

class ArrivingEnclaves {
 public:
  /// For EPC of so many pages.
  explicit ArrivingEnclaves(u64 pages) : pages_(pages) {}

  /// It is one of theirs.
  static bool has(stream::Kind kind);
  Loaded add(const stream::Record& record);
  /// All have come.
  bool complete() const { return root_.has_value(); }
  /// Into a machine that has not run. It does not run before commit_enclaves().
  Loaded import(Machine& machine, const vmx::MoveSession& session) &&;

 private:
  const u64 pages_;
  MovedEpc moved_;
  MovedImages images_;
  std::optional<RootState> root_;
};

Loaded commit_enclaves(Machine& machine, const vmx::MoveToken& token);

}  // namespace cloister::hypervisor
