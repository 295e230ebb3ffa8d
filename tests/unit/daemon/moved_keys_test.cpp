// The keys of a domain that moves with its enclaves (moved_keys.hpp), what its process is told (protocol/moving.hpp),
// and what records and verdicts know of such a move: as it was written, and nothing else.
#include "daemon/moved_keys.hpp"

#include <gtest/gtest.h>

#include "daemon/move_record.hpp"
#include "daemon/verdicts.hpp"
#include "protocol/moving.hpp"

namespace cloister::tests {
namespace {

using namespace toolstack;

const std::string session(32, 'a'), other_session(32, 'b');
constexpr arch::Bytes32 wrap{1}, other_wrap{2};

MovedKeys some_keys() {
  MovedKeys keys;
  keys.boot = u64{3} << 32 | 5;
  keys.power_ons = 3;
  keys.own = {7};
  return keys;
}

TEST(MovedKeys, AreWhatTheyWereForTheirMoveAlone) {
  MovedKeys keys = some_keys();
  for (const bool grouped : {false, true}) {
    if (grouped) keys.group = Secret{9};
    const std::string text = wrap_moved(keys, wrap, session);
    EXPECT_EQ(unwrap_moved(text, wrap, session), keys);
    EXPECT_NE(wrap_moved(keys, wrap, session), text) << "the nonce is another one each time";
    EXPECT_FALSE(unwrap_moved(text, other_wrap, session));
    EXPECT_FALSE(unwrap_moved(text, wrap, other_session));
    for (std::size_t at = 0; at < text.size(); ++at) {
      std::string altered = text;
      altered[at] = altered[at] == '0' ? '1' : '0';
      EXPECT_FALSE(unwrap_moved(altered, wrap, session)) << at;
      EXPECT_FALSE(unwrap_moved(text.substr(0, at), wrap, session)) << at;
    }
    EXPECT_FALSE(unwrap_moved(text + "00", wrap, session));
  }
  EXPECT_FALSE(unwrap_moved(std::string(1 << 20, '0'), wrap, session));
  EXPECT_FALSE(unwrap_moved("no digits at all, but as many as there may be of them..", wrap, session));
}

TEST(MoveOrder, IsReadAsItWasWritten) {
  const MoveOrder order{.session = {.id = {1}, .domain = {2}, .key = {3}, .token_digest = {4}}, .key = {5}, .id = {6}};
  const auto bytes = write_move_order(order);
  const auto read = read_move_order(bytes);
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(write_move_order(*read), bytes);
  EXPECT_FALSE(read_move_order(std::span(bytes).first(bytes.size() - 1)));
  auto longer = bytes;
  longer.push_back(0);
  EXPECT_FALSE(read_move_order(longer));
}

TEST(MoveRecord, KnowsOfEnclaves) {
  MoveRecord move{.session = session, .peer = "unix:/way", .arrives = false};
  EXPECT_EQ(read_move(to_json(move)), move);
  move.digests = MoveDigests{.held = {1}, .done = {2}, .commit = {3}, .abort = {4}};
  move.gone = move.given_up = true;
  EXPECT_EQ(read_move(to_json(move)), move);
  move.keys = {"group:blue"};
  EXPECT_EQ(read_move(to_json(move)), move);
  for (const auto& [member, value] : {std::pair<const char*, nlohmann::json>{"keys", {"what is that"}},
                                      {"keys", {1}},
                                      {"gone", 1},
                                      {"given_up", 1},
                                      {"digests", 1}}) {
    nlohmann::json object = to_json(move);
    object[member] = value;
    EXPECT_FALSE(read_move(object)) << member;
  }
}

TEST(Verdict, KnowsWhoMayForgetIt) {
  Verdict verdict{.commit = true, .uuid = "u", .name = "n", .user = 7, .done = std::string(64, 'c')};
  EXPECT_EQ(read_verdict(write_verdict(verdict)), verdict);
  verdict.done = "c";
  EXPECT_FALSE(read_verdict(write_verdict(verdict)));
}

}  // namespace
}  // namespace cloister::tests
