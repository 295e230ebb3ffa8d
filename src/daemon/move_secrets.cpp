#include "daemon/move_secrets.hpp"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

#include "daemon/hmac.hpp"
#include "protocol/saving.hpp"
#include "text/hex.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

const char* label_of(MoveWord word) {
  switch (word) {
    case MoveWord::held: return "held";
    case MoveWord::done: return "done";
    case MoveWord::commit: return "commit";
    case MoveWord::abort: return "abort";
  }
  return "";
}

arch::Bytes32 digest_of_word(const vmx::MoveToken& token) {
  arch::Bytes32 digest{};
  ::SHA256(token.data(), token.size(), digest.data());
  return digest;
}

struct DigestRow {
  const char* name;
  arch::Bytes32 MoveDigests::*digest;
};
constexpr DigestRow digest_rows[] = {{"held", &MoveDigests::held},
                                     {"done", &MoveDigests::done},
                                     {"commit", &MoveDigests::commit},
                                     {"abort", &MoveDigests::abort}};

vmx::MoveSession session_that(const MoveAgreement& agreed, const arch::Bytes32& ended_by) {
  vmx::MoveSession session{.id = agreed.secrets.id, .domain = {}, .key = agreed.secrets.root, .token_digest = ended_by};
  std::string digits = agreed.uuid;
  std::erase(digits, '-');
  (void)from_hex(digits, session.domain);
  return session;
}

}  // namespace

vmx::MoveToken move_token(const WrapSecret& wrap, MoveWord word, std::string_view session, std::string_view uuid) {
  // Neither has a blank in it: no two moves have one text.
  std::string text("cloister move word ");
  text.append(label_of(word)).append(" ").append(session).append(" ").append(uuid);
  return hmac_sha256(wrap.bytes, text);
}

MoveDigests source_digests(const WrapSecret& wrap, std::string_view session, std::string_view uuid) {
  return {.held = digest_of_word(move_token(wrap, MoveWord::held, session, uuid)),
          .done = digest_of_word(move_token(wrap, MoveWord::done, session, uuid)),
          .commit = {},
          .abort = {}};
}

MoveDigests target_digests(const WrapSecret& wrap, std::string_view session, std::string_view uuid) {
  return {.held = {},
          .done = {},
          .commit = digest_of_word(move_token(wrap, MoveWord::commit, session, uuid)),
          .abort = digest_of_word(move_token(wrap, MoveWord::abort, session, uuid))};
}

bool is_word(std::string_view text, const arch::Bytes32& digest) {
  const auto token = read_token(text);
  if (!token) return false;
  const arch::Bytes32 found = digest_of_word(*token);
  return CRYPTO_memcmp(found.data(), digest.data(), digest.size()) == 0;
}

nlohmann::json to_json(const MoveDigests& digests) {
  nlohmann::json object = nlohmann::json::object();
  for (const DigestRow& row : digest_rows) object[row.name] = in_hex(digests.*row.digest);
  return object;
}

tl::expected<MoveDigests, std::string> read_digests(const nlohmann::json& object) {
  MoveDigests digests;
  JsonFields fields(object);
  for (const DigestRow& row : digest_rows) {
    std::string text;
    fields.text(row.name, text);
    if (fields.ok() && !from_hex(text, digests.*row.digest))
      fields.fail(std::string("'") + row.name + "': expected 64 hexadecimal digits");
  }
  if (!fields.ok()) return tl::unexpected(fields.error());
  return digests;
}

MoveSecrets::~MoveSecrets() {
  OPENSSL_cleanse(root.data(), root.size());
  OPENSSL_cleanse(keys.data(), keys.size());
  OPENSSL_cleanse(stream.data(), stream.size());
}

vmx::MoveSession exporting(const MoveAgreement& agreed) { return session_that(agreed, agreed.digests.abort); }
vmx::MoveSession importing(const MoveAgreement& agreed) { return session_that(agreed, agreed.digests.commit); }

}  // namespace cloister::toolstack
