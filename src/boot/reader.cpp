// The process that stays is asked by packets whose bytes it does not look at, and forks for each. What the fork has to
// say it says itself; only its end is the parent's to tell.
#include "boot/reader.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arch/try.hpp"
#include "boot/reader_limits.hpp"
#include "host/lone_process.hpp"
#include "host/memfd.hpp"
#include "host/nbd_server.hpp"
#include "host/packet.hpp"
#include "host/pidfd.hpp"
#include "hypervisor/devices/nbd_disk.hpp"

namespace cloister::boot {

namespace {

using toolstack::send_packet;

constexpr int connection_number = lone_connection, disk_number = lone_connection + 1;  // in the new process

class FileDisk final : public Disk {
 public:
  explicit FileDisk(int fd) : fd_(fd) {
    const off_t end = ::lseek(fd, 0, SEEK_END);
    bytes_ = end > 0 ? static_cast<u64>(end) : 0;
  }
  u64 bytes() const override { return bytes_; }
  bool read(u64 offset, std::span<u8> to) override {
    if (offset > bytes_ || to.size() > bytes_ - offset) return false;
    while (!to.empty()) {
      const ssize_t got = ::pread(fd_, to.data(), to.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      to = to.subspan(static_cast<std::size_t>(got));
      offset += static_cast<u64>(got);
    }
    return true;
  }

 private:
  const int fd_;
  u64 bytes_ = 0;
};

/// What a server makes of another format.
class ServedDisk final : public Disk {
 public:
  explicit ServedDisk(std::shared_ptr<hypervisor::NbdDisk> disk) : disk_(std::move(disk)) {}
  u64 bytes() const override { return disk_->bytes(); }
  bool read(u64 offset, std::span<u8> to) override {
    return offset <= bytes() && to.size() <= bytes() - offset && disk_->read(offset, std::as_writable_bytes(to));
  }

 private:
  const std::shared_ptr<hypervisor::NbdDisk> disk_;
};

/// Files of the disk, one behind the other, in memory that nobody changes any more.
tl::expected<Fd, std::string> memory_of(ExtFiles& files, std::span<const std::string> paths, u64 most) {
  Fd memory(::memfd_create("cloister-boot", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) return tl::unexpected(std::string("no memory for it"));
  u64 filled = 0;
  for (const std::string& path : paths) {
    auto copied = files.copy(path, most - filled, [&](std::span<const u8> bytes) {
      filled += bytes.size();
      return toolstack::write_all(memory.get(), bytes);
    });
    if (!copied) return tl::unexpected(path + ": " + copied.error());
  }
  constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (::lseek(memory.get(), 0, SEEK_SET) != 0 || ::fcntl(memory.get(), F_ADD_SEALS, seals) != 0)
    return tl::unexpected(std::string("no memory for it"));
  return memory;
}

/// `server`: of what is not raw.
tl::expected<std::unique_ptr<Disk>, std::string> disk_to_look_at(Fd server) {
  if (!server) return std::make_unique<FileDisk>(disk_number);
  auto connection = TRY(toolstack::receive_nbd_connection(server));
  return std::make_unique<ServedDisk>(TRY(hypervisor::NbdDisk::create(std::move(connection), std::move(server), true)));
}

tl::expected<void, std::string> look(const Wanted& wanted, Fd server) {
  const auto opened = TRY(disk_to_look_at(std::move(server)));
  Disk& disk = *opened;
  const Choice choice = TRY(choose(disk, wanted));
  const Fd kernel = TRY(memory_of(*choice.files, std::span(&choice.kernel, 1), wanted.most_kernel));
  Fd ramdisk;
  if (!choice.ramdisks.empty()) ramdisk = TRY(memory_of(*choice.files, choice.ramdisks, wanted.most_ramdisk));
  std::string names;
  for (const std::string& path : choice.ramdisks) names.append(names.empty() ? "" : " ").append(path);
  const int fds[] = {kernel.get(), ramdisk.get()};
  if (!send_packet(connection_number, {{"kernel", choice.kernel}, {"ramdisk", names}, {"cmdline", choice.cmdline}},
                   std::span(fds).first(ramdisk ? 2 : 1)))
    return tl::unexpected(std::string("what it says cannot be sent"));
  return {};
}

/// Whoever asked gets an answer in any case, by this process or by its parent.
[[noreturn]] void look_and_end(const Wanted& wanted, Fd server) {
  auto done = enter_boot_limits();
  if (done) done = look(wanted, std::move(server));
  const bool answered = done || send_packet(connection_number, {{"error", done.error()}});
  ::_exit(answered ? 0 : 1);
}

/// False: nobody asks any more.
bool serve_one(const Wanted& wanted) {
  Fd server;
  if (wanted.format != "raw") {
    const Fd image(::fcntl(disk_number, F_DUPFD_CLOEXEC, 0));
    auto started = toolstack::serve_image(image, wanted.format, true);
    if (!started) return send_packet(connection_number, {{"error", started.error()}}).has_value();
    server = std::move(*started);
  }
  const pid_t child = ::fork();
  if (child == 0) look_and_end(wanted, std::move(server));
  const Fd its_end(child < 0 ? -1 : ::pidfd_open(child, 0));
  if (!its_end) {
    if (child > 0) ::kill(child, SIGKILL), ::waitpid(child, nullptr, 0);
    return send_packet(connection_number, {{"error", "no process that looks at it"}}).has_value();
  }
  pollfd waits[] = {{.fd = its_end.get(), .events = POLLIN, .revents = 0},
                    {.fd = connection_number, .events = POLLRDHUP, .revents = 0}};
  int ready;
  while ((ready = ::poll(waits, 2, boot_patience_ms)) < 0 && errno == EINTR) {
  }
  if (waits[0].revents == 0) ::kill(child, SIGKILL);
  if (ready > 0 && waits[0].revents == 0) return false;
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  const char* const why = ready == 0 ? "it takes too long to look at it"
                          : WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU
                              ? "it takes too much time to look at it"
                              : "the process that looks at it has died of what is in it";
  return send_packet(connection_number, {{"error", why}}).has_value();
}

/// Until nobody asks any more.
void serve(const Wanted& wanted) {
  const auto ready = give_up_boot_privileges();
  for (char any = 0;;) {
    const ssize_t got = ::recv(connection_number, &any, sizeof any, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    const bool goes_on =
        ready ? serve_one(wanted) : send_packet(connection_number, {{"error", ready.error()}}).has_value();
    if (!goes_on) return;
  }
}

}  // namespace

tl::expected<Fd, std::string> start_boot_reader(const Fd& disk, const Wanted& wanted) {
  const int given[] = {disk.get()};
  return start_lone_process("cloister-boot", given, [&] { serve(wanted); });
}

}  // namespace cloister::boot
