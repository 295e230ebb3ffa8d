// TLS between machines (transfer/pinned_tls.hpp): only those that list each other come to say anything.
#include "transfer/pinned_tls.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>

#include <future>

#include "daemon/transfer_credentials.hpp"
#include "daemon/transfers.hpp"
#include "host/files.hpp"
#include "text/json_text.hpp"
#include "transfer/addresses.hpp"

namespace cloister::tests {
namespace {

using namespace toolstack;
using testing::HasSubstr;
using namespace std::chrono_literals;

/// As who carries domains does: one end goes while the other one writes.
class PinnedTlsTest : public testing::Test {
 protected:
  PinnedTlsTest() { ::signal(SIGPIPE, SIG_IGN); }
};

const MachineKey here{{1}}, there{{2}}, third{{3}};

MovePeer peer(const char* name, const MachineKey& key) { return {.name = name, .key = key.public_key(), .owner = {}}; }

TransferOrder order_of(const MachineKey& key, const std::vector<MovePeer>& peers) {
  return *read_transfer_order(json_text(transfer_order(key, peers)));
}

struct Sockets {
  Fd one, other;
};
Sockets sockets(int flags = SOCK_NONBLOCK) {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, ends), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

/// What each end finds the other one to be, and then the source's first word.
struct Found {
  std::string source, target, word;
};
Found meet(const TransferOrder& source, const TransferOrder& target) {
  auto [one, other] = sockets();
  auto from = PinnedTls::create(source, TlsSide::source, std::move(one));
  Found found;
  auto served = std::async(std::launch::async, [&, socket = std::move(other)]() mutable -> std::string {
    auto to = PinnedTls::create(target, TlsSide::target, std::move(socket));
    const auto who = to->shake_hands(10s);
    if (!who) return who.error();
    auto [plain, mine] = sockets();
    const std::string hello = "hello";
    EXPECT_TRUE(write_all(mine.get(), {reinterpret_cast<const u8*>(hello.data()), hello.size()}));
    mine = Fd();
    to->relay(plain.get());
    return who->name;
  });
  const auto who = from->shake_hands(10s);
  found.target = who ? who->name : who.error();
  if (who) {
    const auto word = from->await_word(10s);
    found.word = word ? "" : word.error();
    if (word) {
      auto [plain, mine] = sockets();
      ::shutdown(mine.get(), SHUT_WR);
      from->relay(plain.get());
      plain = Fd();
      std::array<u8, 6> bytes{};
      const auto size = read_some(mine.get(), bytes);
      found.word = size ? std::string(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(*size)) : size.error();
    }
  } else {
    from = tl::unexpected(std::string());  // closes it
  }
  found.source = served.get();
  return found;
}

TEST_F(PinnedTlsTest, ThoseThatListEachOtherSpeak) {
  const Found found =
      meet(order_of(here, {peer("third", third), peer("there", there)}), order_of(there, {peer("here", here)}));
  EXPECT_EQ(found.target, "there");
  EXPECT_EQ(found.source, "here");
  EXPECT_EQ(found.word, "hello");
}

TEST_F(PinnedTlsTest, WhoIsNotListedIsSentNothing) {
  const std::string source_key = to_text(here.public_key()), target_key = to_text(there.public_key());
  // The target is not: it is not even told who asks.
  Found found = meet(order_of(here, {peer("third", third)}), order_of(there, {peer("here", here)}));
  EXPECT_THAT(found.target, testing::AllOf(HasSubstr("'peers'"), HasSubstr(target_key)));
  EXPECT_NE(found.source, "here");
  // The source is not.
  found = meet(order_of(here, {peer("there", there)}), order_of(there, {peer("third", third)}));
  EXPECT_THAT(found.source, testing::AllOf(HasSubstr("'peers'"), HasSubstr(source_key)));
  EXPECT_NE(found.word, "hello");
}

TEST_F(PinnedTlsTest, OneThatIsListedMustHaveCertifiedTheKey) {
  TransferOrder good = order_of(there, {peer("here", here)}), bad = order_of(third, {peer("here", here)});
  const std::string end = "-----END CERTIFICATE-----\n";
  const auto second_of = [&](const std::string& text) { return text.substr(text.find(end) + end.size()); };
  const auto first_of = [&](const std::string& text) { return text.substr(0, text.find(end) + end.size()); };
  // Its own key, and the certificate that everybody has seen of another machine.
  TransferOrder lie = bad;
  lie.certificates = first_of(bad.certificates) + second_of(good.certificates);
  Found found = meet(order_of(here, {peer("there", there)}), lie);
  EXPECT_THAT(found.target, HasSubstr("not certified by that of 'there'"));
  found = meet(lie, order_of(here, {peer("there", there)}));
  EXPECT_THAT(found.source, HasSubstr("not certified by that of 'there'"));
  // The certificate that another one was seen with, without its key.
  lie.certificates = good.certificates;
  EXPECT_FALSE(PinnedTls::create(lie, TlsSide::target, sockets().one));
  // Machines' keys certify others, and are no such key themselves: one certificate is not enough.
  lie = good;
  lie.certificates = second_of(good.certificates) + second_of(good.certificates);
  EXPECT_FALSE(PinnedTls::create(lie, TlsSide::target, sockets().one));
}

TEST_F(PinnedTlsTest, ACertificateIsOfAnHourOrTwo) {
  for (const long ahead : {-7200L, 7200L}) {
    TransferOrder order = order_of(there, {peer("here", here)});
    const TransferCredentials other = make_transfer_credentials(there, ahead);
    order.certificates = other.certificates;
    order.key = other.key;
    EXPECT_THAT(meet(order_of(here, {peer("there", there)}), order).target, HasSubstr("clocks"));
  }
  TransferOrder order = order_of(there, {peer("here", here)});
  const TransferCredentials other = make_transfer_credentials(there, 3000);
  order.certificates = other.certificates;
  order.key = other.key;
  EXPECT_EQ(meet(order_of(here, {peer("there", there)}), order).target, "there");
}

TEST_F(PinnedTlsTest, NothingButTls13IsSpoken) {
  const TransferOrder order = order_of(there, {peer("here", here)});
  // No TLS at all.
  {
    auto [one, other] = sockets();
    auto to = PinnedTls::create(order, TlsSide::target, std::move(other));
    const std::string text = "GET / HTTP/1.1\r\n\r\n";
    ASSERT_TRUE(write_all(one.get(), {reinterpret_cast<const u8*>(text.data()), text.size()}));
    EXPECT_FALSE(to->shake_hands(10s));
  }
  // Who says nothing.
  {
    auto [one, other] = sockets();
    auto to = PinnedTls::create(order, TlsSide::target, std::move(other));
    EXPECT_THAT(to->shake_hands(50ms).error(), HasSubstr("in time"));
  }
  // Who goes.
  {
    auto [one, other] = sockets();
    one = Fd();
    EXPECT_FALSE(PinnedTls::create(order, TlsSide::target, std::move(other))->shake_hands(10s));
  }
  // TLS 1.2.
  auto [one, other] = sockets(0);
  ::fcntl(other.get(), F_SETFL, O_NONBLOCK);
  auto to = PinnedTls::create(order, TlsSide::target, std::move(other));
  auto served = std::async(std::launch::async, [&] { return to->shake_hands(10s); });
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
  SSL* const ssl = SSL_new(context);
  SSL_set_fd(ssl, one.get());
  EXPECT_NE(SSL_connect(ssl), 1);
  EXPECT_THAT(served.get().error(), HasSubstr("unsupported protocol"));
  // Without a certificate.
  auto [two, another] = sockets(0);
  ::fcntl(another.get(), F_SETFL, O_NONBLOCK);
  auto asks = PinnedTls::create(order, TlsSide::target, std::move(another));
  auto asked = std::async(std::launch::async, [&] { return asks->shake_hands(10s); });
  SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION);
  SSL* const bare = SSL_new(context);
  SSL_set_fd(bare, two.get());
  SSL_connect(bare);
  EXPECT_FALSE(asked.get());
  SSL_free(ssl);
  SSL_free(bare);
  SSL_CTX_free(context);
}

TEST_F(PinnedTlsTest, BothWaysAreCarriedWhole) {
  auto [one, other] = sockets();
  auto from = PinnedTls::create(order_of(here, {peer("there", there)}), TlsSide::source, std::move(one));
  auto to = PinnedTls::create(order_of(there, {peer("here", here)}), TlsSide::target, std::move(other));
  auto [near, near_plain] = sockets(0);
  auto [far, far_plain] = sockets(0);
  auto carries = std::async(std::launch::async, [&, plain = std::move(near_plain)] {
    EXPECT_TRUE(from->shake_hands(10s));
    from->relay(plain.get());
  });
  auto carries_there = std::async(std::launch::async, [&, plain = std::move(far_plain)] {
    EXPECT_TRUE(to->shake_hands(10s));
    to->relay(plain.get());
  });
  std::vector<u8> bytes(3 << 20);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<u8>(i * 31 >> 3);
  const auto reads = [&](int socket) {
    std::vector<u8> found(bytes.size());
    return read_all(socket, found) && found == bytes;
  };
  for (const auto& [writes, reader] : {std::pair{near.get(), far.get()}, std::pair{far.get(), near.get()}}) {
    auto written = std::async(std::launch::async, [&, socket = writes] { return write_all(socket, bytes); });
    EXPECT_TRUE(reads(reader));
    EXPECT_TRUE(written.get());
  }
  near = Fd();
  std::array<u8, 1> rest{};
  EXPECT_FALSE(read_all(far.get(), rest)) << "it has heard that the other end has gone";
  far = Fd();
  carries.get();
  carries_there.get();
}

TEST(HostPorts, AreReadWhole) {
  EXPECT_EQ(read_host_port("host:1")->host, "host");
  EXPECT_EQ(read_host_port("[::1]:7420")->host, "::1");
  EXPECT_EQ(read_host_port("[::1]:7420")->port, "7420");
  for (const char* wrong :
       {"", "host", ":1", "host:", "host:x", "host:65536", "host:-1", "a:b:1", "[::1]", "a/b:1", "a b:1"})
    EXPECT_THAT(read_host_port(wrong).error(), HasSubstr("expected HOST:PORT")) << wrong;
}

}  // namespace
}  // namespace cloister::tests
