#include "daemon/tickets.hpp"

#include <openssl/sha.h>

#include <algorithm>

#include "arch/try.hpp"
#include "machine/platform_secret.hpp"
#include "text/hex.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

arch::Bytes32 digest_of(const vmx::MoveToken& token) {
  arch::Bytes32 digest{};
  ::SHA256(token.data(), token.size(), digest.data());
  return digest;
}

void read_hex(JsonFields& fields, const char* member, std::span<u8> bytes) {
  std::string text;
  fields.text(member, text);
  if (fields.ok() && !from_hex(text, bytes))
    fields.fail("'" + std::string(member) + "': expected " + std::to_string(2 * bytes.size()) + " hexadecimal digits");
}

}  // namespace

Ticket new_ticket(const std::string& uuid, u64 boot) {
  Ticket ticket{.uuid = uuid, .boot = boot};
  const Secret id = random_secret();
  std::copy_n(id.begin(), ticket.session.id.size(), ticket.session.id.begin());
  std::string digits = uuid;
  std::erase(digits, '-');
  (void)from_hex(digits, ticket.session.domain);
  ticket.session.key = random_secret();
  ticket.token = random_secret();
  ticket.session.token_digest = digest_of(ticket.token);
  return ticket;
}

vmx::MoveSession exporting(const Ticket& ticket, const vmx::MoveToken& take_back) {
  vmx::MoveSession session = ticket.session;
  session.token_digest = digest_of(take_back);
  return session;
}

std::string ticket_name(const stream::SealId& id) { return in_hex(id); }

bool is_ticket_name(std::string_view name) {
  stream::SealId id{};
  return from_hex(name, id);
}

std::string write_ticket(const Ticket& ticket) {
  return json_text({{"version", ticket_version},
                    {"name", ticket.name},
                    {"file", ticket.file},
                    {"user", ticket.user},
                    {"group", ticket.group},
                    {"made", ticket.made},
                    {"uuid", ticket.uuid},
                    {"boot", ticket.boot},
                    {"session", in_hex(ticket.session.id)},
                    {"domain", in_hex(ticket.session.domain)},
                    {"key", in_hex(ticket.session.key)},
                    {"token", in_hex(ticket.token)}});
}

tl::expected<Ticket, std::string> read_ticket(std::string_view text) {
  const auto object = TRY(parse_object(text));
  Ticket ticket;
  u32 version = 0;
  JsonFields fields(object);
  fields.number("version", version).text("uuid", ticket.uuid).number("boot", ticket.boot);
  if (fields.ok() && version != ticket_version)
    fields.fail("'version': " + std::to_string(version) + ", of which this daemon knows 1");
  read_hex(fields, "session", ticket.session.id);
  read_hex(fields, "domain", ticket.session.domain);
  read_hex(fields, "key", ticket.session.key);
  read_hex(fields, "token", ticket.token);
  if (fields.has("made")) {
    fields.text("name", ticket.name).text("file", ticket.file).text("group", ticket.group).text("made", ticket.made);
    fields.number("user", ticket.user);
  } else {
    ticket.group = unknown_group;
  }
  if (!fields.ok()) return tl::unexpected(fields.error());
  ticket.session.token_digest = digest_of(ticket.token);
  return ticket;
}

}  // namespace cloister::toolstack
