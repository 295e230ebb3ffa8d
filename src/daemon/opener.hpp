// Opening the files that a domain names, with its owner's rights: a process for each file, which has none of the
// daemon's descriptors, takes the owner's user and groups on for good, and only then opens. So no file is checked first
// and opened after, and no name leads through what the daemon has open: links of the kernel's own, such as
// /proc/PID/fd/N and /proc/PID/root, are not followed (openat2(2), RESOLVE_NO_MAGICLINKS).
//
// A daemon that is not root's can open with its own rights alone; it does so for its own user, and for root.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "boot/reader.hpp"
#include "config/domain_config.hpp"
#include "daemon/saving_record.hpp"
#include "host/disk_image.hpp"
#include "host/mutex.hpp"
#include "host/owner.hpp"
#include "host/packet.hpp"
#include "host/process.hpp"
#include "host/tap_interface.hpp"

namespace cloister::toolstack {

/// Openers that were killed, and are not dead yet: each waits for a file system that does not answer. Threads: its
/// owner's.
class StuckOpeners {
 public:
  static constexpr std::size_t of_a_user = 8;

  void add(unsigned user, Process process);
  /// Whether this user has as many as a user may.
  bool full(unsigned user) const;
  /// Reaps those that have died.
  void bury();

 private:
  struct One {
    unsigned user;
    Process process;
  };
  std::vector<One> all_;
};

enum class DiskLock : bool { no, yes };
/// What a disk must be beside what it is.
struct DiskBounds {
  std::string folder{};            ///< not empty: its path is relative to this, and leads nowhere else
  std::optional<DiskMark> mark{};  ///< somebody else has this file open, and marked so (host/disk_image.hpp)
};
struct OpenDisk {
  Fd fd;
  std::string identity;                 ///< identity_of_disk()
  std::vector<std::string> below = {};  ///< the same of its backing files
};

/// A user whose file systems do not answer is told so after a number of tries; root and the daemon's own user are not
/// held to it, and no user is to another's. Threads: any. It may wait for a file system that does not answer, as long
/// as `patience`: call it without a lock.
class FileOpener {
 public:
  static constexpr std::chrono::milliseconds default_patience{10'000};

  /// `program` is started as `program open-file`, and calls run_opener().
  explicit FileOpener(std::string program = "/proc/self/exe", std::chrono::milliseconds patience = default_patience)
      : program_(std::move(program)), patience_(patience) {}

  /// A regular file, for reading. `path` is absolute. The error is for a person.
  tl::expected<Fd, std::string> open(const Owner& owner, const std::string& path);
  /// The same of a kernel that a guest can be started from, in so much memory and with such a ramdisk (0: none) and
  /// command line (platform/pvh.hpp). That process looks into it, too: what is in there is its owner's.
  struct Beside {
    u64 memory_mib = 0;
    u64 ramdisk_bytes = 0, cmdline_bytes = 0;
  };
  tl::expected<Fd, std::string> open_kernel(const Owner& owner, const std::string& path, const Beside& beside);
  /// A disk, for this use, and locked for it before anybody else has the descriptor. Of another format than raw, once
  /// it is locked: a connection to what serves it (host/nbd_server.hpp).
  tl::expected<OpenDisk, DiskError> open_disk(const Owner& owner, const std::string& path, DiskUse use, DiskLock lock,
                                              const std::string& format = "raw",
                                              std::span<const BackingConfig> backing = {},
                                              const DiskBounds& bounds = {});
  /// All of its bytes, `most` at most; read by that process too, since reading may wait as well.
  tl::expected<std::vector<u8>, std::string> read(const Owner& owner, const std::string& path, u64 most);
  /// What that process says of all of its bytes, if they are `most` at most: its owner may have it say anything.
  struct Digest {
    std::string sha256;
    u64 bytes = 0;
  };
  tl::expected<Digest, std::string> digest(const Owner& owner, const std::string& path, u64 most);
  /// Of its bytes the first ones, `most` at most.
  tl::expected<std::vector<u8>, std::string> read_beginning(const Owner& owner, const std::string& path, u64 most);

  /// What carries the frames of a network interface (host/passt.hpp), with its owner's rights, but for root, for whom
  /// it is the user `nobody`'s. Our end of its connection. Where systemd has an opener that may use the network
  /// (packaging/cloister-network.socket), that one starts it, and not one of ours.
  tl::expected<Fd, std::string> start_network(const Owner& owner, const std::vector<std::string>& arguments);

  /// The queues of an interface on a bridge (host/tap_interface.hpp), for root alone, by root's daemon. Where systemd
  /// has an opener that may administer the network (packaging/cloister-bridge.socket), that one makes it.
  tl::expected<std::vector<Fd>, std::string> open_tap(const Owner& owner, const BridgePort& port);

  /// What looks for a kernel on a disk (boot/reader.hpp), with its owner's rights: on that of this identity, or not at
  /// all. Our end of its connection.
  tl::expected<Fd, std::string> start_boot_reader(const Owner& owner, const std::string& path,
                                                  const std::string& identity, const boot::Wanted& wanted);

  /// What connects to the sockets PATH_PORT for a guest (host/vsock_connector.hpp), with its owner's rights. Our end of
  /// its connection.
  tl::expected<Fd, std::string> start_connector(const Owner& owner, const std::string& path);

  /// A file that was not there, for a sealed stream (stream/sealing.hpp): what is written is on the disk when a write
  /// returns. It is a PartialFile until settle().
  struct NewFile {
    Fd fd{};
    SavingRecord record{};
  };
  /// replaces: nor is one that is its owner's, and such a stream, which goes when this one is whole.
  tl::expected<NewFile, std::string> create(const Owner& owner, const std::string& path, bool replaces = false);
  /// What becomes of it if all of its stream is there.
  enum class Whole : u8 { removed, named };
  /// Removes it, if it is still the file that was created, or gives it its name. Whether it did that, now or at an
  /// earlier call. An error: it is where it was.
  tl::expected<bool, std::string> settle(const SavingRecord& file, Whole whole);

 private:
  tl::expected<Fd, std::string> open(const Owner& owner, const nlohmann::json& request,
                                     std::chrono::milliseconds patience);
  /// The answer: with a descriptor, or what became of it, or `error` in its body.
  tl::expected<Packet, std::string> ask(const Owner& owner, const nlohmann::json& request,
                                        std::chrono::milliseconds patience);
  /// The same of an opener that systemd starts at this socket, where there is one.
  tl::expected<Packet, std::string> ask_service(const std::string& socket, const Owner& owner,
                                                const nlohmann::json& request);
  /// Of an opener that is there.
  static tl::expected<Packet, std::string> answer_of(int connection, std::chrono::milliseconds patience);
  void end(unsigned user, Process process);

  std::string program_;
  std::chrono::milliseconds patience_;
  Mutex lock_;
  StuckOpeners stuck_ CLOISTER_GUARDED_BY(lock_);
};

/// The one argument that makes a program an opener.
inline constexpr const char* opener_word = "open-file";
/// What it then does: answers one request on descriptor 0. The exit status.
int run_opener();

}  // namespace cloister::toolstack
