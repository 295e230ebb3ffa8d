// How two daemons prove to each other which machines they are, and agree on what a move of live enclaves hangs on, by
// three messages that strangers carry (docs/migration.md, "The proof"):
//
//   source -> target   hello: the source's machine key, its share
//   target -> source   answer: the target's machine key, its share, digests of its words, its signature, confirmation
//   source -> target   proof: digests of the source's words, its signature, its confirmation
//
// Each signs all that was said before it, both keys and which of them is the source's, and what moves where: so nothing
// that was said in another move, by another machine, or by this machine in the other's place, fits. A machine that is
// not listed in machine.toml learns no secret, nor does one that lies. Secrets are X25519's (RFC 7748), by HKDF (RFC
// 5869); each side's share is new for each move, and forgotten with it.
//
// Threads: one at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "daemon/machine_key.hpp"
#include "daemon/move_secrets.hpp"
#include "daemon/offer.hpp"
#include "machine/machine.hpp"

struct evp_pkey_st;

namespace cloister::toolstack {

/// What moves, as each side knows it by itself.
struct MoveSubject {
  std::string uuid{};
  arch::Bytes32 offer{};  ///< SHA-256 of all that the source says of the domain (offer_digest())
  MovedEnclaves enclaves = MovedEnclaves::keep;
};

MoveSubject subject_of(const Offer& offer);

/// One of the two numbers that a secret is made of, and its public half.
class MoveShare {
 public:
  MoveShare();
  const arch::Bytes32& share() const { return public_; }
  /// nullopt: the other one's is none that a secret could be made of.
  std::optional<arch::Bytes32> shared_with(const arch::Bytes32& other) const;

 private:
  struct Free {
    void operator()(evp_pkey_st* key) const;
  };
  std::unique_ptr<evp_pkey_st, Free> key_;
  arch::Bytes32 public_{};
};

/// The line that machine.toml lacks. `whose`: "its target", "its source".
std::string unlisted(const PublicKey& key, const std::string& whose);

/// The machine whose hello this is, as machine.toml calls it. The error says why enclaves cannot come from there.
tl::expected<const MovePeer*, std::string> peer_of_hello(const std::string& hello, const MachineKey& own,
                                                         const std::vector<MovePeer>& peers);

class MoveSourceProof {
 public:
  explicit MoveSourceProof(MachineKey key);
  /// The first message; all are in hexadecimal.
  std::string hello() const;

  struct Proved {
    std::string proof;  ///< the third message
    MoveAgreement agreed;
  };
  /// The second message has come. `digests`: source_digests().
  tl::expected<Proved, std::string> prove(const std::string& answer, const std::string& session,
                                          const MoveSubject& subject, const std::vector<MovePeer>& peers,
                                          const MoveDigests& digests) const;

 private:
  MachineKey key_;
  MoveShare share_;
};

class MoveTargetProof {
 public:
  /// The first message has come. `digests`: target_digests().
  static tl::expected<MoveTargetProof, std::string> answer_to(const std::string& hello, const std::string& session,
                                                              const MoveSubject& subject, const MachineKey& key,
                                                              const std::vector<MovePeer>& peers,
                                                              const MoveDigests& digests);
  ~MoveTargetProof();
  MoveTargetProof(MoveTargetProof&&) = default;
  MoveTargetProof& operator=(MoveTargetProof&&) = default;

  /// The second message.
  const std::string& answer() const { return answer_; }
  /// The third message has come. Until then nobody has proved anything to the target.
  tl::expected<MoveAgreement, std::string> accept(const std::string& proof) const;

 private:
  MoveTargetProof() = default;

  PublicKey source_{};
  arch::Bytes32 shared_{};
  arch::Bytes32 said_{};  ///< SHA-256 of all that was said until now
  std::string answer_{};
  MoveAgreement agreed_{};  ///< without secrets
};

}  // namespace cloister::toolstack
