// What a move of live enclaves hangs on (docs/migration.md, "To whom enclaves may go"): keys that two machines have
// agreed on after each has proved to the other which it is, and words that one daemon alone can say about a move and
// the other one knows when it hears them.
//
// The keys are in memory alone, and erased with what holds them. The words need no keeping: a daemon makes its own anew
// from its state folder's secret, however often it was started since, and the other daemon keeps digests of them, which
// are no secret. So a record has nothing in it that would have to be sealed.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "machine/platform_secret.hpp"
#include "stream/sealing.hpp"
#include "vmx/root_mover.hpp"

namespace cloister::toolstack {

/// What is said of a move, once it is true and on the disk of who says it. To hear `held` is for the target, to hear
/// `commit` or `abort` for the source; whoever carries them hears them too, and can make nothing of that.
enum class MoveWord : u8 {
  held,    ///< the source's: its domain stands still, and goes on by `abort` alone. Without it a target never commits
  done,    ///< the source's: it knows that the verdict was `commit`. Without it a target does not forget that
  commit,  ///< the target's: it runs there. Ends the source's domain, and commits what the target's VMM has imported
  abort,   ///< the target's: it never runs there. Takes back what the source's VMM has exported
};

/// This daemon's word about a session of a domain; the other daemon's are other ones.
vmx::MoveToken move_token(const WrapSecret& wrap, MoveWord word, std::string_view session, std::string_view uuid);

/// SHA-256 of each word, as the daemons have told each other.
struct MoveDigests {
  arch::Bytes32 held{}, done{}, commit{}, abort{};
  bool operator==(const MoveDigests&) const = default;
};
/// Those that this daemon tells as a move's source: held and done; as its target: commit and abort. The rest is zeros.
MoveDigests source_digests(const WrapSecret& wrap, std::string_view session, std::string_view uuid);
MoveDigests target_digests(const WrapSecret& wrap, std::string_view session, std::string_view uuid);
/// Whether somebody has said the word that has this digest. `text`: as text_of_token() has it (protocol/saving.hpp).
bool is_word(std::string_view text, const arch::Bytes32& digest);

/// For records and verdicts: {"held": …, "done": …, "commit": …, "abort": …}, in hexadecimal.
nlohmann::json to_json(const MoveDigests& digests);
tl::expected<MoveDigests, std::string> read_digests(const nlohmann::json& object);

/// Of one move, and of no other one: each side's part in them is new for each.
struct MoveSecrets {
  arch::Bytes16 id{};        ///< vmx::MoveSession::id
  arch::Bytes32 root{};      ///< vmx::MoveSession::key: seals the root, and nothing else
  arch::Bytes32 keys{};      ///< wraps the domain's keys on their way, once, and nothing else
  stream::SealKey stream{};  ///< seals the stream from the source to its target, and nothing else
  stream::SealId seal{};     ///< that stream's id

  MoveSecrets() = default;
  MoveSecrets(const MoveSecrets&) = default;
  MoveSecrets& operator=(const MoveSecrets&) = default;
  /// Erases them.
  ~MoveSecrets();
};

/// What a move of live enclaves has once both machines have proved which they are. Equal at both daemons, but for
/// `peer`.
struct MoveAgreement {
  std::string session{}, uuid{};
  std::string peer{};  ///< what this daemon's machine.toml calls the other machine
  MoveSecrets secrets{};
  MoveDigests digests{};
};

/// As who exports the root has the session: UNLATCH takes `abort`.
vmx::MoveSession exporting(const MoveAgreement& agreed);
/// As who imports it has the session: COMMIT takes `commit`.
vmx::MoveSession importing(const MoveAgreement& agreed);

}  // namespace cloister::toolstack
