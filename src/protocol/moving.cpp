#include "protocol/moving.hpp"

#include "stream/codec.hpp"

namespace cloister::toolstack {

std::vector<u8> write_move_order(const MoveOrder& order) {
  stream::Encoder to;
  to.put(order.session);
  to.put(order.key);
  to.put(order.id);
  return to.take();
}

tl::expected<MoveOrder, std::string> read_move_order(std::span<const u8> bytes) {
  stream::Decoder from(bytes);
  MoveOrder order;
  if (!from.get(order.session) || !from.get(order.key) || !from.get(order.id) || from.left() != 0)
    return tl::unexpected(std::string("not an order to move"));
  return order;
}

std::vector<u8> write_platform_secrets(const vmx::PlatformSecrets& secrets) {
  stream::Encoder to;
  to.put(secrets);
  return to.take();
}

tl::expected<vmx::PlatformSecrets, std::string> read_platform_secrets(std::span<const u8> bytes) {
  stream::Decoder from(bytes);
  vmx::PlatformSecrets secrets;
  if (!from.get(secrets) || from.left() != 0) return tl::unexpected(std::string("not a platform's secrets"));
  return secrets;
}

}  // namespace cloister::toolstack
