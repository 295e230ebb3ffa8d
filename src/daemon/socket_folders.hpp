// The sockets of domains below a run folder: RUN/domains/ID/control.sock and console.sock, and
// vsock.sock, beside which programs may listen for its guest (vsock.sock_PORT). Everything goes by
// descriptor of folders that are this user's alone. What is removed has these very names and is of this kind, of this
// user, or was given by root to the domain's owner: a file of anybody's own stays, and with it the folder that it is
// in.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/own_folder.hpp"
#include "machine/machine.hpp"
#include "protocol/control.hpp"

namespace cloister::toolstack {

class SocketFolders {
 public:
  static constexpr const char* control_name = "control.sock";
  static constexpr const char* console_name = "console.sock";
  static constexpr const char* vsock_name = "vsock.sock";  ///< of a domain with vsock

  /// `run` is the run folder, open, at `path`.
  static tl::expected<SocketFolders, std::string> open(int run, const std::filesystem::path& path, Making making);
  /// Of another daemon's run folder, that is there already.
  static tl::expected<SocketFolders, std::string> open(const std::filesystem::path& path);

  /// A domain's folder, which must not be there.
  tl::expected<Fd, std::string> make(u32 id) const;
  /// Makes the domain's control socket this daemon's alone, and its console and vsock that user's, or, as `console`
  /// says, also the group's that this daemon has. A daemon that is not root's keeps both.
  tl::expected<void, std::string> give(u32 id, unsigned user, LeftTo console) const;
  /// To whom a console is given.
  static unsigned viewer(unsigned owner);
  bool has(u32 id) const;
  tl::expected<ControlClient, ControlClient::Refused> connect(u32 id, std::chrono::milliseconds limit) const;

  enum class Listeners : u8 {
    gone,       ///< the caller knows that nobody has the sockets
    look_first  ///< a socket on which somebody listens stays
  };
  /// Removes a domain's folder. The error says what stays, and why.
  tl::expected<void, std::string> remove(u32 id, Listeners listeners) const;

  struct Left {
    std::string name;
    std::optional<u32> id;  ///< none: no domain's folder has such a name
  };
  tl::expected<std::vector<Left>, std::string> list() const;
  std::string path_of(const std::string& name) const { return path_ / name; }

 private:
  SocketFolders(Fd folder, std::filesystem::path path) : folder_(std::move(folder)), path_(std::move(path)) {}
  Fd folder_;
  std::filesystem::path path_;
};

}  // namespace cloister::toolstack
