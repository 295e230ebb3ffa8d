// What carries domains between daemons, from anyone: messages of the other client, and a source's word about a domain.
// What is read is written as it was found, or there is one clear error.
#include <algorithm>

#include "check.hpp"
#include "client/move_wire.hpp"
#include "daemon/move_handshake.hpp"
#include "daemon/move_record.hpp"
#include "daemon/moved_keys.hpp"
#include "daemon/offer.hpp"
#include "daemon/verdicts.hpp"
#include "protocol/moving.hpp"
#include "text/json_fields.hpp"

namespace cloister {
namespace {

using namespace toolstack;

void read_messages(std::span<const u8> bytes) {
  const client::WireSource source = [&bytes](std::span<u8> to) {
    if (bytes.size() < to.size()) return false;
    std::ranges::copy(bytes.first(to.size()), to.begin());
    bytes = bytes.subspan(to.size());
    return true;
  };
  if (!client::read_greeting(source)) return;
  for (;;) {
    const auto message = client::read_message(source);
    if (!message) {
      check(!message.error().empty());
      return;
    }
    const auto* const row = client::wire_row(static_cast<u32>(message->kind));
    check(row != nullptr && message->body.size() <= row->most_bytes);
  }
}

/// No bytes that nobody proved anything with are a proof.
void read_proofs(const std::string& text) {
  static const MachineKey here{{1}}, there{{2}};
  static const std::vector<MovePeer> peers{{.name = "other", .key = there.public_key(), .owner = {}},
                                           {.name = "this", .key = here.public_key(), .owner = {}}};
  static const MoveSourceProof source(there);
  const std::string session(32, 'a');
  const MoveSubject subject{.uuid = "00000000-0000-4000-8000-000000000000"};
  check(!MoveTargetProof::answer_to(text, session, subject, here, peers, {}) || text.size() == hello_digits);
  check(!source.prove(text, session, subject, peers, {}));
  static const auto target = MoveTargetProof::answer_to(source.hello(), session, subject, here, peers, {});
  check(target && !target->accept(text));
  check(!unwrap_moved(text, arch::Bytes32{}, session));
}

}  // namespace
}  // namespace cloister

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  const std::span<const u8> bytes(data, size);
  read_messages(bytes);
  auto greeted = toolstack::client::wire_greeting();
  greeted.insert(greeted.end(), bytes.begin(), bytes.end());
  read_messages(greeted);
  if (const auto order = toolstack::read_move_order(bytes))
    check(std::ranges::equal(toolstack::write_move_order(*order), bytes));
  const std::string text(bytes.begin(), bytes.end());
  if (const auto object = toolstack::parse_object(text, {.deepest = 8, .most_values = 256})) {
    if (const auto offer = toolstack::read_offer(*object))
      check(toolstack::read_offer(toolstack::to_json(*offer)) == *offer);
    if (const auto digests = toolstack::read_digests(*object))
      check(toolstack::read_digests(toolstack::to_json(*digests)) == *digests);
    if (const auto move = toolstack::read_move(*object))
      check(toolstack::read_move(toolstack::to_json(*move)) == *move);
  }
  read_proofs(text);
  if (const auto verdict = toolstack::read_verdict(text))
    check(toolstack::read_verdict(toolstack::write_verdict(*verdict)) == *verdict);
  return 0;
}
