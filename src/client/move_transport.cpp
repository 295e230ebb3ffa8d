#include "client/move_transport.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "arch/try.hpp"
#include "host/unix_socket.hpp"

extern char** environ;

namespace cloister::toolstack::client {

namespace {

constexpr std::string_view unix_prefix = "unix:", ssh_word = "ssh://";
constexpr unsigned way_mode = 0600;

tl::unexpected<std::string> no_transport(const std::string& what) {
  return tl::unexpected(fmt::format("{}: {}", what, std::strerror(errno)));
}

tl::expected<std::vector<std::string>, std::string> ssh_command(std::string host) {
  const char* const program = std::getenv("CLOISTER_SSH");
  std::vector<std::string> words{program != nullptr && *program != '\0' ? program : "ssh"};
  const std::size_t colon = host.rfind(':');
  if (colon != std::string::npos && host.find(']', colon) == std::string::npos) {
    const std::string port = host.substr(colon + 1);
    if (port.empty() || port.find_first_not_of("0123456789") != std::string::npos)
      return tl::unexpected(fmt::format("found port '{}', expected a number", port));
    words.insert(words.end(), {"-p", port});
    host.resize(colon);
  }
  if (host.empty() || host.front() == '-' || host.find('/') != std::string::npos)
    return tl::unexpected(fmt::format("found host '{}', expected ssh://[USER@]HOST[:PORT]", host));
  words.insert(words.end(), {"--", host, "cloister", "receive", "--stdio"});
  return words;
}

/// It ends by itself when nobody speaks to it any more.
tl::expected<Wire, std::string> run_ssh(const std::string& host) {
  auto words = TRY(ssh_command(host));
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return no_transport("no socket");
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDOUT_FILENO);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return tl::unexpected(fmt::format("cannot run {}: {}", words[0], std::strerror(error)));
  return wire_of(std::move(ours));
}

/// All of a guest goes to whoever listens: that is root or this user, or whose folder it is, where nobody else could
/// have put a socket.
tl::expected<void, std::string> is_whose_place(int socket, const std::string& path) {
  const unsigned peer = peer_of(socket).uid;
  if (peer == 0 || peer == ::geteuid()) return {};
  struct stat folder {};
  const std::string parent = std::filesystem::absolute(path).parent_path().string();
  const bool theirs =
      ::stat(parent.c_str(), &folder) == 0 && folder.st_uid == peer && (folder.st_mode & (S_IWGRP | S_IWOTH)) == 0;
  if (theirs) return {};
  return tl::unexpected(fmt::format("{}: user {} receives there, in a folder that is not theirs alone", path, peer));
}

}  // namespace

tl::expected<Wire, std::string> wire_of(Fd socket) {
  Fd again(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!again) return no_transport("no descriptors are left");
  return Wire(std::move(socket), std::move(again));
}

tl::expected<Wire, std::string> reach_receiver(const std::string& target) {
  if (target.starts_with(ssh_word)) return run_ssh(target.substr(ssh_word.size()));
  if (!target.starts_with(unix_prefix) || target.size() == unix_prefix.size())
    return tl::unexpected(
        fmt::format("found '{}', expected unix:PATH, ssh://[USER@]HOST[:PORT] or tls://HOST:PORT", target));
  const std::string path = target.substr(unix_prefix.size());
  Fd socket = connect_to(path, SOCK_STREAM);
  if (!socket) return no_transport(fmt::format("nobody receives at {}", path));
  TRY(is_whose_place(socket.get(), path));
  return wire_of(std::move(socket));
}

tl::expected<Wire, std::string> await_source(const std::string& from) {
  if (from.empty()) {
    Fd in(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)), out(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!in || !out) return no_transport("standard input and output");
    return Wire(std::move(in), std::move(out));
  }
  if (!from.starts_with(unix_prefix) || from.size() == unix_prefix.size())
    return tl::unexpected(fmt::format("found '{}', expected unix:PATH", from));
  const std::filesystem::path path = std::filesystem::absolute(from.substr(unix_prefix.size()));
  const std::string parent = path.parent_path().string(), name = path.filename().string();
  const Fd folder(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return no_transport(parent);
  const auto listening = TRY(listen_at(folder.get(), name, SOCK_STREAM, way_mode, parent));
  if (::listen(listening.get(), 1) != 0) return no_transport(path.string());
  Fd socket;
  while (!socket) {
    socket = Fd(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket && errno != EINTR && errno != ECONNABORTED) return no_transport(path.string());
  }
  ::unlinkat(folder.get(), name.c_str(), 0);
  return wire_of(std::move(socket));
}

}  // namespace cloister::toolstack::client
