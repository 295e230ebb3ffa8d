// The three messages have a layout of fixed lengths, and so has what is hashed of them: no two stories have one digest.
#include "daemon/move_handshake.hpp"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstdlib>

#include "arch/try.hpp"
#include "protocol/moving.hpp"
#include "text/hex.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::string_view protocol_name = "cloister move 1: ";
constexpr u8 proof_version = 1;

using Digest = arch::Bytes32;

struct Hello {
  u8 version = proof_version;
  PublicKey machine{};
  arch::Bytes32 share{};
};
struct Reply {
  PublicKey machine{};
  arch::Bytes32 share{};
  arch::Bytes32 commit{}, abort{};  ///< digests
  Signature signature{};
  arch::Bytes32 confirmation{};
};
struct Proof {
  arch::Bytes32 held{}, done{};  ///< digests
  Signature signature{};
  arch::Bytes32 confirmation{};
};
// Bytes alone: they are their own layout.
static_assert(2 * sizeof(Hello) == hello_digits && sizeof(Hello) == 65 && sizeof(Reply) == 224 && sizeof(Proof) == 160);

template <class Message>
std::span<const u8> bytes_of(const Message& message) {
  return {reinterpret_cast<const u8*>(&message), sizeof message};
}

template <class Message>
std::optional<Message> read_as(const std::string& text) {
  Message message;
  if (!from_hex(text, {reinterpret_cast<u8*>(&message), sizeof message})) return std::nullopt;
  return message;
}

/// OpenSSL refuses only for want of memory; secrets that are not what they seem must not be used.
void must_hash(bool done) {
  if (!done) std::abort();
}

class Said {
 public:
  explicit Said(std::string_view what) { add(protocol_name).add(what); }
  Said& add(std::string_view text) { return add(std::span(reinterpret_cast<const u8*>(text.data()), text.size())); }
  Said& add(std::span<const u8> bytes) {
    all_.insert(all_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Digest digest() const {
    Digest digest{};
    ::SHA256(all_.data(), all_.size(), digest.data());
    return digest;
  }
  const std::vector<u8>& text() const { return all_; }

 private:
  std::vector<u8> all_;
};

/// What is signed: who says it, and all that was said.
std::vector<u8> signed_text(std::string_view who, const Digest& said) { return Said(who).add(said).text(); }
constexpr std::string_view by_target = "the target's signature\n", by_source = "the source's signature\n";

/// One key for one purpose (RFC 5869).
Digest derived(const arch::Bytes32& shared, const Digest& said, std::string_view purpose) {
  std::string info(protocol_name);
  info.append(purpose);
  char hash[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, hash, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, const_cast<u8*>(shared.data()), shared.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, const_cast<u8*>(said.data()), said.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()), OSSL_PARAM_construct_end()};
  const std::unique_ptr<EVP_KDF, decltype(&EVP_KDF_free)> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr), EVP_KDF_free);
  must_hash(kdf != nullptr);
  const std::unique_ptr<EVP_KDF_CTX, decltype(&EVP_KDF_CTX_free)> context(EVP_KDF_CTX_new(kdf.get()), EVP_KDF_CTX_free);
  Digest key{};
  must_hash(context != nullptr && EVP_KDF_derive(context.get(), key.data(), key.size(), parameters) == 1);
  return key;
}

bool equal(const arch::Bytes32& a, const arch::Bytes32& b) { return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

/// All that is known once the target has chosen its share, and that both must see alike.
std::optional<Digest> beginning(const Hello& hello, Reply reply, const std::string& session,
                                const MoveSubject& subject) {
  arch::Bytes16 id{}, uuid{};
  std::string digits = subject.uuid;
  std::erase(digits, '-');
  if (!from_hex(session, id) || !from_hex(digits, uuid)) return std::nullopt;
  reply.signature = {};  // neither is there yet
  reply.confirmation = {};
  const u8 enclaves = static_cast<u8>(subject.enclaves);
  return Said("what moves\n")
      .add(bytes_of(hello))
      .add(bytes_of(reply))
      .add(id)
      .add(uuid)
      .add(std::span(&enclaves, 1))
      .add(subject.offer)
      .digest();
}

/// And once the source has answered that, but for its own signature and confirmation.
Digest ending(const Digest& said, const Reply& reply, Proof proof) {
  proof.signature = {};
  proof.confirmation = {};
  return Said("who moves it\n").add(said).add(bytes_of(reply)).add(bytes_of(proof)).digest();
}

void derive_secrets(MoveAgreement& agreed, const arch::Bytes32& shared, const Digest& said) {
  MoveSecrets& secrets = agreed.secrets;
  const Digest id = derived(shared, said, "the session");
  std::copy_n(id.begin(), secrets.id.size(), secrets.id.begin());
  secrets.root = derived(shared, said, "the root, from the source to its target");
  secrets.stream = derived(shared, said, "the stream, from the source to its target");
  secrets.keys = derived(shared, said, "the domain's keys, from the source to its target");
  secrets.seal = derived(shared, said, "the stream's id");
}

constexpr std::string_view targets_confirmation = "the target's confirmation",
                           sources_confirmation = "the source's confirmation";

tl::expected<const MovePeer*, std::string> peer_with(const PublicKey& key, const MachineKey& own,
                                                     const std::vector<MovePeer>& peers, const char* whose) {
  if (key == own.public_key()) return tl::unexpected(fmt::format("{} has this machine's own key", whose));
  const auto found = std::ranges::find(peers, key, &MovePeer::key);
  if (found == peers.end()) return tl::unexpected(unlisted(key, whose));
  return &*found;
}

}  // namespace

MoveSubject subject_of(const Offer& offer) {
  return {.uuid = offer.uuid, .offer = offer_digest(offer), .enclaves = offer.enclaves};
}

void MoveShare::Free::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }

MoveShare::MoveShare() {
  // Not EVP_PKEY_keygen(): its randomness is a generator of this process's, this is the kernel's.
  Secret number = random_secret();
  key_.reset(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, number.data(), number.size()));
  OPENSSL_cleanse(number.data(), number.size());
  std::size_t size = public_.size();
  must_hash(key_ != nullptr && EVP_PKEY_get_raw_public_key(key_.get(), public_.data(), &size) == 1);
}

std::optional<arch::Bytes32> MoveShare::shared_with(const arch::Bytes32& other) const {
  const std::unique_ptr<EVP_PKEY, Free> theirs(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, other.data(), other.size()));
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(EVP_PKEY_CTX_new(key_.get(), nullptr),
                                                                            EVP_PKEY_CTX_free);
  must_hash(theirs != nullptr && context != nullptr);
  arch::Bytes32 shared{};
  std::size_t size = shared.size();
  // Of a point of small order the secret would be zero, which OpenSSL refuses; and so do we (RFC 7748, 6.1).
  if (EVP_PKEY_derive_init(context.get()) != 1 || EVP_PKEY_derive_set_peer(context.get(), theirs.get()) != 1 ||
      EVP_PKEY_derive(context.get(), shared.data(), &size) != 1 || size != shared.size() ||
      equal(shared, arch::Bytes32{}))
    return std::nullopt;
  return shared;
}

std::string unlisted(const PublicKey& key, const std::string& whose) {
  return fmt::format(
      "'peers' in [migration] of machine.toml, {}, lacks {}, which is the key of {}: enclaves go to machines "
      "alone, and come from those, that stand there (`cloister host --key` prints a machine's)",
      whose == "its source" ? "at its target" : "at its source", to_text(key), whose);
}

tl::expected<const MovePeer*, std::string> peer_of_hello(const std::string& hello, const MachineKey& own,
                                                         const std::vector<MovePeer>& peers) {
  const auto message = read_as<Hello>(hello);
  if (!message) return tl::unexpected(std::string("'hello': expected 130 hexadecimal digits"));
  if (message->version != proof_version)
    return tl::unexpected(
        fmt::format("'hello': found a proof of version {}, expected {}", message->version, proof_version));
  return peer_with(message->machine, own, peers, "its source");
}

MoveSourceProof::MoveSourceProof(MachineKey key) : key_(std::move(key)) {}

std::string MoveSourceProof::hello() const {
  return in_hex(bytes_of(Hello{.machine = key_.public_key(), .share = share_.share()}));
}

tl::expected<MoveSourceProof::Proved, std::string> MoveSourceProof::prove(const std::string& answer,
                                                                          const std::string& session,
                                                                          const MoveSubject& subject,
                                                                          const std::vector<MovePeer>& peers,
                                                                          const MoveDigests& digests) const {
  const auto reply = read_as<Reply>(answer);
  if (!reply) return tl::unexpected(std::string("the target's answer: expected 448 hexadecimal digits"));
  const Hello hello{.machine = key_.public_key(), .share = share_.share()};
  const auto said = beginning(hello, *reply, session, subject);
  if (!said) return tl::unexpected(std::string("'session': expected a target's"));
  const MovePeer* const peer = TRY(peer_with(reply->machine, key_, peers, "its target"));
  if (!is_signed_by(reply->machine, signed_text(by_target, *said), reply->signature))
    return tl::unexpected(
        fmt::format("its target is not '{}', or something was changed on the way: the signature of "
                    "{} is wrong",
                    peer->name, to_text(reply->machine)));
  auto shared = share_.shared_with(reply->share);
  if (!shared || !equal(derived(*shared, *said, targets_confirmation), reply->confirmation))
    return tl::unexpected(
        fmt::format("the answer of '{}' is wrong: it has no secret in common with this machine", peer->name));
  Proof proof{.held = digests.held, .done = digests.done};
  const Digest end = ending(*said, *reply, proof);
  proof.signature = key_.sign(signed_text(by_source, end));
  proof.confirmation = derived(*shared, end, sources_confirmation);
  Proved proved{
      .proof = in_hex(bytes_of(proof)),
      .agreed = {
          .session = session,
          .uuid = subject.uuid,
          .peer = peer->name,
          .secrets = {},
          .digests = {.held = digests.held, .done = digests.done, .commit = reply->commit, .abort = reply->abort}}};
  derive_secrets(proved.agreed, *shared, end);
  OPENSSL_cleanse(shared->data(), shared->size());
  return proved;
}

MoveTargetProof::~MoveTargetProof() { OPENSSL_cleanse(shared_.data(), shared_.size()); }

tl::expected<MoveTargetProof, std::string> MoveTargetProof::answer_to(const std::string& hello,
                                                                      const std::string& session,
                                                                      const MoveSubject& subject, const MachineKey& key,
                                                                      const std::vector<MovePeer>& peers,
                                                                      const MoveDigests& digests) {
  const MovePeer* const peer = TRY(peer_of_hello(hello, key, peers));
  const auto from = read_as<Hello>(hello);
  MoveTargetProof target;
  const MoveShare share;
  auto shared = share.shared_with(from->share);
  if (!shared) return tl::unexpected(std::string("'hello': no secret can be made of the source's share"));
  target.source_ = from->machine;
  target.shared_ = *shared;
  OPENSSL_cleanse(shared->data(), shared->size());
  Reply reply{.machine = key.public_key(), .share = share.share(), .commit = digests.commit, .abort = digests.abort};
  const auto said = beginning(*from, reply, session, subject);
  if (!said) return tl::unexpected(std::string("'uuid': expected one, in its usual form"));
  reply.signature = key.sign(signed_text(by_target, *said));
  reply.confirmation = derived(target.shared_, *said, targets_confirmation);
  // The rest is said by the source: what was said before it has this answer in it.
  target.said_ = *said;
  target.answer_ = in_hex(bytes_of(reply));
  target.agreed_.session = session;
  target.agreed_.uuid = subject.uuid;
  target.agreed_.peer = peer->name;
  target.agreed_.digests = {.held = {}, .done = {}, .commit = digests.commit, .abort = digests.abort};
  return target;
}

tl::expected<MoveAgreement, std::string> MoveTargetProof::accept(const std::string& proof) const {
  const auto message = read_as<Proof>(proof);
  if (!message) return tl::unexpected(std::string("'proof': expected 320 hexadecimal digits"));
  const auto reply = read_as<Reply>(answer_);
  const Digest end = ending(said_, *reply, *message);
  if (!is_signed_by(source_, signed_text(by_source, end), message->signature))
    return tl::unexpected(
        fmt::format("its source is not '{}', or something was changed on the way: the signature of "
                    "{} is wrong",
                    agreed_.peer, to_text(source_)));
  if (!equal(derived(shared_, end, sources_confirmation), message->confirmation))
    return tl::unexpected(
        fmt::format("the proof of '{}' is wrong: it has no secret in common with this machine", agreed_.peer));
  MoveAgreement agreed = agreed_;
  agreed.digests.held = message->held;
  agreed.digests.done = message->done;
  derive_secrets(agreed, shared_, end);
  return agreed;
}

}  // namespace cloister::toolstack
