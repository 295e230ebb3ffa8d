// What two clients say to each other that carry a domain from one daemon to another (docs/migration.md): messages of a
// kind and a length, of which each kind has a most. Nothing of them is believed: what they bring is for the daemons.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"
#include "host/fd.hpp"

namespace cloister::toolstack::client {

enum class WireKind : u32 {
  offer = 1,    ///< a source's: {"offer":…,"dry_run":…}
  answer = 2,   ///< its target's: {"refused":[…],"session":…}; with enclaves that go on, "answer"
  piece = 3,    ///< of its stream; one without bytes is the last, and with enclaves the last but those of their root
  ready = 4,    ///< a target's: all of it is there; with enclaves all but their root, and then all
  failed = 5,   ///< either's, and the last: {"error":…}
  commit = 6,   ///< a source's: it stands still, and goes on there if it may: {"paused":…}; with enclaves "held"
  verdict = 7,  ///< a target's: {"session":…,"verdict":…,"word":…}
  done = 8,     ///< a source's, and the last: it knows the verdict; nothing, or {"word":…}
  resolve = 9,  ///< a source's, instead of an offer, or of what it can send no more: {"session":…,"uuid":…}
  proof = 10,   ///< a source's, after an answer that has one of its machine: {"proof":…}
};

struct WireRow {
  WireKind kind;
  const char* name;
  u32 most_bytes;
};
/// Null: there is no such kind.
const WireRow* wire_row(u32 kind);

struct WireMessage {
  WireKind kind = WireKind::failed;
  std::vector<u8> body{};
};

/// The object that is a message's body, within the bounds of what strangers say.
tl::expected<nlohmann::json, std::string> object_in(const WireMessage& message);
/// A member of it; empty, or false: it has none of this type.
std::string text_in(const nlohmann::json& object, const char* name);
bool flag_in(const nlohmann::json& object, const char* name);
/// Why the other end has failed, as it says.
std::string reason_in(const WireMessage& failed);

/// Fills all of the span; false: there is not so much, or not in time.
using WireSource = std::function<bool(std::span<u8>)>;

/// What each end says first.
std::vector<u8> wire_greeting();
/// The error says what was found, and what was expected.
tl::expected<void, std::string> read_greeting(const WireSource& from);
tl::expected<WireMessage, std::string> read_message(const WireSource& from);

/// One end. Not more than one thread.
class Wire {
 public:
  Wire(Fd in, Fd out) : in_(std::move(in)), out_(std::move(out)) {}

  tl::expected<void, std::string> greet();
  tl::expected<void, std::string> send(WireKind kind, std::span<const u8> body = {});
  tl::expected<void, std::string> send(WireKind kind, const std::string& text);
  /// What comes next.
  tl::expected<WireMessage, std::string> receive();
  /// There is something to receive, or never will be again.
  bool has_said() const;
  /// The other end writes no more.
  bool has_gone() const;
  /// The next one, which must be of this kind; one that says `failed` is an error of its text.
  tl::expected<WireMessage, std::string> receive(WireKind kind);
  static tl::expected<WireMessage, std::string> of_kind(WireMessage message, WireKind kind);

 private:
  Fd in_, out_;
};

}  // namespace cloister::toolstack::client
