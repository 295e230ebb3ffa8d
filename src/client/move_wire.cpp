#include "client/move_wire.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "arch/try.hpp"
#include "host/files.hpp"
#include "text/json_fields.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::client {

namespace {

constexpr std::array<u8, 12> greeting{'C', 'L', 'M', 'O', 'V', 'I', 'N', 'G', 1, 0, 0, 0};

constexpr std::array rows{WireRow{WireKind::offer, "offer", 4 << 20},     WireRow{WireKind::answer, "answer", 1 << 20},
                          WireRow{WireKind::piece, "piece", 64 << 10},    WireRow{WireKind::ready, "ready", 0},
                          WireRow{WireKind::failed, "failed", 64 << 10},  WireRow{WireKind::commit, "commit", 1 << 10},
                          WireRow{WireKind::verdict, "verdict", 1 << 10}, WireRow{WireKind::done, "done", 1 << 10},
                          WireRow{WireKind::resolve, "resolve", 1 << 10}, WireRow{WireKind::proof, "proof", 1 << 10}};

bool happens(int fd, short what) {
  pollfd look{.fd = fd, .events = what, .revents = 0};
  return ::poll(&look, 1, 0) > 0;
}

}  // namespace

const WireRow* wire_row(u32 kind) {
  const auto found =
      std::ranges::find_if(rows, [kind](const WireRow& row) { return static_cast<u32>(row.kind) == kind; });
  return found == rows.end() ? nullptr : &*found;
}

tl::expected<nlohmann::json, std::string> object_in(const WireMessage& message) {
  return parse_object({reinterpret_cast<const char*>(message.body.data()), message.body.size()}, {.deepest = 8});
}

std::string text_in(const nlohmann::json& object, const char* name) {
  std::string text;
  JsonFields(object).text(name, text);
  return text;
}

bool flag_in(const nlohmann::json& object, const char* name) {
  bool flag = false;
  JsonFields(object).boolean(name, flag);
  return flag;
}

std::vector<u8> wire_greeting() { return {greeting.begin(), greeting.end()}; }

tl::expected<void, std::string> read_greeting(const WireSource& from) {
  std::array<u8, greeting.size()> found{};
  if (!from(found)) return tl::unexpected(std::string("the other end has gone before it said anything"));
  if (!std::equal(found.begin(), found.begin() + 8, greeting.begin()))
    return tl::unexpected(std::string("the other end is no `cloister receive`, or `cloister migrate`"));
  if (found != greeting)
    return tl::unexpected(fmt::format("the other end speaks version {}, expected {}", found[8], greeting[8]));
  return {};
}

tl::expected<WireMessage, std::string> read_message(const WireSource& from) {
  std::array<u8, 8> head{};
  if (!from(head)) return tl::unexpected(std::string("the other end has gone"));
  u32 kind = 0, bytes = 0;
  std::memcpy(&kind, head.data(), sizeof kind);
  std::memcpy(&bytes, head.data() + sizeof kind, sizeof bytes);
  const WireRow* const row = wire_row(kind);
  if (row == nullptr) return tl::unexpected(fmt::format("found a message of kind {}, which is not known here", kind));
  if (bytes > row->most_bytes)
    return tl::unexpected(
        fmt::format("found a message '{}' of {} bytes, expected at most {}", row->name, bytes, row->most_bytes));
  WireMessage message{.kind = row->kind, .body = std::vector<u8>(bytes)};
  if (!from(message.body)) return tl::unexpected(fmt::format("the other end has gone amid a message '{}'", row->name));
  return message;
}

tl::expected<void, std::string> Wire::greet() {
  const auto ours = wire_greeting();
  if (!write_all(out_.get(), ours)) return tl::unexpected(std::string("the other end has gone"));
  return read_greeting([this](std::span<u8> to) { return read_all(in_.get(), to); });
}

tl::expected<void, std::string> Wire::send(WireKind kind, std::span<const u8> body) {
  std::vector<u8> bytes;
  bytes.reserve(8 + body.size());
  bytes.resize(8);
  const u32 number = static_cast<u32>(kind), size = static_cast<u32>(body.size());
  std::memcpy(bytes.data(), &number, sizeof number);
  std::memcpy(bytes.data() + sizeof number, &size, sizeof size);
  bytes.insert(bytes.end(), body.begin(), body.end());
  if (!write_all(out_.get(), bytes)) return tl::unexpected(std::string("the other end has gone"));
  return {};
}

tl::expected<void, std::string> Wire::send(WireKind kind, const std::string& text) {
  return send(kind, {reinterpret_cast<const u8*>(text.data()), text.size()});
}

bool Wire::has_said() const { return happens(in_.get(), POLLIN); }

bool Wire::has_gone() const { return happens(in_.get(), POLLRDHUP); }

tl::expected<WireMessage, std::string> Wire::receive() {
  return read_message([this](std::span<u8> to) { return read_all(in_.get(), to); });
}

tl::expected<WireMessage, std::string> Wire::receive(WireKind kind) { return of_kind(TRY(receive()), kind); }

std::string reason_in(const WireMessage& failed) {
  constexpr std::string_view ours = "cloister: ";
  const auto body = object_in(failed);
  const std::string why = body ? printable(text_in(*body, "error")) : "";
  return why.empty() ? "it says not why" : why.starts_with(ours) ? why.substr(ours.size()) : why;
}

tl::expected<WireMessage, std::string> Wire::of_kind(WireMessage message, WireKind kind) {
  if (message.kind == kind) return message;
  if (message.kind == WireKind::failed) return tl::unexpected(reason_in(message));
  return tl::unexpected(fmt::format("found a message '{}', expected '{}'",
                                    wire_row(static_cast<u32>(message.kind))->name,
                                    wire_row(static_cast<u32>(kind))->name));
}

}  // namespace cloister::toolstack::client
