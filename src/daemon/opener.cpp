// The daemon's half: one request, one answer, one end.
#include "daemon/opener.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "arch/try.hpp"
#include "config/disks.hpp"
#include "daemon/access.hpp"
#include "host/memfd.hpp"
#include "host/pidfd.hpp"
#include "host/unix_socket.hpp"
#include "host/whole_file.hpp"
#include "text/hex.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

constexpr int longest_death_ms = 1'000;

using Failed = tl::unexpected<std::string>;

Failed system_error(const char* what) { return Failed(std::string(what) + ": " + std::strerror(errno)); }

/// What the daemon itself sees of it. It must not wait: the file system may be the owner's own (FUSE).
bool is_file(int fd, int access, bool or_device) {
  struct statx status {};
  if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0) return false;
  const int mode = ::fcntl(fd, F_GETFL);
  const bool kind = S_ISREG(status.stx_mode) || (or_device && S_ISBLK(status.stx_mode));
  return kind && mode >= 0 && (mode & (O_ACCMODE | O_PATH)) == access;
}

/// For tests the environment says another one.
std::string service(const char* variable, const char* usual) {
  const char* const told = ::secure_getenv(variable);
  return told == nullptr ? usual : told;
}

bool is_socket(int fd, int wanted) {
  int type = 0;
  socklen_t bytes = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == wanted;
}

tl::expected<void, std::string> without_error(const Packet& answer) {
  std::string error;
  JsonFields fields(answer.body);
  if (fields.has("error")) fields.text("error", error);
  if (!error.empty()) return Failed(error);
  return {};
}

/// The descriptor of an answer.
tl::expected<Fd, std::string> opened(Packet answer) {
  TRY(without_error(answer));
  if (answer.descriptors.size() != 1) return Failed("not opened");
  return std::move(answer.descriptors.front());
}

}  // namespace

tl::expected<Fd, std::string> FileOpener::open(const Owner& owner, const std::string& path) {
  return open(owner, {{"owner", to_json(owner)}, {"path", path}}, patience_);
}

tl::expected<Fd, std::string> FileOpener::open_kernel(const Owner& owner, const std::string& path,
                                                      const Beside& beside) {
  constexpr int to_unpack = 6;  // which takes its time
  return open(owner,
              {{"owner", to_json(owner)},
               {"path", path},
               {"memory_mib", beside.memory_mib},
               {"ramdisk_bytes", beside.ramdisk_bytes},
               {"cmdline_bytes", beside.cmdline_bytes}},
              to_unpack * patience_);
}

tl::expected<Fd, std::string> FileOpener::open(const Owner& owner, const nlohmann::json& request,
                                               std::chrono::milliseconds patience) {
  auto answer = TRY(ask(owner, request, patience));
  auto fd = TRY(opened(std::move(answer)));
  if (!is_file(fd.get(), O_RDONLY, false)) return Failed("not a regular file that may be passed on");
  return fd;
}

tl::expected<OpenDisk, DiskError> FileOpener::open_disk(const Owner& owner, const std::string& path, DiskUse use,
                                                        DiskLock lock, const std::string& format,
                                                        std::span<const BackingConfig> backing,
                                                        const DiskBounds& bounds) {
  constexpr int to_serve = 3;  // another program has to start
  const bool writes = use == DiskUse::write, by_socket = nbd_socket(path).has_value();
  const bool served = by_socket || (lock == DiskLock::yes && format != "raw");
  nlohmann::json request{{"owner", to_json(owner)},       {"path", path},     {"writes", writes},
                         {"lock", lock == DiskLock::yes}, {"format", format}, {"backing", nlohmann::json::array()}};
  for (const BackingConfig& one : backing) request["backing"].push_back({{"format", one.format}, {"path", one.path}});
  if (!bounds.folder.empty()) request["folder"] = bounds.folder;
  if (bounds.mark) {
    request["mark"] = bounds.mark->byte;
    request["mark_bytes"] = bounds.mark->bytes;
  }
  auto answer = ask(owner, request, served ? to_serve * patience_ : patience_);
  if (!answer) return tl::unexpected(DiskError{answer.error()});
  std::string identity, in_use, below_in_use;
  std::vector<std::string> below;
  JsonFields fields(answer->body);
  if (fields.has("identity")) fields.text("identity", identity);
  if (fields.has("in_use")) fields.text("in_use", in_use);
  if (fields.has("below_in_use")) fields.text("below_in_use", below_in_use);
  if (fields.has("below"))
    for (const nlohmann::json& one : fields.list("below"))
      if (one.is_string()) below.push_back(one.get<std::string>());
  auto fd = opened(std::move(*answer));
  if (!fd) return tl::unexpected(DiskError{fd.error(), in_use, below_in_use});
  if (served && !is_socket(fd->get(), SOCK_SEQPACKET))
    return tl::unexpected(DiskError{"not a connection that may be passed on"});
  if (!served && !is_file(fd->get(), writes ? O_RDWR : O_RDONLY, true))
    return tl::unexpected(DiskError{"neither a regular file nor a block device that may be passed on"});
  return OpenDisk{std::move(*fd), std::move(identity), std::move(below)};
}

tl::expected<std::vector<u8>, std::string> FileOpener::read(const Owner& owner, const std::string& path, u64 most) {
  auto answer = TRY(ask(owner, {{"owner", to_json(owner)}, {"path", path}, {"most", most}}, patience_));
  const auto fd = TRY(opened(std::move(answer)));
  // Memory alone, which nobody changes any more, is read without waiting for anybody.
  if (!is_sealed_memfd(fd.get())) return Failed("not read");
  return read_within(fd.get(), most);
}

tl::expected<FileOpener::Digest, std::string> FileOpener::digest(const Owner& owner, const std::string& path,
                                                                 u64 most) {
  auto answer = TRY(ask(owner, {{"owner", to_json(owner)}, {"path", path}, {"digest", most}}, patience_));
  TRY(without_error(answer));
  Digest digest;
  JsonFields fields(answer.body);
  fields.text("sha256", digest.sha256).number("bytes", digest.bytes);
  if (!fields.ok() || digest.bytes > most) return Failed("not read");
  return digest;
}

tl::expected<std::vector<u8>, std::string> FileOpener::read_beginning(const Owner& owner, const std::string& path,
                                                                      u64 most) {
  auto answer = TRY(ask(owner, {{"owner", to_json(owner)}, {"path", path}, {"beginning", most}}, patience_));
  const auto fd = TRY(opened(std::move(answer)));
  if (!is_sealed_memfd(fd.get())) return Failed("not read");
  return read_within(fd.get(), most);
}

tl::expected<Fd, std::string> FileOpener::start_network(const Owner& owner, const std::vector<std::string>& arguments) {
  const nlohmann::json request{{"owner", to_json(owner)}, {"network", arguments}};
  auto answer =
      TRY(ask_service(service("CLOISTER_TEST_NETWORK_SERVICE", "/run/cloister-network.sock"), owner, request));
  auto fd = TRY(opened(std::move(answer)));
  if (!is_socket(fd.get(), SOCK_STREAM)) return Failed("not a connection that may be passed on");
  return fd;
}

tl::expected<std::vector<Fd>, std::string> FileOpener::open_tap(const Owner& owner, const BridgePort& port) {
  if (owner.user != 0) return Failed("a bridge is for root's domains alone: expected type=user");
  if (::geteuid() != 0) return Failed("a bridge needs a cloisterd that is root's");
  const nlohmann::json request{{"owner", to_json(owner)},
                               {"bridge", port.bridge},
                               {"name", port.name},
                               {"mac", in_hex(port.guest_mac)},
                               {"queues", port.queues}};
  auto answer = TRY(ask_service(service("CLOISTER_TEST_BRIDGE_SERVICE", "/run/cloister-bridge.sock"), owner, request));
  TRY(without_error(answer));
  if (answer.descriptors.size() != port.queues) return Failed("not opened");
  for (const Fd& queue : answer.descriptors)
    if (!is_tap(queue.get())) return Failed("not an interface that may be passed on");
  return std::move(answer.descriptors);
}

tl::expected<Packet, std::string> FileOpener::ask_service(const std::string& socket, const Owner& owner,
                                                          const nlohmann::json& request) {
  constexpr int to_start = 3;
  const Fd service = ::geteuid() == 0 ? connect_to(socket, SOCK_SEQPACKET) : Fd();
  if (!service) return ask(owner, request, to_start * patience_);
  if (!send_packet(service.get(), request)) return Failed("what starts networks does not listen");
  return answer_of(service.get(), to_start * patience_);
}

tl::expected<Fd, std::string> FileOpener::start_boot_reader(const Owner& owner, const std::string& path,
                                                            const std::string& identity, const boot::Wanted& wanted) {
  nlohmann::json request{{"owner", to_json(owner)},
                         {"boot", path},
                         {"identity", identity},
                         {"kernel", wanted.kernel},
                         {"ramdisk", wanted.ramdisk},
                         {"most_kernel", wanted.most_kernel},
                         {"most_ramdisk", wanted.most_ramdisk},
                         {"format", wanted.format}};
  if (wanted.entry) request["entry"] = *wanted.entry;
  auto answer = TRY(ask(owner, request, patience_));
  auto fd = TRY(opened(std::move(answer)));
  if (!is_socket(fd.get(), SOCK_SEQPACKET)) return Failed("not a connection that may be passed on");
  return fd;
}

tl::expected<Fd, std::string> FileOpener::start_connector(const Owner& owner, const std::string& path) {
  auto answer = TRY(ask(owner, {{"owner", to_json(owner)}, {"connector", path}}, patience_));
  auto fd = TRY(opened(std::move(answer)));
  if (!is_socket(fd.get(), SOCK_SEQPACKET)) return Failed("not a connection that may be passed on");
  return fd;
}

tl::expected<FileOpener::NewFile, std::string> FileOpener::create(const Owner& owner, const std::string& path,
                                                                  bool replaces) {
  auto answer =
      TRY(ask(owner, {{"owner", to_json(owner)}, {"path", path}, {"create", true}, {"replaces", replaces}}, patience_));
  NewFile file{.fd = {}, .record = {.file = path, .owner = owner, .replaces = replaces}};
  TRY(without_error(answer));
  if (!JsonFields(answer.body).number("inode", file.record.inode).ok()) return Failed("not made");
  file.fd = TRY(opened(std::move(answer)));
  if (!is_file(file.fd.get(), O_WRONLY, false)) return Failed("not a regular file that may be passed on");
  return file;
}

tl::expected<bool, std::string> FileOpener::settle(const SavingRecord& file, Whole if_whole) {
  const auto answer = TRY(ask(file.owner,
                              {{"owner", to_json(file.owner)},
                               {"path", file.file},
                               {"inode", file.inode},
                               {"replaces", file.replaces},
                               {"keep_whole", if_whole == Whole::named}},
                              patience_));
  TRY(without_error(answer));
  bool whole = false;
  if (!JsonFields(answer.body).boolean("whole", whole).ok()) return Failed("not answered");
  return whole;
}

tl::expected<Packet, std::string> FileOpener::ask(const Owner& owner, const nlohmann::json& request,
                                                  std::chrono::milliseconds patience) {
  if (const unsigned self = ::geteuid(); self != 0 && owner.user != self && owner.user != 0) {
    return Failed("this daemon is user " + std::to_string(self) + "'s, and opens no file for user " +
                  std::to_string(owner.user));
  }
  {
    const MutexLock held(lock_);
    stuck_.bury();
    if (!is_master(owner.user, {}, ::geteuid()) && stuck_.full(owner.user))
      return Failed("too many file systems of user " + std::to_string(owner.user) + "'s do not answer");
  }
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return system_error("no socket");
  const Fd ours(ends[0]);
  Fd theirs(ends[1]);
  const Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing) return system_error("cannot open /dev/null");
  if (!send_packet(ours.get(), request)) return Failed("more groups than can be passed on");
  const int descriptors[] = {theirs.get(), nothing.get(), nothing.get()};
  auto process = TRY(spawn(program_, {program_, opener_word}, descriptors));
  theirs = Fd();

  auto answer = answer_of(ours.get(), patience);
  end(owner.user, std::move(process));
  return answer;
}

tl::expected<Packet, std::string> FileOpener::answer_of(int connection, std::chrono::milliseconds patience) {
  pollfd wait{.fd = connection, .events = POLLIN, .revents = 0};
  if (::poll(&wait, 1, static_cast<int>(patience.count())) <= 0) return Failed("its file system does not answer");
  auto answer = receive_packet(connection);
  if (!answer) return Failed("the process that opens it has ended before it answered");
  return std::move(*answer);
}

/// It has nothing left to do. One that waits in the kernel is looked at again at later ends.
void FileOpener::end(unsigned user, Process process) {
  ::pidfd_send_signal(process.pidfd.get(), SIGKILL, nullptr, 0);
  wait_for_end(process.pidfd.get(), longest_death_ms);
  const MutexLock held(lock_);
  stuck_.add(user, std::move(process));
  stuck_.bury();
}

void StuckOpeners::add(unsigned user, Process process) {
  all_.push_back({.user = user, .process = std::move(process)});
}

bool StuckOpeners::full(unsigned user) const {
  return std::ranges::count(all_, user, &One::user) >= static_cast<std::ptrdiff_t>(of_a_user);
}

void StuckOpeners::bury() {
  std::erase_if(all_, [](const One& one) {
    if (!wait_for_end(one.process.pidfd.get(), 0)) return false;
    reap(one.process.pidfd.get());
    return true;
  });
}

}  // namespace cloister::toolstack
