// TLS 1.3 between machines that know each other's keys (docs/migration.md, "By TLS"). No authority is asked: a
// connection is a machine's if the key of it is certified by the key that machine.toml lists. What is listed decides
// before the other end is sent anything but the handshake.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/fd.hpp"
#include "machine/public_key.hpp"

struct ssl_st;
struct ssl_ctx_st;

namespace cloister::toolstack {

/// What the daemon tells who carries a domain for it (api_transfer.cpp).
struct TransferPeer {
  std::string name;
  PublicKey key;
  std::string owner;  ///< of what comes from there; empty: nothing may
};
struct TransferOrder {
  std::string certificates, key;  ///< PEM
  std::vector<TransferPeer> peers;
};
/// JSON. The error says which member is wrong.
tl::expected<TransferOrder, std::string> read_transfer_order(std::string_view text);

enum class TlsSide : u8 { source, target };

/// A connection, from the handshake on. Threads: one.
class PinnedTls {
 public:
  /// The socket must not wait.
  static tl::expected<PinnedTls, std::string> create(const TransferOrder& order, TlsSide side, Fd socket);
  ~PinnedTls();
  PinnedTls(PinnedTls&&) noexcept;
  PinnedTls& operator=(PinnedTls&&) = delete;

  /// Which machine is at the other end. The error says what it is instead.
  tl::expected<TransferPeer, std::string> shake_hands(std::chrono::milliseconds in);
  /// Until the other end has said something, which is not read yet. A target that does not let this machine in says so
  /// after its source's handshake.
  tl::expected<void, std::string> await_word(std::chrono::milliseconds in);
  /// Carries bytes to and from a socket, which must not wait, until one end has no more; then what was read is
  /// written.
  void relay(int plain);

 private:
  struct State;
  explicit PinnedTls(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cloister::toolstack
