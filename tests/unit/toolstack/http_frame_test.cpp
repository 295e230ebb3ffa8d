// Where requests end, in pieces of every size, and which are refused before anything else looks at them.
#include <gtest/gtest.h>

#include <random>

#include "http/frame.hpp"

namespace cloister::toolstack {
namespace {

using State = HttpFrame::State;

struct Result {
  State state;
  int status;
  std::string request;
};

Result read_in_pieces(const std::string& text, std::size_t size) {
  HttpFrame frame;
  for (std::size_t at = 0; at < text.size(); at += size) frame.feed(std::string_view(text).substr(at, size));
  const State state = frame.state();
  return {state, frame.status(), state == State::whole ? frame.take() : std::string()};
}

struct Case {
  const char* name;
  std::string text;
  State state;
  int status;
  std::string request;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::string post(const std::string& fields, const std::string& body) {
  return "POST /x HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" + body;
}
std::string passed(const std::string& body) {
  return post("Content-Length: " + std::to_string(body.size()) + "\r\n", body);
}
constexpr const char* cookies = "Cookie: a=b\r\ncookie: c=d; e=f\r\n";
constexpr const char* chunked = "Transfer-Encoding: chunked\r\n";

Case whole(const char* name, std::string text, std::string request) {
  return {name, std::move(text), State::whole, 0, std::move(request)};
}
Case refused(const char* name, int status, std::string text) {
  return {name, std::move(text), State::refused, status, ""};
}
Case incomplete(const char* name, std::string text) { return {name, std::move(text), State::incomplete, 0, ""}; }

class Frame : public testing::TestWithParam<Case> {};

TEST_P(Frame, IsTheSameInPiecesOfAnySize) {
  const Case& c = GetParam();
  for (const std::size_t size :
       {c.text.size() + 1, std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{4096}}) {
    const Result result = read_in_pieces(c.text, size);
    EXPECT_EQ(result.state, c.state) << size;
    EXPECT_EQ(result.status, c.status) << size;
    EXPECT_EQ(result.request, c.request) << size;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Requests, Frame,
    testing::Values(whole("no_body", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"),
                    whole("no_http", "nonsense\r\n\r\n", "nonsense\r\n\r\n"),
                    whole("body", passed("abc"), passed("abc")),
                    whole("what_follows_is_ignored", passed("abc") + "GET / HTTP/1.1\r\n\r\n", passed("abc")),
                    whole("empty_body", passed(""), passed("")),
                    whole("only_known_fields",
                          post("Range: bytes=0-1,2-3\r\nIf-Range: x\r\nAccept-Encoding: gzip\r\nX: \xe9\r\n", ""),
                          post("", "")),
                    whole("encoded", post("CONTENT-encoding: gzip\r\n", ""), post("CONTENT-encoding: gzip\r\n", "")),
                    whole("conditions", post("IF-match: \"a\"\r\nIf-None-Match: *\r\nIf-Modified-Since: x\r\n", ""),
                          post("IF-match: \"a\"\r\nIf-None-Match: *\r\n", "")),
                    whole("cookies", post(cookies, ""), post(cookies, "")),
                    whole("chunks", post(chunked, "3\r\nabc\r\n00A;x=y\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"),
                          passed("abc0123456789")),
                    whole("longest", passed(std::string(HttpFrame::longest_body, 'x')),
                          passed(std::string(HttpFrame::longest_body, 'x'))),
                    incomplete("half_a_head", "GET / HTTP/1.1\r\nHost: x\r\n"), incomplete("nothing", ""),
                    incomplete("half_a_body", post("Content-Length: 4\r\n", "abc")),
                    incomplete("half_a_chunk", post(chunked, "5\r\nabc")),
                    incomplete("no_last_chunk", post(chunked, "3\r\nabc\r\n")),
                    incomplete("no_end_of_trailer", post(chunked, "0\r\nX: y\r\n"))),
    [](const auto& tested) { return std::string(tested.param.name); });

INSTANTIATE_TEST_SUITE_P(
    Nonsense, Frame,
    testing::Values(
        refused("too_long", 413, post("Content-Length: " + std::to_string(HttpFrame::longest_body + 1) + "\r\n", "")),
        refused("two_to_63", 413, post("Content-Length: 9223372036854775808\r\n", "")),
        refused("two_to_64_and_3", 413, post("Content-Length: 18446744073709551619\r\n", "abc")),
        refused("ten_to_30", 413, post("Content-Length: 1" + std::string(30, '0') + "\r\n", "")),
        refused("negative", 400, post("Content-Length: -1\r\n", "{}")),
        refused("plus", 400, post("Content-Length: +1\r\n", "{}")),
        refused("hexadecimal", 400, post("Content-Length: 0x1\r\n", "{}")),
        refused("no_length", 400, post("Content-Length:\r\n", "{}")),
        refused("two_lengths", 400, post("Content-Length: 1\r\nContent-Length: 2\r\n", "{}")),
        refused("list_of_lengths", 400, post("Content-Length: 1, 1\r\n", "{}")),
        refused("length_and_chunks", 400, post(std::string("Content-Length: 3\r\n") + chunked, "0\r\n\r\n")),
        refused("gzip_chunks", 400, post("Transfer-Encoding: gzip, chunked\r\n", "")),
        refused("chunk_without_size", 400, post(chunked, "\r\n")),
        refused("chunk_of_no_number", 400, post(chunked, "zz\r\n")),
        refused("negative_chunk", 400, post(chunked, "-1\r\n")),
        refused("chunk_of_2_to_64", 413, post(chunked, "10000000000000000\r\n")),
        refused("chunk_too_long", 413, post(chunked, "210001\r\n")),
        refused("chunk_without_end", 400, post(chunked, "3\r\nabcd\r\n")),
        refused("long_extension", 400, post(chunked, "3;" + std::string(2000, 'x'))),
        refused("expectation", 417, post("Expect: miracles\r\n", "")),
        refused("folded_line", 400, post(" folded: x\r\n", "")), refused("no_colon", 400, post("Host\r\n", "")),
        refused("space_before_colon", 400, post("Content-Length : 3\r\n", "abc")),
        refused("no_name", 400, post(": x\r\n", "")), refused("control", 400, post(std::string("X: \0\r\n", 6), "")),
        refused("bare_line_end", 400, post("X: a\nContent-Length: 3\r\n", "abc")),
        refused("no_line", 400, "\r\nGET / HTTP/1.1\r\n\r\n"),
        refused("long_head", 431, "GET / HTTP/1.1\r\nX: " + std::string(20000, 'x')),
        refused("long_field", 431, post("If-Match: " + std::string(8000, 'x') + "\r\n", "")),
        refused("long_whole_head", 431, "GET / HTTP/1.1\r\nX: " + std::string(20000, 'x') + "\r\n\r\n")),
    [](const auto& tested) { return std::string(tested.param.name); });

// Without an end, in chunks as short as they can be: refused, and nothing of it is kept.
TEST(Frame, EndlessChunksAreRefused) {
  for (const std::string& chunk : {std::string("1\r\nx\r\n"), "10000\r\n" + std::string(65536, 'x') + "\r\n"}) {
    HttpFrame frame;
    frame.feed(post(chunked, ""));
    std::size_t fed = 0;
    while (frame.state() == State::incomplete && fed < 64u << 20) {
      std::string many;
      while (many.size() < 65536) many += chunk;
      frame.feed(many);
      fed += many.size();
    }
    EXPECT_EQ(frame.state(), State::refused);
    EXPECT_EQ(frame.status(), 413);
  }
}

TEST(Frame, EndlessTrailersAreRefused) {
  HttpFrame frame;
  frame.feed(post(chunked, "0\r\n"));
  for (int i = 0; i < 3000; ++i) frame.feed("X: " + std::string(1000, 'x') + "\r\n");
  EXPECT_EQ(frame.state(), State::refused);
  EXPECT_EQ(frame.status(), 413);
}

TEST(Frame, AnEndInTheMiddleIsRefused) {
  HttpFrame frame;
  frame.feed(post("Content-Length: 100\r\n", "{"));
  EXPECT_EQ(frame.end(), State::refused);
  EXPECT_EQ(frame.status(), 400);
}

TEST(Frame, TellsOnceThatTheClientWaits) {
  HttpFrame frame;
  frame.feed(post("Expect: 100-continue\r\nContent-Length: 3\r\n", ""));
  EXPECT_TRUE(frame.take_expectation());
  EXPECT_FALSE(frame.take_expectation());
  frame.feed("abc");
  EXPECT_EQ(frame.state(), State::whole);
  HttpFrame at_once;
  at_once.feed(post("Expect: 100-continue\r\nContent-Length: 3\r\n", "abc"));
  EXPECT_FALSE(at_once.take_expectation());
}

// Any bytes, in any pieces: the same result as in one, and what passes is a head of known fields and a body as long as
// it says.
TEST(Frame, HoldsForRandomRequests) {
  constexpr const char* parts[] = {"GET / HTTP/1.1",
                                   "\r\n",
                                   "\r\n\r\n",
                                   "Content-Length: ",
                                   "3",
                                   "0",
                                   "Transfer-Encoding: chunked",
                                   "Host: x",
                                   ":",
                                   " ",
                                   ";",
                                   "a",
                                   "\n",
                                   "Expect: 100-continue",
                                   "ffffffff",
                                   "-",
                                   "\xff"};
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string text = "POST /x HTTP/1.1\r\n";
    for (unsigned n = random() % 20; n > 0; --n) text += parts[random() % std::size(parts)];
    const Result one = read_in_pieces(text, text.size()), pieces = read_in_pieces(text, 1 + random() % 5);
    ASSERT_EQ(one.state, pieces.state) << text;
    ASSERT_EQ(one.status, pieces.status) << text;
    ASSERT_EQ(one.request, pieces.request) << text;
    if (one.state != State::whole) continue;
    const std::size_t length = one.request.find("\r\nContent-Length: "), end = one.request.find("\r\n\r\n");
    ASSERT_NE(end, std::string::npos);
    const std::size_t body = one.request.size() - end - 4;
    ASSERT_EQ(length < end ? std::stoul(one.request.substr(length + 18)) : 0, body) << text;
  }
}

}  // namespace
}  // namespace cloister::toolstack
