// What stands before a saved domain's stream: its bytes do not change unseen (stream/record.hpp has its version).
#include <gtest/gtest.h>

#include "protocol/saving.hpp"
#include "stream/codec.hpp"

namespace cloister::toolstack {
namespace {

TEST(SavedConfig, HasTheBytesThatItHad) {
  const SavedConfig config{
      .uuid = "u", .name = "n", .config = "c=1", .file = "", .directory = "/d", .user = 0x0403'0201};
  const std::vector<u8> golden{1,   0, 0, 0, 'u', 1, 0, 0, 0, 'n', 3,   0, 0, 0, 'c', '=',
                               '1', 0, 0, 0, 0,   2, 0, 0, 0, '/', 'd', 1, 2, 3, 4};
  EXPECT_EQ(stream::encode(config), golden);
  EXPECT_EQ(stream::decode<SavedConfig>(golden), config);
  EXPECT_EQ(stream::row_of(stream::Kind::config).version, 1u) << "a change is another version";
}

TEST(SavingOrder, ComesBackAsItWas) {
  SavingOrder order{.config = {.uuid = "1", .name = "web", .config = "text", .user = 7}};
  order.key.fill(9);
  order.id.fill(8);
  const auto bytes = write_order(order);
  EXPECT_EQ(read_order(bytes).value(), order);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(read_order(std::span(bytes).first(size))) << size;
  order.session = {.id = {1}, .domain = {2}, .key = {3}, .token_digest = {4}};
  const auto alive = write_order(order);
  EXPECT_EQ(read_order(alive).value(), order);
  for (std::size_t size = bytes.size() + 1; size < alive.size(); ++size)
    EXPECT_FALSE(read_order(std::span(alive).first(size))) << size;
}

TEST(SavingOrder, ATokenComesBackAsItWas) {
  vmx::MoveToken token{};
  for (std::size_t i = 0; i < token.size(); ++i) token[i] = static_cast<u8>(7 * i + 250);
  const std::string text = text_of_token(token);
  EXPECT_EQ(read_token(text), token);
  for (const std::string& wrong : {text + "0", text.substr(1), std::string(64, 'g'), std::string(64, ' ')})
    EXPECT_FALSE(read_token(wrong)) << wrong;
}

}  // namespace
}  // namespace cloister::toolstack
