#include "protocol/saving.hpp"

#include "stream/codec.hpp"

namespace cloister::toolstack {

std::vector<u8> write_order(const SavingOrder& order) { return stream::encode(order); }

tl::expected<SavingOrder, std::string> read_order(std::span<const u8> bytes) {
  auto order = stream::decode<SavingOrder>(bytes);
  if (!order) return tl::unexpected(std::string("not a saving order"));
  return std::move(*order);
}

}  // namespace cloister::toolstack
