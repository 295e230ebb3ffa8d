// Programs of the host at the other ends of a guest's sockets (vsock.hpp): streams of bytes in both directions, how
// they call the guest, and how the guest calls them. Whoever has the device's turn calls all of this; others only
// wake(). Nothing but wait() waits.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "arch/types.hpp"

namespace cloister::platform::virtio {

class Peer {
 public:
  Peer() = default;
  virtual ~Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  /// There may be bytes, or there will never be any more.
  virtual bool ready() const = 0;
  /// How many have come; 0: none are there now; nullopt: none ever will.
  virtual std::optional<std::size_t> receive(std::span<std::byte> to) = 0;
  /// How many it has taken; 0: none now; nullopt: it takes no more.
  virtual std::optional<std::size_t> send(std::span<const std::byte> from) = 0;
  virtual void end_sending() = 0;
  /// It neither sends nor takes anything any more.
  virtual bool gone() const = 0;
  /// One that has called: the guest has answered it, by this port. False: it takes no more.
  virtual bool answered(u32 host_port) = 0;
  /// What the next wait() is for: its bytes; that it takes some again; that it has gone.
  struct Wants {
    bool bytes = false, room = false, end = false;
  };
  virtual void want(const Wants& what) = 0;
};

class Peers {
 public:
  Peers() = default;
  virtual ~Peers() = default;
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  /// One that calls this port of the guest's.
  struct Call {
    std::unique_ptr<Peer> from;
    u32 port = 0;
  };
  virtual std::optional<Call> next_call() = 0;
  /// Has whoever listens at this port of the host's looked for: the number that the answer has. Nullopt: nobody can be.
  virtual std::optional<u32> ask(u32 port) = 0;
  struct Answer {
    u32 number = 0;
    std::unique_ptr<Peer> peer;  ///< null: nobody listens
  };
  virtual std::optional<Answer> next_answer() = 0;

  enum class Wait : u8 {
    for_all,      ///< until something of it has changed, or somebody wakes who waits here, or next
    for_a_look,   ///< not at all
    for_nothing,  ///< for who wakes alone
  };
  virtual void wait(Wait how) = 0;
  virtual void wake() = 0;
  /// The guest has stood still for so long that its date is wrong. From any thread.
  virtual void stood_still() {}
};

}  // namespace cloister::platform::virtio
