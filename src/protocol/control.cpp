// The daemon's end: no wait is longer than its limit.
#include "protocol/control.hpp"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>

#include "host/unix_socket.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

void set_limit(int socket, int option, std::chrono::milliseconds limit) {
  const timeval time{.tv_sec = limit.count() / 1000, .tv_usec = limit.count() % 1000 * 1000};
  ::setsockopt(socket, SOL_SOCKET, option, &time, sizeof time);
}

ControlError silence(PacketError error) {
  return {.message = std::string("the domain's process: ") + name_of(error),
          .answered = false,
          .late = error == PacketError::waits,
          .file = {},
          .line = 0,
          .column = 0};
}

ControlError refusal(const nlohmann::json& body) {
  ControlError error{.message = {}, .answered = true, .late = false, .file = {}, .line = 0, .column = 0};
  JsonFields fields(body);
  fields.text("error", error.message);
  if (fields.has("file")) fields.text("file", error.file).number("line", error.line).number("column", error.column);
  if (!fields.ok()) error.message = "the domain's process: " + fields.error();
  return error;
}

}  // namespace

const char* name_of(DomainState state) {
  switch (state) {
    case DomainState::created: return "created";
    case DomainState::running: return "running";
    case DomainState::paused: return "paused";
    case DomainState::shutting_down: return "shutting_down";
    case DomainState::ended: return "ended";
    case DomainState::halted: return "halted";
    case DomainState::crashed: return "crashed";
    case DomainState::suspended: return "suspended";
    case DomainState::restarting: return "restarting";
    case DomainState::saving: return "saving";
    case DomainState::moving: return "moving";
    case DomainState::in_doubt: return "in-doubt";
  }
  return "unknown";
}

tl::expected<ControlClient, ControlClient::Refused> ControlClient::connect(int folder, std::string_view name,
                                                                           std::chrono::milliseconds limit) {
  const sockaddr_un address = unix_address(folder, name);
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return tl::unexpected(Refused::other);
  set_limit(socket.get(), SO_SNDTIMEO, limit);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ECONNREFUSED) return tl::unexpected(Refused::nobody);
    return tl::unexpected(errno == ENOENT || errno == ENOTDIR ? Refused::absent : Refused::other);
  }
  return ControlClient(std::move(socket));
}

tl::expected<Packet, ControlError> ControlClient::request(const nlohmann::json& body, std::chrono::milliseconds limit,
                                                          std::span<const int> descriptors) {
  set_limit(socket_.get(), SO_SNDTIMEO, limit);
  set_limit(socket_.get(), SO_RCVTIMEO, limit);
  const auto sent = send_packet(socket_.get(), body, descriptors);
  // Who is turned away has an answer before it asks.
  const auto silent = [&sent](PacketError why) {
    ControlError error = silence(why);
    error.unsent = !sent;
    return tl::unexpected(std::move(error));
  };
  if (!sent && sent.error() != PacketError::closed) return silent(sent.error());
  auto reply = receive_packet(socket_.get());
  if (!reply) return silent(sent ? reply.error() : sent.error());
  const auto ok = reply->body.find("ok");
  if (ok == reply->body.end() || *ok != true) return tl::unexpected(refusal(reply->body));
  return std::move(*reply);
}

tl::expected<Packet, ControlError> ControlClient::request(const char* verb, std::chrono::milliseconds limit) {
  return request(nlohmann::json{{"verb", verb}}, limit);
}

int ControlClient::peer_pid() const { return peer_of(socket_.get()).pid; }

}  // namespace cloister::toolstack
