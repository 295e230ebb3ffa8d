// Lines of JSON: answers are looked at for a status, the rest for the events that matter.
#include "interop/qemu/monitor.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "text/json_text.hpp"

namespace cloister::toolstack::qemu {

namespace {

/// A member that is a string; empty if it is not there, or something else.
std::string text_at(const nlohmann::json& value, const nlohmann::json::json_pointer& where) {
  return value.contains(where) && value.at(where).is_string() ? value.at(where).get<std::string>() : "";
}

}  // namespace

Monitor::Monitor(int socket) : socket_(socket) { command("qmp_capabilities"); }

void Monitor::command(std::string_view name) {
  const std::string line = json_text(nlohmann::json{{"execute", name}}) + "\n";
  // A QEMU that is gone takes no command; that it is gone is seen elsewhere.
  [[maybe_unused]] const ssize_t sent = ::send(socket_, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool Monitor::read() {
  std::array<char, 4096> chunk;
  const ssize_t got = ::recv(socket_, chunk.data(), chunk.size(), MSG_DONTWAIT);
  if (got == 0) return false;
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  pending_.append(chunk.data(), static_cast<std::size_t>(got));
  for (std::size_t end; (end = pending_.find('\n')) != std::string::npos; pending_.erase(0, end + 1))
    take(std::string_view(pending_).substr(0, end));
  return true;
}

void Monitor::take(std::string_view line) {
  const auto message = nlohmann::json::parse(line, nullptr, false);
  if (!message.is_object()) return;
  using Pointer = nlohmann::json::json_pointer;
  const std::string event = text_at(message, Pointer("/event"));
  if (event == "SHUTDOWN") shutdown_reason_ = text_at(message, Pointer("/data/reason"));
  if (event == "STOP") command("query-status");
  if (text_at(message, Pointer("/return/status")) == "internal-error") internal_error_ = true;
}

}  // namespace cloister::toolstack::qemu
