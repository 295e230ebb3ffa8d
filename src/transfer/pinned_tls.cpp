#include "transfer/pinned_tls.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>

#include "arch/try.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

struct FreeTls {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <class Part>
using TlsPart = std::unique_ptr<Part, FreeTls>;

namespace {

using Clock = std::chrono::steady_clock;

/// Of what is still to be sent when the other end has nothing more to say.
constexpr std::chrono::milliseconds to_end{5'000};
constexpr std::size_t most_at_once = 16 << 10;

std::string tls_error() {
  const unsigned long code = ::ERR_get_error();
  if (code == 0) return "the other end has gone";
  const char* const reason = ::ERR_reason_error_string(code);
  ::ERR_clear_error();
  return reason == nullptr ? "TLS failed" : reason;
}

TlsPart<BIO> text_to_read(const std::string& text) {
  return TlsPart<BIO>(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::optional<PublicKey> key_of(X509* certificate) {
  EVP_PKEY* const key = ::X509_get0_pubkey(certificate);
  PublicKey found;
  std::size_t size = found.bytes.size();
  if (key == nullptr || ::EVP_PKEY_get_id(key) != EVP_PKEY_ED25519 ||
      ::EVP_PKEY_get_raw_public_key(key, found.bytes.data(), &size) != 1 || size != found.bytes.size())
    return std::nullopt;
  return found;
}

bool is_now(X509* certificate) {
  return ::X509_cmp_current_time(::X509_get0_notBefore(certificate)) < 0 &&
         ::X509_cmp_current_time(::X509_get0_notAfter(certificate)) > 0;
}

}  // namespace

struct PinnedTls::State {
  TlsPart<SSL_CTX> context{};
  TlsPart<SSL> ssl{};
  Fd socket{};
  std::vector<TransferPeer> peers{};
  std::optional<TransferPeer> found{};
  std::string refused{};  ///< why the other end is none of them

  /// The two certificates that a machine sends: its own, and that of a key which it has certified.
  bool judge(X509_STORE_CTX* store) {
    STACK_OF(X509)* const chain = ::X509_STORE_CTX_get0_untrusted(store);
    X509* const leaf = ::X509_STORE_CTX_get0_cert(store);
    if (leaf == nullptr || chain == nullptr || sk_X509_num(chain) != 2) {
      refused = "it shows other certificates than a machine of Cloister's";
      return false;
    }
    X509* const machine = sk_X509_value(chain, 1);
    const auto key = key_of(machine);
    const auto listed = key ? std::ranges::find(peers, *key, &TransferPeer::key) : peers.end();
    if (listed == peers.end()) {
      refused = key ? "'peers' in [migration] of machine.toml lacks " + to_text(*key) +
                          ", which is its key (`cloister host --key` prints a machine's)"
                    : "it shows no machine's key";
      return false;
    }
    if (!key_of(leaf) || ::X509_verify(leaf, ::X509_get0_pubkey(machine)) != 1) {
      refused = "its key is not certified by that of '" + listed->name + "'";
      return false;
    }
    if (!is_now(leaf)) {
      refused = "what '" + listed->name + "' has certified is not valid now: do the clocks of both machines agree?";
      return false;
    }
    found = *listed;
    return true;
  }

  static int judge(X509_STORE_CTX* store, void* self) {
    const bool good = static_cast<State*>(self)->judge(store);
    if (!good) ::X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return good ? 1 : 0;
  }

  tl::expected<void, std::string> set_up(const TransferOrder& order, TlsSide side) {
    const auto failed = [](const char* what) { return tl::unexpected(std::string(what) + ": " + tls_error()); };
    char signatures[] = "ed25519", shares[] = "X25519";
    context.reset(::SSL_CTX_new(side == TlsSide::source ? ::TLS_client_method() : ::TLS_server_method()));
    SSL_CTX* const raw = context.get();
    if (raw == nullptr || ::SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION) != 1 ||
        ::SSL_CTX_set_max_proto_version(raw, TLS1_3_VERSION) != 1 ||
        ::SSL_CTX_set1_sigalgs_list(raw, signatures) != 1 || ::SSL_CTX_set1_groups_list(raw, shares) != 1)
      return failed("TLS 1.3");
    // A session that is taken up again would not be judged again.
    ::SSL_CTX_set_num_tickets(raw, 0);
    ::SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
    ::SSL_CTX_set_options(raw, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    ::SSL_CTX_set_mode(raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    ::SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    ::SSL_CTX_set_cert_verify_callback(raw, &State::judge, this);
    const auto bio = text_to_read(order.certificates), key_bio = text_to_read(order.key);
    const TlsPart<X509> leaf(::PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    TlsPart<X509> machine(::PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    const TlsPart<EVP_PKEY> key(::PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
    if (leaf == nullptr || machine == nullptr || key == nullptr || ::SSL_CTX_use_certificate(raw, leaf.get()) != 1 ||
        ::SSL_CTX_add1_chain_cert(raw, machine.get()) != 1 || ::SSL_CTX_use_PrivateKey(raw, key.get()) != 1 ||
        ::SSL_CTX_check_private_key(raw) != 1)
      return failed("this machine's certificates");
    ssl.reset(::SSL_new(raw));
    if (ssl == nullptr || ::SSL_set_fd(ssl.get(), socket.get()) != 1) return failed("TLS");
    if (side == TlsSide::source) {
      ::SSL_set_connect_state(ssl.get());
    } else {
      ::SSL_set_accept_state(ssl.get());
    }
    return {};
  }

  /// Repeats a call until it returns more than 0.
  tl::expected<void, std::string> until_done(std::chrono::milliseconds in, const std::function<int()>& call) {
    const auto late = Clock::now() + in;
    while (true) {
      ::ERR_clear_error();
      const int result = call();
      if (result > 0) return {};
      const short wanted = waits_for(result);
      if (wanted == 0) return tl::unexpected(refused.empty() ? tls_error() : refused);
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(late - Clock::now()).count();
      pollfd wait{.fd = socket.get(), .events = wanted, .revents = 0};
      if (left <= 0 || (::poll(&wait, 1, static_cast<int>(left)) < 0 && errno != EINTR))
        return tl::unexpected(std::string("it does not answer in time"));
    }
  }

  /// What the last call, which did not succeed, waits for; 0: nothing will help it.
  short waits_for(int result) const {
    switch (::SSL_get_error(ssl.get(), result)) {
      case SSL_ERROR_WANT_READ: return POLLIN;
      case SSL_ERROR_WANT_WRITE: return POLLOUT;
      default: return 0;
    }
  }
};

PinnedTls::PinnedTls(std::unique_ptr<State> state) : state_(std::move(state)) {}
PinnedTls::~PinnedTls() = default;
PinnedTls::PinnedTls(PinnedTls&&) noexcept = default;

tl::expected<PinnedTls, std::string> PinnedTls::create(const TransferOrder& order, TlsSide side, Fd socket) {
  auto state = std::make_unique<State>();
  state->socket = std::move(socket);
  state->peers = order.peers;
  TRY(state->set_up(order, side));
  return PinnedTls(std::move(state));
}

tl::expected<TransferPeer, std::string> PinnedTls::shake_hands(std::chrono::milliseconds in) {
  TRY(state_->until_done(in, [this] { return ::SSL_do_handshake(state_->ssl.get()); }));
  if (!state_->found || ::SSL_get_verify_result(state_->ssl.get()) != X509_V_OK)
    return tl::unexpected(std::string("it has not said which machine it is"));
  return *state_->found;
}

tl::expected<void, std::string> PinnedTls::await_word(std::chrono::milliseconds in) {
  return state_->until_done(in, [this] {
    u8 byte = 0;
    return ::SSL_peek(state_->ssl.get(), &byte, 1);
  });
}

namespace {

/// Bytes on their way in one direction.
struct Way {
  std::array<u8, most_at_once> bytes{};
  std::size_t from = 0, to = 0;
  bool ended = false;  ///< no more come
  bool told = false;   ///< and the other side knows it
  bool empty() const { return from == to; }
  bool takes() const { return empty() && !ended; }
};

}  // namespace

void PinnedTls::relay(int plain) {
  SSL* const ssl = state_->ssl.get();
  Way out, in;  // to the machine, and from there
  std::optional<Clock::time_point> late;
  while (!(out.told && in.told)) {
    short on_tls = 0, on_plain = 0;
    bool moved = false;
    if (out.takes()) {
      const ssize_t got = ::recv(plain, out.bytes.data(), out.bytes.size(), MSG_DONTWAIT);
      if (got > 0) {
        out.from = 0;
        out.to = static_cast<std::size_t>(got);
        moved = true;
      } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        out.ended = moved = true;
      } else {
        on_plain |= POLLIN;
      }
    }
    if (!out.empty()) {
      ::ERR_clear_error();
      const int sent = ::SSL_write(ssl, out.bytes.data() + out.from, static_cast<int>(out.to - out.from));
      if (sent > 0) {
        out.from += static_cast<std::size_t>(sent);
        moved = true;
      } else if (const short wanted = state_->waits_for(sent)) {
        on_tls |= wanted;
      } else {
        return;
      }
    }
    if (in.takes()) {
      ::ERR_clear_error();
      const int got = ::SSL_read(ssl, in.bytes.data(), static_cast<int>(in.bytes.size()));
      if (got > 0) {
        in.from = 0;
        in.to = static_cast<std::size_t>(got);
        moved = true;
      } else if (const short wanted = state_->waits_for(got)) {
        on_tls |= wanted;
      } else {
        in.ended = moved = true;
      }
    }
    if (!in.empty()) {
      const ssize_t sent = ::send(plain, in.bytes.data() + in.from, in.to - in.from, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) {
        in.from += static_cast<std::size_t>(sent);
        moved = true;
      } else if (errno == EAGAIN || errno == EINTR) {
        on_plain |= POLLOUT;
      } else {
        return;
      }
    }
    if (out.ended && out.empty() && !out.told) {
      ::ERR_clear_error();
      (void)::SSL_shutdown(ssl);
      out.told = moved = true;
    }
    if (in.ended && in.empty() && !in.told) {
      ::shutdown(plain, SHUT_WR);
      in.told = moved = true;
    }
    if (moved) continue;
    if (!late && (out.ended || in.ended)) late = Clock::now() + to_end;
    int left = -1;
    if (late)
      left = static_cast<int>(
          std::max<long>(0, std::chrono::duration_cast<std::chrono::milliseconds>(*late - Clock::now()).count()));
    // Of one from which nothing is wanted it is of no interest that it has gone, again and again.
    pollfd wait[] = {{.fd = on_tls != 0 ? state_->socket.get() : -1, .events = on_tls, .revents = 0},
                     {.fd = on_plain != 0 ? plain : -1, .events = on_plain, .revents = 0}};
    const int ready = ::poll(wait, 2, left);
    if (ready == 0 || (ready < 0 && errno != EINTR)) return;
  }
}

tl::expected<TransferOrder, std::string> read_transfer_order(std::string_view text) {
  const auto object = TRY(parse_object(text));
  TransferOrder order;
  JsonFields fields(object);
  fields.text("certificates", order.certificates).text("key", order.key);
  for (const auto& element : fields.list("peers")) {
    TransferPeer peer;
    std::string key;
    JsonFields of_peer(element);
    of_peer.text("name", peer.name).text("key", key).text("owner", peer.owner);
    const auto read = read_public_key(key);
    if (of_peer.ok() && !read) of_peer.fail("'key': expected a machine's");
    if (!of_peer.ok()) return tl::unexpected("'peers': " + of_peer.error());
    peer.key = *read;
    order.peers.push_back(std::move(peer));
  }
  if (!fields.ok()) return tl::unexpected(fields.error());
  return order;
}

}  // namespace cloister::toolstack
