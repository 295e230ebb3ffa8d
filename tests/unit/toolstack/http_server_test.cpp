// The server against clients that are silent, slow, greedy, or many.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <filesystem>
#include <future>
#include <latch>
#include <map>

#include "http/server.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::chrono::milliseconds for_ever = 1h;
const std::string get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

class Server : public testing::Test {
 protected:
  void start(const HttpLimits& limits) {
    const Fd folder(::open(folder_.path("").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    auto listening = listen_at(folder.get(), "s", SOCK_STREAM, 0600, folder_.path(""));
    ASSERT_TRUE(listening) << listening.error();
    server_.emplace(std::move(*listening),
                    HttpServer::Handlers{.handle = [this](const auto& request) { return handle_(request); },
                                         .reject =
                                             [](int status, const Peer&, const std::string& why) {
                                               return HttpServer::Response{
                                                   .status = status, .type = "text/plain", .body = why + "no\n"};
                                             }},
                    limits);
  }
  Fd connect() {
    Fd socket = connect_to(folder_.path("s"), SOCK_STREAM);
    EXPECT_TRUE(socket);
    return socket;
  }
  static bool send(const Fd& to, std::string_view text) {
    return ::send(to.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  /// Up to the end of the connection.
  static std::string receive(const Fd& from) {
    std::string all;
    char piece[65536];
    for (ssize_t got = 0; (got = ::recv(from.get(), piece, sizeof piece, 0)) > 0;)
      all.append(piece, static_cast<std::size_t>(got));
    return all;
  }
  std::string ask(std::string_view text) {
    const Fd socket = connect();
    send(socket, text);
    return receive(socket);
  }

  cloister::tests::Folder folder_;
  std::function<HttpServer::Response(const HttpServer::Request&)> handle_ = [](const HttpServer::Request& r) {
    return HttpServer::Response{.type = "text/plain",
                                .body = r.method + " " + r.path + " " + std::to_string(r.body.size()) + "\n"};
  };
  std::optional<HttpServer> server_;
};

TEST_F(Server, AnswersOneRequestAConnection) {
  start({});
  EXPECT_THAT(ask(get), testing::AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), EndsWith("\r\n\r\nGET /a 0\n")));
  EXPECT_THAT(ask("POST /b?x=1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), EndsWith("POST /b 3\n"));
  EXPECT_THAT(ask("PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
              EndsWith("PUT /b 3\n"));
  EXPECT_THAT(ask("OPTIONS / HTTP/1.1\r\n\r\n"), EndsWith("OPTIONS / 0\n"));
  EXPECT_THAT(ask("HEAD / HTTP/1.1\r\n\r\n"), EndsWith("\r\n\r\n"));
  EXPECT_THAT(ask("nonsense\r\n\r\n"), testing::AllOf(StartsWith("HTTP/1.1 400 "), EndsWith("no\n")));
  EXPECT_THAT(ask("GET /" + std::string(600, 'x') + " HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 414 "));
  EXPECT_THAT(ask("POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
              StartsWith("HTTP/1.1 415 "));
}

// Each of these would make the whole into a part, or many.
TEST_F(Server, KnowsNoRanges) {
  handle_ = [](const auto&) { return HttpServer::Response{.type = "text/plain", .body = std::string(8192, 'x')}; };
  start({});
  std::string many = "Range: bytes=0-";
  for (int i = 0; i < 1500; ++i) many += ",0-";
  for (const std::string& field :
       {std::string("Range: bytes=0-0"), std::string("Range: bytes=9-1,x"), std::string("Range: pages=1-2"),
        std::string("Range: bytes=0-1,2-3\r\nIf-Range: \"x\""), many}) {
    const std::string answer = ask("GET / HTTP/1.1\r\n" + field + "\r\n\r\n");
    EXPECT_THAT(answer, testing::AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("Content-Length: 8192\r\n")))
        << field;
    EXPECT_LT(answer.size(), 8192u + 512) << field;
  }
  EXPECT_THAT(ask("HEAD / HTTP/1.1\r\n\r\n"),
              testing::AllOf(HasSubstr("Content-Length: 8192\r\n"), testing::Not(HasSubstr("Accept-Ranges"))));
}

// RFC 9110, 13.1: the handler sees what a change is made for.
TEST_F(Server, HandsPreconditionsOn) {
  std::optional<EntityTags> match, none_match;
  handle_ = [&](const HttpServer::Request& request) {
    match = request.conditions.match;
    none_match = request.conditions.none_match;
    return HttpServer::Response{.status = 201, .type = "text/plain", .body = "", .fields = {{"ETag", "\"b\""}}};
  };
  start({});
  const std::string put = "PUT /a HTTP/1.1\r\nContent-Length: 0\r\n";
  EXPECT_THAT(ask(put + "If-Match: \"a%41+\"\r\nIf-None-Match: *\r\nif-match: W/\"b,c\" , \"d\"\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 201 "), HasSubstr("\r\nETag: \"b\"\r\n")));
  EXPECT_EQ(match, (EntityTags{.tags = {{"\"a%41+\""}, {"\"b,c\"", true}, {"\"d\""}}}));
  EXPECT_EQ(none_match, EntityTags{.any = true});
  EXPECT_THAT(ask(put + "\r\n"), StartsWith("HTTP/1.1 201 "));
  EXPECT_EQ(match, std::nullopt);
  EXPECT_EQ(none_match, std::nullopt);
  for (const auto& [wrong, found] : std::map<std::string, std::string>{
           {"If-Match: a", "If-Match: found 'a'"},
           {"If-Match:", "If-Match: found nothing"},
           {"if-none-match: ,", "If-None-Match: found nothing"},
           {"If-None-Match: \"a", "If-None-Match: found '\"a'"},
           {"If-Match: \"a\"\r\nIf-Match: *", "If-Match: found '*'"},
           {"If-None-Match: *, *", "If-None-Match: found '*, *'"},
           {"If-Match: " + std::string(7900, 'a'), "If-Match: found '" + std::string(80, 'a') + "…'"}})
    EXPECT_THAT(ask(put + wrong + "\r\n\r\n"),
                AllOf(StartsWith("HTTP/1.1 400 "), HasSubstr("\r\n\r\nthe request's " + found + ", expected * alone")))
        << wrong;
  for (const char c : {'a', '%'})
    EXPECT_THAT(ask(put + "If-Match: \"" + std::string(8000, c) + "\"\r\n\r\n"), StartsWith("HTTP/1.1 431 ")) << c;
}

TEST_F(Server, JudgesWhatIsRead) {
  handle_ = [](const HttpServer::Request& request) {
    HttpServer::Response response{.type = "text/plain", .body = "text\n"};
    if (request.path == "/tagged") response.fields.emplace_back("ETag", "\"t\"");
    return response;
  };
  start({});
  const auto get_with = [&](const std::string& field) { return ask("GET /tagged HTTP/1.1\r\n" + field + "\r\n\r\n"); };
  EXPECT_THAT(get_with("If-None-Match: \"other\""), AllOf(StartsWith("HTTP/1.1 200 "), EndsWith("text\n")));
  EXPECT_THAT(get_with("If-None-Match: \"other\", W/\"t\""),
              AllOf(StartsWith("HTTP/1.1 304 "), HasSubstr("ETag: \"t\"\r\n"), EndsWith("\r\n\r\n"),
                    Not(HasSubstr("Content-"))));
  EXPECT_THAT(get_with("If-Match: \"other\""), AllOf(StartsWith("HTTP/1.1 412 "), EndsWith("no\n")));
  EXPECT_THAT(ask("GET /other HTTP/1.1\r\nIf-None-Match: *\r\n\r\n"), EndsWith("text\n"));
}

TEST_F(Server, SendsUtf8Alone) {
  handle_ = [](const auto&) { return HttpServer::Response{.type = "text/plain; charset=utf-8", .body = "a\xff z"}; };
  start({});
  EXPECT_THAT(ask(get), EndsWith("\r\n\r\na\xef\xbf\xbd z"));
}

// The silent, a request without end and one that comes in drops: none of them keeps this same user out.
TEST_F(Server, SilentClientsKeepNobodyOut) {
  start({.transfer = for_ever, .farewell = for_ever, .of_a_user = 8});
  std::vector<Fd> others;
  for (int i = 0; i < 100; ++i) {
    others.push_back(connect());
    if (i % 3 == 1) send(others.back(), "GET / HTT");
    if (i % 3 == 2) send(others.back(), "POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n{");
  }
  EXPECT_THAT(ask(get), StartsWith("HTTP/1.1 200 OK\r\n"));
  // The oldest made room; the youngest are still there.
  EXPECT_EQ(receive(others.front()), "");
  EXPECT_TRUE(send(others.back(), "GET / HTTP/1.1\r\n\r\n"));
}

TEST_F(Server, WhoeverIsTooSlowIsToldSo) {
  start({.transfer = 50ms});
  for (const char* begin : {"", "GET / HTT", "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n{"}) {
    const Fd socket = connect();
    send(socket, begin);
    EXPECT_THAT(receive(socket), StartsWith("HTTP/1.1 408 ")) << begin;
  }
  // Bytes now and then win no time.
  const Fd slow = connect();
  while (send(slow, "x")) std::this_thread::sleep_for(5ms);
  EXPECT_THAT(receive(slow), StartsWith("HTTP/1.1 408 "));
}

TEST_F(Server, ARequestThatIsAnsweredHasAllTheTimeItNeeds) {
  handle_ = [](const auto&) {
    std::this_thread::sleep_for(300ms);
    return HttpServer::Response{.type = "text/plain", .body = "done\n"};
  };
  start({.transfer = 100ms});
  EXPECT_THAT(ask(get), EndsWith("done\n"));
}

TEST_F(Server, WhoeverDoesNotReadIsLeft) {
  handle_ = [](const auto&) { return HttpServer::Response{.type = "text/plain", .body = std::string(8 << 20, 'x')}; };
  start({.transfer = 50ms});
  const Fd socket = connect();
  ASSERT_TRUE(send(socket, get));
  // The end comes without a byte being read.
  pollfd end{socket.get(), 0, 0};
  EXPECT_EQ(::poll(&end, 1, 30'000), 1);
  EXPECT_NE(end.revents & POLLHUP, 0);
  EXPECT_LT(receive(socket).size(), 8u << 20);
}

// A refusal before the end of a body that is sent whole all the same is seen.
TEST_F(Server, ARefusalIsSeenByWhoSendsOn) {
  start({});
  const Fd socket = connect();
  const std::string body(4 << 20, 'x');
  std::string all = "POST / HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n" + body;
  EXPECT_TRUE(send(socket, all));
  EXPECT_THAT(receive(socket), StartsWith("HTTP/1.1 413 "));
}

TEST_F(Server, SaysThatABodyMayCome) {
  start({});
  const Fd socket = connect();
  ASSERT_TRUE(send(socket, "POST /e HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
  char text[64];
  const ssize_t got = ::recv(socket.get(), text, sizeof text, 0);
  EXPECT_EQ(std::string(text, static_cast<std::size_t>(std::max<ssize_t>(got, 0))), "HTTP/1.1 100 Continue\r\n\r\n");
  ASSERT_TRUE(send(socket, "abc"));
  EXPECT_THAT(receive(socket), EndsWith("POST /e 3\n"));
}

TEST_F(Server, EndsWhateverClientsDo) {
  std::latch begun(1);
  std::promise<void> go_on;
  handle_ = [&, wait = go_on.get_future().share()](const HttpServer::Request& r) {
    if (r.path == "/slow") {
      begun.count_down();
      wait.wait();
    }
    return HttpServer::Response{.type = "text/plain", .body = std::string(r.path == "/big" ? 8 << 20 : 5, 'x')};
  };
  start({.transfer = for_ever, .farewell = for_ever});
  std::vector<Fd> others;
  for (const char* text : {"", "GET / HTT", "POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n{",
                           "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "GET /big HTTP/1.1\r\n\r\n",
                           "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"}) {
    others.push_back(connect());
    send(others.back(), text);
  }
  const Fd slow = connect();
  send(slow, "GET /slow HTTP/1.1\r\n\r\n");
  begun.wait();
  auto ended = std::async(std::launch::async, [&] { server_.reset(); });
  // What is being answered is waited for, and gets its answer.
  EXPECT_EQ(ended.wait_for(50ms), std::future_status::timeout);
  go_on.set_value();
  EXPECT_THAT(receive(slow), EndsWith("xxxxx"));
  EXPECT_EQ(ended.wait_for(30s), std::future_status::ready);
}

// One user's long work leaves threads for others, and nobody's leaves none for root.
TEST(WorkersTest, KeepThreadsForOthers) {
  const unsigned me = ::geteuid(), someone = 54321, other = 54322, third = 54323;
  std::promise<void> go_on;
  const auto wait = go_on.get_future().share();
  std::latch all(5);
  Workers workers({.threads = 6, .of_a_user = 2, .privileged = 2});
  const auto block = [&] {
    all.count_down();
    wait.wait();
  };
  std::atomic<int> too_many = 0;
  for (int i = 0; i < 2; ++i) workers.add(someone, block);
  for (int i = 0; i < 50; ++i) workers.add(someone, [&] { ++too_many; });
  for (int i = 0; i < 2; ++i) workers.add(other, block);
  for (int i = 0; i < 50; ++i) workers.add(third, [&] { ++too_many; });
  workers.add(me, block);
  // All five run at once, past a hundred jobs that came before the last.
  all.wait();
  EXPECT_EQ(too_many, 0);
  std::promise<void> done;
  workers.add(me, [&] { done.set_value(); });
  done.get_future().wait();
  EXPECT_EQ(too_many, 0);
  go_on.set_value();
}

}  // namespace
}  // namespace cloister::toolstack
