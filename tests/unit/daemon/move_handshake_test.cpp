// How two machines prove to each other which they are (move_handshake.hpp), against whoever carries what they say: it
// sees, keeps, reorders, changes and invents everything between them.
#include "daemon/move_handshake.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "daemon/move_session.hpp"
#include "daemon/secrets.hpp"
#include "protocol/saving.hpp"
#include "text/hex.hpp"

namespace cloister::tests {
namespace {

using namespace toolstack;
using testing::HasSubstr;

const std::string a_session(32, '5'), another_session(32, '6');
const std::string a_domain = "01234567-89ab-4cde-8f01-23456789abcd";

/// One of several machines; each lists the others but those that it is told not to.
struct Host {
  std::string name;
  MachineKey key;
  WrapSecret wrap;
  std::vector<MovePeer> peers{};
};

class Proofs : public testing::Test {
 protected:
  Proofs() {
    for (Host* one : {&here_, &there_, &third_}) {
      for (const Host* other : {&here_, &there_, &third_}) {
        if (one != other) one->peers.push_back({.name = other->name, .key = other->key.public_key(), .owner = {}});
      }
    }
  }

  static tl::expected<MoveTargetProof, std::string> answer(const Host& host, const std::string& hello,
                                                           const MoveSubject& subject,
                                                           const std::string& session = a_session) {
    return MoveTargetProof::answer_to(hello, session, subject, host.key, host.peers,
                                      target_digests(host.wrap, session, subject.uuid));
  }
  static tl::expected<MoveSourceProof::Proved, std::string> prove(const Host& host, const MoveSourceProof& source,
                                                                  const std::string& answer, const MoveSubject& subject,
                                                                  const std::string& session = a_session) {
    return source.prove(answer, session, subject, host.peers, source_digests(host.wrap, session, subject.uuid));
  }

  Host here_{.name = "here", .key = {{1}}, .wrap = {{11}}}, there_{.name = "there", .key = {{2}}, .wrap = {{12}}},
      third_{.name = "third", .key = {{3}}, .wrap = {{13}}};
  MoveSubject subject_{.uuid = a_domain, .offer = {7}};
};

TEST_F(Proofs, BothAgreeOnAllAndOnNothingTwice) {
  std::set<std::string> secrets;
  for (int time = 0; time < 2; ++time) {
    const MoveSourceProof source(here_.key);
    const auto target = answer(there_, source.hello(), subject_);
    ASSERT_TRUE(target) << target.error();
    const auto proved = prove(here_, source, target->answer(), subject_);
    ASSERT_TRUE(proved) << proved.error();
    const auto agreed = target->accept(proved->proof);
    ASSERT_TRUE(agreed) << agreed.error();
    EXPECT_EQ(proved->agreed.peer, "there");
    EXPECT_EQ(agreed->peer, "here");
    for (const MoveAgreement* one : {&proved->agreed, &*agreed}) {
      EXPECT_EQ(one->session, a_session);
      EXPECT_EQ(one->uuid, a_domain);
      EXPECT_EQ(one->digests.held, source_digests(here_.wrap, a_session, a_domain).held);
      EXPECT_EQ(one->digests.done, source_digests(here_.wrap, a_session, a_domain).done);
      EXPECT_EQ(one->digests.commit, target_digests(there_.wrap, a_session, a_domain).commit);
      EXPECT_EQ(one->digests.abort, target_digests(there_.wrap, a_session, a_domain).abort);
    }
    EXPECT_EQ(proved->agreed.secrets.id, agreed->secrets.id);
    EXPECT_EQ(proved->agreed.secrets.root, agreed->secrets.root);
    EXPECT_EQ(proved->agreed.secrets.stream, agreed->secrets.stream);
    EXPECT_EQ(proved->agreed.secrets.seal, agreed->secrets.seal);
    // Each is another one, and another one the next time.
    EXPECT_TRUE(secrets.insert(in_hex(agreed->secrets.root)).second);
    EXPECT_TRUE(secrets.insert(in_hex(agreed->secrets.stream)).second);
    EXPECT_TRUE(secrets.insert(in_hex(agreed->secrets.seal)).second);
    EXPECT_TRUE(secrets.insert(in_hex(agreed->secrets.id)).second);
    const vmx::MoveSession leaves = exporting(proved->agreed), comes = importing(*agreed);
    EXPECT_EQ(leaves.id, comes.id);
    EXPECT_EQ(leaves.key, comes.key);
    EXPECT_EQ(leaves.domain, comes.domain);
    EXPECT_EQ(in_hex(comes.domain), "0123456789ab4cde8f0123456789abcd");
    EXPECT_EQ(leaves.token_digest, agreed->digests.abort);
    EXPECT_EQ(comes.token_digest, agreed->digests.commit);
  }
}

/// A digit of a text in hexadecimal, so that one bit of the byte is another one.
std::string with_bit_changed(std::string text, std::size_t at) {
  constexpr std::string_view digits = "0123456789abcdef";
  text[at] = digits[digits.find(text[at]) ^ (at % 2 == 0 ? 8 : 1)];
  return text;
}

TEST_F(Proofs, WhateverIsChangedOnTheWayNobodyAgrees) {
  const MoveSourceProof source(here_.key);
  const std::string hello = source.hello();
  for (std::size_t at = 0; at < hello.size(); ++at) {
    const auto target = answer(there_, with_bit_changed(hello, at), subject_);
    if (target) {
      EXPECT_FALSE(prove(here_, source, target->answer(), subject_)) << "hello, " << at;
    }
  }
  const auto target = answer(there_, hello, subject_);
  ASSERT_TRUE(target);
  const std::string reply = target->answer();
  for (std::size_t at = 0; at < reply.size(); ++at)
    EXPECT_FALSE(prove(here_, source, with_bit_changed(reply, at), subject_)) << "answer, " << at;
  const auto proved = prove(here_, source, reply, subject_);
  ASSERT_TRUE(proved);
  for (std::size_t at = 0; at < proved->proof.size(); ++at)
    EXPECT_FALSE(target->accept(with_bit_changed(proved->proof, at))) << "proof, " << at;
  EXPECT_TRUE(target->accept(proved->proof));
  for (const std::string& other : {std::string(), hello, reply, proved->proof + "00", std::string(320, 'A')}) {
    EXPECT_FALSE(target->accept(other));
    if (other != reply) {
      EXPECT_FALSE(prove(here_, source, other, subject_));
    }
    if (other != hello) {
      EXPECT_FALSE(answer(there_, other, subject_));
    }
  }
}

TEST_F(Proofs, BothMustSpeakOfTheSame) {
  const MoveSourceProof source(here_.key);
  MoveSubject other_domain = subject_, other_offer = subject_, other_enclaves = subject_;
  other_domain.uuid.back() = 'e';
  other_offer.offer[31] ^= 1;
  other_enclaves.enclaves = MovedEnclaves::lose;
  const std::tuple<std::string, const MoveSubject*> what[] = {{another_session, &subject_},
                                                              {a_session, &other_domain},
                                                              {a_session, &other_offer},
                                                              {a_session, &other_enclaves}};
  for (const auto& [session, subject] : what) {
    const auto target = answer(there_, source.hello(), *subject, session);
    ASSERT_TRUE(target);
    EXPECT_THAT(prove(here_, source, target->answer(), subject_).error(),
                HasSubstr("its target is not 'there', or something was changed on the way"));
  }
  EXPECT_THAT(prove(here_, source, answer(there_, source.hello(), subject_)->answer(), subject_, "x").error(),
              HasSubstr("'session'"));
}

TEST_F(Proofs, WhatWasSaidOnceIsOfNoUseAgain) {
  const MoveSourceProof first(here_.key), second(here_.key);
  const auto before = answer(there_, first.hello(), subject_);
  ASSERT_TRUE(before);
  const auto proved = prove(here_, first, before->answer(), subject_);
  ASSERT_TRUE(proved);
  // An old answer to a new hello, and an old proof to a new answer, be it to the old hello.
  EXPECT_FALSE(prove(here_, second, before->answer(), subject_));
  const auto anew = answer(there_, first.hello(), subject_);
  ASSERT_TRUE(anew);
  EXPECT_FALSE(anew->accept(proved->proof));
  const auto target = answer(there_, second.hello(), subject_);
  ASSERT_TRUE(target);
  EXPECT_FALSE(target->accept(proved->proof));
  EXPECT_TRUE(before->accept(proved->proof));
}

TEST_F(Proofs, NobodyIsToldThatItIsItsOwnPeer) {
  const MoveSourceProof source(here_.key);
  EXPECT_THAT(answer(here_, source.hello(), subject_).error(), HasSubstr("this machine's own key"));
  // Not even if it lists itself.
  Host vain = here_;
  vain.peers.push_back({.name = "self", .key = vain.key.public_key(), .owner = {}});
  EXPECT_THAT(answer(vain, source.hello(), subject_).error(), HasSubstr("this machine's own key"));
  // Its own answer, as a target, is none to what it says as a source: not with its key in it, nor with another one's.
  const MoveSourceProof other(there_.key);
  const auto own = answer(here_, other.hello(), subject_);
  ASSERT_TRUE(own);
  EXPECT_THAT(prove(vain, source, own->answer(), subject_).error(), HasSubstr("this machine's own key"));
  EXPECT_FALSE(prove(here_, source, in_hex(there_.key.public_key().bytes) + own->answer().substr(64), subject_));
  EXPECT_FALSE(own->accept(own->answer()));
}

TEST_F(Proofs, AMachineThatIsNotListedLearnsNothing) {
  const Host stranger{.name = "stranger", .key = {{9}}, .wrap = {{9}}, .peers = here_.peers};
  const MoveSourceProof strange(stranger.key);
  const std::string key = to_text(stranger.key.public_key());
  EXPECT_THAT(answer(there_, strange.hello(), subject_).error(),
              testing::AllOf(HasSubstr("'peers'"), HasSubstr(key), HasSubstr("its source"), HasSubstr("host --key")));
  EXPECT_EQ(peer_of_hello(strange.hello(), there_.key, there_.peers).error(),
            answer(there_, strange.hello(), subject_).error());
  // It says that it is one that is listed: then it cannot sign.
  const std::string lie =
      strange.hello().substr(0, 2) + in_hex(here_.key.public_key().bytes) + strange.hello().substr(66);
  const auto lied_to = answer(there_, lie, subject_);
  ASSERT_TRUE(lied_to);
  EXPECT_FALSE(prove(stranger, strange, lied_to->answer(), subject_)) << "the target signed whom it answered";
  const MoveSourceProof source(here_.key);
  Host lists_here = stranger;
  lists_here.peers = {{.name = "here", .key = here_.key.public_key(), .owner = {}}};
  const auto strangers = answer(lists_here, source.hello(), subject_);
  ASSERT_TRUE(strangers);
  EXPECT_THAT(prove(here_, source, strangers->answer(), subject_).error(),
              testing::AllOf(HasSubstr("'peers'"), HasSubstr(key), HasSubstr("its target")));
  EXPECT_THAT(
      prove(here_, source, in_hex(there_.key.public_key().bytes) + strangers->answer().substr(64), subject_).error(),
      HasSubstr("its target is not 'there'"));
  // One that lists nobody.
  Host alone = there_;
  alone.peers.clear();
  EXPECT_THAT(answer(alone, source.hello(), subject_).error(), HasSubstr(to_text(here_.key.public_key())));
}

TEST_F(Proofs, NobodySignsForAnotherOneThatIsListed) {
  const MoveSourceProof source(here_.key);
  // The third one answers as itself, and then as the one that was meant.
  const auto target = answer(third_, source.hello(), subject_);
  ASSERT_TRUE(target);
  const auto proved = prove(here_, source, target->answer(), subject_);
  ASSERT_TRUE(proved);
  EXPECT_EQ(proved->agreed.peer, "third");
  const std::string lie = in_hex(there_.key.public_key().bytes) + target->answer().substr(64);
  EXPECT_FALSE(prove(here_, source, lie, subject_));
  // What a source proves to one target it proves to no other.
  const auto meant = answer(there_, source.hello(), subject_);
  ASSERT_TRUE(meant);
  EXPECT_FALSE(meant->accept(proved->proof));
  // The third one's proof, of a move of its own, for the first one's.
  const MoveSourceProof thirds(third_.key);
  const auto to_third = prove(third_, thirds, answer(there_, thirds.hello(), subject_)->answer(), subject_);
  ASSERT_TRUE(to_third);
  EXPECT_FALSE(meant->accept(to_third->proof));
}

TEST_F(Proofs, ASharedSecretIsNeverOneThatEverybodyKnows) {
  // The points of small order on Curve25519 and its twist, with the forms that are not reduced (RFC 7748, 6.1).
  const char* points[] = {"0000000000000000000000000000000000000000000000000000000000000000",
                          "0100000000000000000000000000000000000000000000000000000000000000",
                          "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                          "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                          "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                          "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                          "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                          "0000000000000000000000000000000000000000000000000000000000000080"};
  const MoveShare share;
  const std::string hello = MoveSourceProof(here_.key).hello();
  for (const char* const text : points) {
    arch::Bytes32 point{};
    ASSERT_TRUE(from_hex(text, point));
    EXPECT_EQ(share.shared_with(point), std::nullopt) << text;
    EXPECT_THAT(answer(there_, hello.substr(0, 66) + text, subject_).error(), HasSubstr("no secret")) << text;
  }
  const MoveShare other;
  EXPECT_EQ(share.shared_with(other.share()), other.shared_with(share.share()));
  EXPECT_NE(share.shared_with(other.share()), std::nullopt);
}

TEST_F(Proofs, AnotherVersionIsToldFromAWrongText) {
  std::string hello = MoveSourceProof(here_.key).hello();
  hello.replace(0, 2, "02");
  EXPECT_THAT(answer(there_, hello, subject_).error(), HasSubstr("found a proof of version 2, expected 1"));
  EXPECT_THAT(answer(there_, "x", subject_).error(), HasSubstr("expected 130 hexadecimal digits"));
}

TEST(MoveWords, AreOneDaemonsOfOneMove) {
  const WrapSecret one{{1}}, other{{2}};
  std::set<std::string> words;
  for (const WrapSecret& wrap : {one, other}) {
    for (const MoveWord word : {MoveWord::held, MoveWord::done, MoveWord::commit, MoveWord::abort}) {
      for (const std::string& session : {a_session, another_session}) {
        for (const std::string& uuid : {a_domain, std::string("01234567-89ab-4cde-8f01-23456789abce")}) {
          const vmx::MoveToken token = move_token(wrap, word, session, uuid);
          EXPECT_TRUE(words.insert(text_of_token(token)).second);
          EXPECT_EQ(move_token(wrap, word, session, uuid), token) << "a daemon that comes later says the same";
        }
      }
    }
  }
  // A copy of a state folder that has got another machine key is another machine.
  const WrapSecret here = secret_of_moves(one, MachineKey{{1}}), copy = secret_of_moves(one, MachineKey{{2}});
  EXPECT_NE(move_token(here, MoveWord::abort, a_session, a_domain),
            move_token(copy, MoveWord::abort, a_session, a_domain));
  EXPECT_FALSE(is_session_of(copy, new_session(here)));
  const MoveDigests sources = source_digests(one, a_session, a_domain);
  const std::string held = text_of_token(move_token(one, MoveWord::held, a_session, a_domain));
  EXPECT_TRUE(is_word(held, sources.held));
  EXPECT_FALSE(is_word(held, sources.done));
  EXPECT_FALSE(is_word(held, source_digests(one, another_session, a_domain).held));
  EXPECT_FALSE(is_word("", sources.held));
  EXPECT_FALSE(is_word(in_hex(sources.held), sources.held)) << "the digest is not the word";
  EXPECT_FALSE(is_word(std::string(64, '0'), sources.commit)) << "nor are zeros the word that has none";
}

TEST(MoveWords, TheirDigestsAreReadAsTheyAreWritten) {
  const MoveDigests digests{.held = {1}, .done = {2}, .commit = {3}, .abort = {4}};
  EXPECT_EQ(read_digests(to_json(digests)), digests);
  auto object = to_json(digests);
  object["abort"] = "00";
  EXPECT_THAT(read_digests(object).error(), HasSubstr("'abort': expected 64 hexadecimal digits"));
  object.erase("abort");
  EXPECT_THAT(read_digests(object).error(), HasSubstr("'abort'"));
}

}  // namespace
}  // namespace cloister::tests
