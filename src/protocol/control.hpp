// The control protocol between the daemon and a VMM: on a SOCK_SEQPACKET socket, one request a packet, one reply each.
//
//   {"verb":"hello"}        {"ok":true,"id":…,"name":…,"pid":…,"state":…,"version":1}
//   {"verb":"descriptors"}  {"ok":true}, with the page, then, in a domain with EPC, EPC and EPCM (SCM_RIGHTS)
//   {"verb":"run"}          starts the guest; {"verb":"run","paused":true}: as soon as `unpause` comes;
//   {"verb":"run","token":…}: one whose enclaves come with it (saving.hpp)
//   {"verb":"pause"}, …     what is asked of the guest: the rows of verbs/guest_verbs.hpp, with their arguments
//   {"verb":"rename","name":…}    what the VMM calls the domain in its log
//   {"verb":"log"}          with a pipe that does not wait (SCM_RIGHTS): standard error from now on
//   {"verb":"viewers","user":…,"group":…}    drops viewers of the console who are neither this user nor root, nor of
//   the group, which may be left out
//   {"verb":"epc-lend","section":…,"frames":…}    more frames (epc_frames.hpp): for a pager, or for pages that the
//   guest has given of this section of its EPC
//   {"verb":"epc-give","pages":…,"of":…}    {"ok":true,"frames":…}: at most so many, which are free and the daemon's
//   from now on; of the frames in these rows, which may be left out
//   {"verb":"epc-held","from":…}      {"ok":true,"frames":…,"more":…}: what it has, from this frame on
//   {"verb":"save"}         with a file to be written and a saving order (saving.hpp), which is offered in the domain's
//   page: {"ok":true} as soon as the guest stands still. What becomes of it that page says: it ends as `saved`, or goes
//   on
//   {"verb":"take-back","token":…}    its enclaves have left, it was not saved, and it waits (SaveCounts::waits): it
//   goes on with them
//   {"verb":"disks"}        {"ok":true,"disks":[{"vdev":…,"mark":…,"bytes":…}, …]}: by what its target knows that it
//   has the same files (host/disk_image.hpp); of one that cannot go elsewhere, {"vdev":…,"stays":why}
//   {"verb":"move","session":…,"downtime":…,"bandwidth":…}    with the socket that its stream goes to (moving.hpp):
//   {"ok":true} as soon as that has begun. How far it is that page says, too
//   {"verb":"move-hold","session":…}    of one of which all has been sent: from now on it goes on by the next verb
//   alone
//   {"verb":"move-end","cancel":true}    it does not move: it goes on here; with `cancel`, which may be absent, unless
//   it is held
//   {"verb":"status"}       {"ok":true,"state":…,"restarts":…}
//
// A reply without "ok":true has "error", and perhaps "file", "line" and "column" of what is wrong in the configuration.
// Ending a domain at once needs no word: the daemon kills the process, which also ends one that no longer listens.
//
// The first connection is the launching one: a VMM that loses it before `run` exits, unless enclaves come with its
// guest. Of 16 connections none is refused; the next one gets an error, asked for or not, and is closed.
#pragma once

#include <chrono>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/files.hpp"
#include "host/packet.hpp"

namespace cloister::toolstack {

inline constexpr u32 control_version = 1;

/// Of the descriptors in the reply to `descriptors`. Those of an earlier VMM begin with one more, of counters that all
/// domains shared.
namespace control_fd {
inline constexpr std::size_t page = 0, epc = 1, epcm = 2;
}

/// halted and crashed: the guest has ended so, and the configuration preserves the domain. suspended: to RAM, by its
/// guest. restarting: the guest has ended, and starts anew in a while. saving, moving: it stands still while it is
/// written down. in_doubt: it stands still, and may run elsewhere by now.
enum class DomainState : u32 {
  created,
  running,
  paused,
  shutting_down,
  ended,
  halted,
  crashed,
  suspended,
  restarting,
  saving,
  moving,
  in_doubt
};
inline constexpr DomainState domain_states[] = {
    DomainState::created,    DomainState::running, DomainState::paused,  DomainState::shutting_down,
    DomainState::ended,      DomainState::halted,  DomainState::crashed, DomainState::suspended,
    DomainState::restarting, DomainState::saving,  DomainState::moving,  DomainState::in_doubt};
/// "created", "running", …
const char* name_of(DomainState state);

/// A refusal, or why there is no answer.
struct ControlError {
  std::string message{};
  bool answered = false;     ///< by the VMM; else it has gone or does not answer
  bool late = false;         ///< it is there, and has not answered within the limit
  bool unsent = false;       ///< it has not got the request, and never will
  std::string file{};        ///< of the configuration; empty: the error does not stand there
  u32 line = 0, column = 0;  ///< 0: the file as a whole
};

/// The daemon's end of one connection. One thread at a time.
class ControlClient {
 public:
  enum class Refused : u8 {
    nobody,  ///< the socket is there, and nobody listens any more: who did has ended
    absent,  ///< there is no such socket: it tells nothing of who had it
    other,   ///< it could not be told: no descriptors are left, a full backlog, …
  };
  /// To the socket of this name in an open folder. `limit`: how long to wait for room in the backlog.
  static tl::expected<ControlClient, Refused> connect(int folder, std::string_view name,
                                                      std::chrono::milliseconds limit = std::chrono::seconds(5));

  /// One request, with descriptors beside it, and its reply.
  tl::expected<Packet, ControlError> request(const nlohmann::json& body, std::chrono::milliseconds limit,
                                             std::span<const int> descriptors = {});
  tl::expected<Packet, ControlError> request(const char* verb, std::chrono::milliseconds limit);

  /// The process that last called listen() on the socket (SO_PEERCRED).
  int peer_pid() const;

 private:
  explicit ControlClient(Fd socket) : socket_(std::move(socket)) {}
  Fd socket_;
};

}  // namespace cloister::toolstack
