#include "protocol/saving.hpp"

#include "stream/codec.hpp"
#include "text/hex.hpp"

namespace cloister::toolstack {

bool SavingOrder::operator==(const SavingOrder& other) const { return write_order(*this) == write_order(other); }

std::vector<u8> write_order(const SavingOrder& order) {
  stream::Encoder to;
  to.put(order.key);
  to.put(order.id);
  to.put(order.config);
  if (order.session) to.put(*order.session);
  return to.take();
}

tl::expected<SavingOrder, std::string> read_order(std::span<const u8> bytes) {
  stream::Decoder from(bytes);
  SavingOrder order;
  bool read = from.get(order.key) && from.get(order.id) && from.get(order.config);
  if (read && from.left() != 0) read = from.get(order.session.emplace()) && from.left() == 0;
  if (!read) return tl::unexpected(std::string("not a saving order"));
  return order;
}

std::string text_of_token(const vmx::MoveToken& token) { return in_hex(token); }

std::optional<vmx::MoveToken> read_token(std::string_view text) {
  vmx::MoveToken token{};
  return from_hex(text, token) ? std::optional(token) : std::nullopt;
}

}  // namespace cloister::toolstack
