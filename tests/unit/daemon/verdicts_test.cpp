// What decides whether a domain that comes from elsewhere runs here (verdicts.hpp), and what a source says of it
// (offer.hpp): once for ever, and nothing that is wrong is taken for something else.
#include "daemon/verdicts.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "daemon/move_record.hpp"
#include "daemon/offer.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests {
namespace {

using namespace toolstack;

const std::string session(32, 'a'), other(32, 'b');

TEST(Verdicts, TheFirstCountsForEver) {
  const Folder folder;
  auto verdicts = Verdicts::open(folder.path());
  ASSERT_TRUE(verdicts) << verdicts.error();
  EXPECT_EQ(*verdicts->find(session), std::nullopt);
  const Verdict commit{.commit = true, .paused = true, .uuid = "u", .name = "n", .user = 7};
  EXPECT_EQ(verdicts->put(session, commit), commit);
  EXPECT_EQ(verdicts->put(session, Verdict{.user = 7}), commit);
  const Verdict abort{.user = 7};
  EXPECT_EQ(verdicts->put(other, abort), abort);
  EXPECT_EQ(verdicts->put(other, commit), abort);
  // Another daemon finds them; what nobody needs any more goes, and a commit never does by itself.
  verdicts = Verdicts::open(folder.path());
  EXPECT_EQ(*verdicts->find(session), commit);
  EXPECT_EQ(verdicts->tidy(7), 1u);
  EXPECT_EQ(verdicts->tidy(8), 0u);
  EXPECT_EQ(*verdicts->find(other), std::nullopt);
  EXPECT_EQ(*verdicts->find(session), commit);
  EXPECT_TRUE(verdicts->remove(session));
  EXPECT_EQ(*verdicts->find(session), std::nullopt);
}

/// Who decides and who ends the domain have a Verdicts each.
TEST(Verdicts, OfTwoAtOnceOneCountsForBoth) {
  constexpr int rounds = 50;
  const Folder folder;
  const auto one = Verdicts::open(folder.path()), two = Verdicts::open(folder.path());
  ASSERT_TRUE(one && two);
  for (int round = 0; round < rounds; ++round) {
    std::string name = std::to_string(round);
    name.insert(0, session.size() - name.size(), '0');
    tl::expected<Verdict, std::string> first, second;
    {
      const std::jthread aside([&] { first = one->put(name, {.commit = true, .user = 7}); });
      second = two->put(name, {.user = 7});
    }
    ASSERT_TRUE(first && second) << (first ? second : first).error();
    EXPECT_EQ(*first, *second);
    EXPECT_EQ(*one->find(name), *first);
  }
}

TEST(Verdicts, WhatCannotBeReadIsNoVerdict) {
  const Folder folder;
  const auto verdicts = Verdicts::open(folder.path());
  ASSERT_TRUE(verdicts);
  ASSERT_TRUE(verdicts->put(other, {}));
  std::ofstream(std::filesystem::path(folder.path()) / "migrations" / session) << R"({"verdict":"commit"})";
  EXPECT_FALSE(verdicts->find(session));
  EXPECT_FALSE(verdicts->put(session, {.commit = true})) << "and is not written over";
  for (const char* const text : {"", "{}", R"({"verdict":"yes","paused":false,"uuid":"","name":"","user":1})"})
    EXPECT_FALSE(read_verdict(text)) << text;
}

TEST(Offer, IsReadAsItWasWritten) {
  const Offer offer{.uuid = "0a3c8f5e-5d0e-4d6a-9a52-5c1f0d1e2b3c",
                    .name = "web",
                    .config = "text",
                    .file = "web.cfg",
                    .directory = "/home",
                    .kernel_sha256 = "a12871fee210fb8619291eaea194581cbd2531e4b23759d225f6806923f63222",
                    .shape = {0, 255, 16}};
  EXPECT_EQ(read_offer(to_json(offer)), offer);
  for (const auto& [member, value] : {std::pair<const char*, nlohmann::json>{"version", 2},
                                      {"uuid", "0A3C8F5E-5D0E-4D6A-9A52-5C1F0D1E2B3C"},
                                      {"uuid", ""},
                                      {"shape", "0"},
                                      {"shape", "0x"},
                                      {"config", nullptr}}) {
    nlohmann::json object = to_json(offer);
    object[member] = value;
    const auto wrong = read_offer(object);
    ASSERT_FALSE(wrong) << member;
    EXPECT_NE(wrong.error().find(member), std::string::npos) << wrong.error();
  }
}

TEST(MoveRecord, IsReadAsItWasWritten) {
  const MoveRecord move{.session = session, .peer = "ssh://there", .arrives = true};
  EXPECT_EQ(read_move(to_json(move)), move);
  EXPECT_FALSE(read_move({{"session", "x"}, {"peer", ""}, {"arrives", true}}));
  EXPECT_FALSE(read_move({{"session", session}, {"peer", ""}}));
}

}  // namespace
}  // namespace cloister::tests
