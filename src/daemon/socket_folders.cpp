// A folder holds these sockets; while a domain is created, for a moment also an empty directory (creation.cpp).
#include "daemon/socket_folders.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "arch/try.hpp"
#include "daemon/paths.hpp"
#include "host/unix_socket.hpp"

namespace cloister::toolstack {

namespace {

// Whoever may connect to the API's socket comes as far as the console's, which may be his.
constexpr unsigned folder_mode = 0750;
constexpr unsigned own_mode = 0600, group_mode = 0660;

std::string system_error() { return std::strerror(errno); }

struct Entry {
  const char* name;
  mode_t kind;
  int socket_type;
  bool given = false;  ///< it may be another user's, if this daemon is root's
};
constexpr Entry entries[] = {{SocketFolders::control_name, S_IFSOCK, SOCK_SEQPACKET},
                             {SocketFolders::console_name, S_IFSOCK, SOCK_STREAM, true},
                             {SocketFolders::vsock_name, S_IFSOCK, SOCK_STREAM, true},
                             {nameless_folder, S_IFDIR, 0}};

/// The socket of who listens for the guest at one of the host's ports.
bool is_port(std::string_view name) {
  const std::string prefix = std::string(SocketFolders::vsock_name) + "_";
  if (!name.starts_with(prefix)) return false;
  name.remove_prefix(prefix.size());
  u32 port = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), port);
  return error == std::errc() && end == name.data() + name.size();
}

/// What has this name; its own is only looked at where it is one of those above.
std::optional<Entry> entry_of(const std::string& name) {
  const auto entry = std::ranges::find(entries, name, &Entry::name);
  if (entry != std::end(entries)) return *entry;
  if (is_port(name)) return Entry{name.c_str(), S_IFSOCK, SOCK_STREAM};
  return std::nullopt;
}

constexpr gid_t same_group = ~gid_t{0};

bool give_to(int folder, const char* name, uid_t user, gid_t group = same_group) {
  return ::fchownat(folder, name, user, group, AT_SYMLINK_NOFOLLOW) == 0;
}

/// owner: who has the socket, before and afterwards. To try another user's, or to change its mode, takes privileges
/// that root's daemon need not have (CAP_DAC_OVERRIDE, CAP_FOWNER).
bool nobody_listens(int folder, const Entry& entry, uid_t owner) {
  const bool given = owner != ::geteuid();
  if (given && !give_to(folder, entry.name, ::geteuid())) return false;
  const Fd socket(::socket(AF_UNIX, entry.socket_type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_un address = unix_address(folder, entry.name);
  const bool nobody = socket &&
                      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
                      errno == ECONNREFUSED;
  if (given) (void)give_to(folder, entry.name, owner);
  return nobody;
}

bool is_ours(const Entry& entry, uid_t owner) { return owner == ::geteuid() || (entry.given && ::geteuid() == 0); }

}  // namespace

tl::expected<SocketFolders, std::string> SocketFolders::open(int run, const std::filesystem::path& path,
                                                             Making making) {
  auto folder = TRY(open_own_subfolder(run, "domains", making, folder_mode, path));
  return SocketFolders(std::move(folder), path / "domains");
}

tl::expected<SocketFolders, std::string> SocketFolders::open(const std::filesystem::path& path) {
  const auto run = TRY(open_own_folder(path, Making::never, 0));
  return open(run.get(), path, Making::never);
}

tl::expected<Fd, std::string> SocketFolders::make(u32 id) const {
  const std::string name = std::to_string(id);
  if (::mkdirat(folder_.get(), name.c_str(), folder_mode) != 0)
    return tl::unexpected("cannot make " + path_of(name) + ": " + system_error());
  return open_own_subfolder(folder_.get(), name, Making::never, 0, path_);
}

unsigned SocketFolders::viewer(unsigned owner) {
  const bool known = owner != ~0u;
  return ::geteuid() == 0 && known ? owner : ::geteuid();
}

tl::expected<void, std::string> SocketFolders::give(u32 id, unsigned user, LeftTo console) const {
  const std::string name = std::to_string(id);
  const auto folder = TRY(open_own_subfolder(folder_.get(), name, Making::never, 0, path_));
  const uid_t self = ::geteuid();
  const auto give = [&](const char* socket, uid_t to, unsigned mode) -> tl::expected<void, std::string> {
    // The mode's only while it is ours: see nobody_listens().
    if (give_to(folder.get(), socket, self, ::getegid()) && ::fchmodat(folder.get(), socket, mode, 0) == 0 &&
        give_to(folder.get(), socket, to))
      return {};
    return tl::unexpected("cannot give " + path_of(name) + "/" + socket + " to user " + std::to_string(to) + ": " +
                          system_error());
  };
  TRY(give(control_name, self, own_mode));
  const unsigned mode = console == LeftTo::group ? group_mode : own_mode;
  struct stat status {};
  if (::fstatat(folder.get(), vsock_name, &status, AT_SYMLINK_NOFOLLOW) == 0) TRY(give(vsock_name, viewer(user), mode));
  return give(console_name, viewer(user), mode);
}

bool SocketFolders::has(u32 id) const {
  struct stat status {};
  return ::fstatat(folder_.get(), std::to_string(id).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

tl::expected<ControlClient, ControlClient::Refused> SocketFolders::connect(u32 id,
                                                                           std::chrono::milliseconds limit) const {
  using Refused = ControlClient::Refused;
  const Fd folder(::openat(folder_.get(), std::to_string(id).c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return tl::unexpected(errno == ENOENT ? Refused::absent : Refused::other);
  return ControlClient::connect(folder.get(), control_name, limit);
}

tl::expected<void, std::string> SocketFolders::remove(u32 id, Listeners listeners) const {
  const std::string name = std::to_string(id), path = path_of(name);
  if (!has(id)) return {};
  const auto folder = TRY(open_own_subfolder(folder_.get(), name, Making::never, 0, path_));
  const auto names = names_in(folder.get());
  if (!names) return tl::unexpected(path + ": " + names.error());
  const auto stays = [&](const std::string& what) { return tl::unexpected(path + "/" + what); };
  // All are looked at before the first is removed.
  for (const std::string& found : *names) {
    const auto entry = entry_of(found);
    struct stat status {};
    if (!entry || ::fstatat(folder.get(), found.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        (status.st_mode & S_IFMT) != entry->kind || !is_ours(*entry, status.st_uid))
      return stays(found + ": not a domain's socket");
    if (listeners == Listeners::look_first && entry->kind == S_IFSOCK &&
        !nobody_listens(folder.get(), *entry, status.st_uid))
      return stays(found + ": somebody may listen there");
  }
  for (const std::string& found : *names) {
    const int kind = entry_of(found)->kind == S_IFDIR ? AT_REMOVEDIR : 0;
    if (::unlinkat(folder.get(), found.c_str(), kind) != 0) return stays(found + ": " + system_error());
  }
  if (::unlinkat(folder_.get(), name.c_str(), AT_REMOVEDIR) != 0)
    return tl::unexpected("cannot remove " + path + ": " + system_error());
  return {};
}

tl::expected<std::vector<SocketFolders::Left>, std::string> SocketFolders::list() const {
  auto names = names_in(folder_.get());
  if (!names) return tl::unexpected(path_.string() + ": " + names.error());
  std::vector<Left> all;
  for (std::string& name : *names) {
    const auto id = domain_number(name);
    all.push_back({.name = std::move(name), .id = id});
  }
  return all;
}

}  // namespace cloister::toolstack
