// The image's path is that of its descriptor, /proc/self/fd/N: qemu-nbd has no other way to take one. Its locks are
// ours, and it takes none of its own. Its listening socket has a name that the kernel chose and a queue for one: ours
// is in it before qemu-nbd runs, or else somebody else's, which is seen.
#include "host/nbd_server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

#include "arch/try.hpp"
#include "host/confined.hpp"
#include "host/files.hpp"
#include "host/image_header.hpp"
#include "host/packet.hpp"
#include "host/pidfd.hpp"
#include "host/unix_socket.hpp"
#include "text/json_text.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

using NbdFailed = tl::unexpected<std::string>;

constexpr const char qemu_nbd[] = "/usr/bin/qemu-nbd";
constexpr int nbd_start_ms = 20'000, nbd_end_ms = 30'000;
/// In qemu-nbd; before it is the listening socket, 3 as systemd has it, and behind it are its backing files.
constexpr int image_number = 4;

NbdFailed nbd_failed(const std::string& why) { return NbdFailed("qemu-nbd: " + why); }
NbdFailed nbd_failed() { return nbd_failed(std::strerror(errno)); }

struct Sockets {
  Fd listening{}, client{};
};

tl::expected<Sockets, std::string> queued_client() {
  constexpr int tries = 20;
  for (int i = 0; i < tries; ++i) {
    Sockets pair{.listening = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
                 .client = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0))};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    socklen_t length = sizeof(sa_family_t);
    if (!pair.listening || !pair.client || ::bind(pair.listening.get(), any, length) != 0) return nbd_failed();
    length = sizeof address;
    if (::getsockname(pair.listening.get(), any, &length) != 0 || ::listen(pair.listening.get(), 0) != 0)
      return nbd_failed();
    if (::connect(pair.client.get(), any, length) == 0) return pair;
    if (errno != EAGAIN) return nbd_failed();
  }
  return nbd_failed("others connect to it");
}

/// In the process that has it at that number. QEMU's driver of files takes no device.
nlohmann::json image_node(int number, const std::string& format, bool read_only) {
  struct stat status {};
  const bool device = ::fstat(number, &status) == 0 && S_ISBLK(status.st_mode);
  const nlohmann::json file{{"driver", device ? "host_device" : "file"},
                            {"filename", "/proc/self/fd/" + std::to_string(number)},
                            {"locking", "off"},
                            {"discard", "unmap"}};
  nlohmann::json node{{"driver", format}, {"read-only", read_only}, {"discard", "unmap"}, {"file", file}};
  if (format != "raw") node["backing"] = nullptr;
  return node;
}

/// Each names its backing file's descriptor, so that no header's name is looked at.
std::string image_words(const std::string& format, bool read_only, BackingImages backing) {
  nlohmann::json below = nullptr;
  for (std::size_t i = backing.size(); i-- > 0;) {
    nlohmann::json node = image_node(image_number + 1 + static_cast<int>(i), backing[i].format, true);
    if (!below.is_null()) node["backing"] = std::move(below);
    below = std::move(node);
  }
  nlohmann::json node = image_node(image_number, format, read_only);
  if (!below.is_null()) node["backing"] = std::move(below);
  return "json:" + json_text<nlohmann::json>(node);
}

/// What is served.
struct ServedImage {
  const Fd& file;
  const std::string& format;
  bool read_only;
  BackingImages backing;
};

[[noreturn]] void become_server(const Sockets& sockets, const ServedImage& image, const Fd& says) {
  constexpr int high = 64;
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  std::vector<int> copies{nothing, nothing, says.get(), sockets.listening.get(), image.file.get()};
  for (const BackingImage& one : image.backing) copies.push_back(one.file.get());
  for (int& one : copies) one = ::fcntl(one, F_DUPFD_CLOEXEC, high);
  for (std::size_t i = 0; i < copies.size(); ++i) ::dup2(copies[i], static_cast<int>(i));
  ::close_range(static_cast<unsigned>(copies.size()), ~0U, 0);
  std::vector<int> only_read;
  for (std::size_t i = 0; i < image.backing.size(); ++i) only_read.push_back(image_number + 1 + static_cast<int>(i));
  if (const auto confined = confine_to_file(image_number, only_read); !confined) {
    ::dprintf(STDERR_FILENO, "%s\n", confined.error().c_str());
    ::_exit(1);
  }
  std::vector<std::string> words{"qemu-nbd", "--discard=unmap"};
  if (image.read_only) words.emplace_back("--read-only");
  words.push_back(image_words(image.format, image.read_only, image.backing));
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::string pid = "LISTEN_PID=" + std::to_string(::getpid()), count = "LISTEN_FDS=1";
  char* const environment[] = {pid.data(), count.data(), nullptr};
  ::execve(qemu_nbd, argv.data(), environment);
  ::dprintf(STDERR_FILENO, "%s; Debian's package is called qemu-utils\n", std::strerror(errno));
  ::_exit(1);
}

/// The last line that it said of what went wrong, without its own name.
std::string words_of_server(const Fd& said) {
  std::array<char, 4096> text{};
  const ssize_t bytes = ::read(said.get(), text.data(), text.size());
  std::string_view line(text.data(), bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
  while (line.ends_with('\n')) line.remove_suffix(1);
  if (const std::size_t last = line.rfind('\n'); last != std::string_view::npos) line.remove_prefix(last + 1);
  constexpr std::string_view of_file = "': ";
  if (const std::size_t name = line.rfind("/proc/self/fd/"); name != std::string_view::npos) {
    if (const std::size_t end = line.find(of_file, name); end != std::string_view::npos)
      line.remove_prefix(end + of_file.size());
  }
  if (line.starts_with("qemu-nbd: ")) line.remove_prefix(std::strlen("qemu-nbd: "));
  return line.empty() ? "it ended" : std::string(line);
}

struct Child {
  pid_t pid = -1;
  Fd end{};
};

void end_server(const Child& server) {
  pollfd wait{.fd = server.end.get(), .events = POLLIN, .revents = 0};
  ::kill(server.pid, SIGTERM);
  if (::poll(&wait, 1, nbd_end_ms) <= 0) ::kill(server.pid, SIGKILL);
  ::waitpid(server.pid, nullptr, 0);
}

/// Its greeting comes when it has the image.
tl::expected<void, std::string> wait_for_server(const Child& server, const Fd& client, const Fd& said) {
  pollfd waits[] = {{.fd = client.get(), .events = POLLIN, .revents = 0},
                    {.fd = server.end.get(), .events = POLLIN, .revents = 0}};
  int ready;
  while ((ready = ::poll(waits, 2, nbd_start_ms)) < 0 && errno == EINTR) {
  }
  char first = 0;
  if (ready > 0 && waits[1].revents == 0 && ::recv(client.get(), &first, 1, MSG_PEEK) == 1) return {};
  return nbd_failed(ready == 0 ? "it does not start" : words_of_server(said));
}

void close_all_but(int one, int other) {
  const unsigned low = static_cast<unsigned>(std::min(one, other)), high = static_cast<unsigned>(std::max(one, other));
  if (low != 0) ::close_range(0, low - 1, 0);
  if (high - low > 1) ::close_range(low + 1, high - 1, 0);
  ::close_range(high + 1, ~0U, 0);
}

[[noreturn]] void become_keeper(const Fd& connection, const ServedImage& image) {
  ::setsid();
  ::prctl(PR_SET_NAME, "cloister-nbd");
  for (const int one : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) ::signal(one, one == SIGPIPE ? SIG_IGN : SIG_DFL);
  const int control = connection.get();
  const auto refuse = [&](const std::string& why) {
    (void)send_packet(control, {{"error", why}});
    ::_exit(1);
  };
  auto sockets = queued_client();
  int ends[2];
  if (!sockets) refuse(sockets.error());
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) refuse(std::strerror(errno));
  Fd said(ends[0]), says(ends[1]);
  Child server{.pid = ::fork()};
  if (server.pid == 0) become_server(*sockets, image, says);
  if (server.pid > 0) server.end = Fd(::pidfd_open(server.pid, 0));
  if (!server.end) refuse("no process for it");
  says = Fd();
  if (const auto serves = wait_for_server(server, sockets->client, said); !serves) {
    ::kill(server.pid, SIGKILL);
    ::waitpid(server.pid, nullptr, 0);
    refuse(serves.error());
  }
  ::fcntl(sockets->client.get(), F_SETFL, 0);
  const int client[] = {sockets->client.get()};
  const bool told = send_packet(control, {{"ok", true}}) && send_packet(control, {{"ok", true}}, client);
  // What is open here would keep others' connections and locks.
  close_all_but(control, server.end.get());
  pollfd waits[] = {{.fd = control, .events = POLLIN, .revents = 0},
                    {.fd = server.end.get(), .events = POLLIN, .revents = 0}};
  while (told && ::poll(waits, 2, -1) < 0 && errno == EINTR) {
  }
  end_server(server);
  ::_exit(0);
}

}  // namespace

tl::expected<Fd, std::string> start_nbd_server(const Fd& image, const std::string& format, bool read_only,
                                               BackingImages backing) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return nbd_failed();
  Fd ours(ends[0]), theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return nbd_failed();
  if (child == 0) {
    // A process of its own, which nobody waits for: its parent ends at once.
    ours = Fd();
    if (::fork() != 0) ::_exit(0);
    become_keeper(theirs, ServedImage{.file = image, .format = format, .read_only = read_only, .backing = backing});
  }
  ::waitpid(child, nullptr, 0);
  theirs = Fd();
  const auto answer = receive_packet(ours.get());
  if (!answer) return nbd_failed(name_of(answer.error()));
  if (answer->body.contains("error")) return NbdFailed(answer->body.value("error", std::string("it ended")));
  return ours;
}

tl::expected<Fd, std::string> serve_image(const Fd& image, const std::string& format, bool read_only,
                                          const std::string& path, BackingImages backing) {
  TRY(check_image(image, format, path, backing.empty() ? "" : backing.front().path));
  for (std::size_t i = 0; i < backing.size(); ++i) {
    const std::string next = i + 1 == backing.size() ? "" : backing[i + 1].path;
    const auto checked = check_image(backing[i].file, backing[i].format, backing[i].path, next);
    if (!checked) return NbdFailed("its backing file '" + cut_path(backing[i].path) + "': " + checked.error());
  }
  return start_nbd_server(image, format, read_only, backing);
}

tl::expected<Fd, std::string> connect_nbd_server(const std::string& path) {
  int ends[2];
  const Fd connection = connect_to(path, SOCK_STREAM);
  if (!connection) return NbdFailed(std::strerror(errno));
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return NbdFailed(std::strerror(errno));
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  const int fds[] = {connection.get()};
  if (!send_packet(theirs.get(), {{"ok", true}}, fds)) return NbdFailed("it cannot be passed on");
  return ours;
}

tl::expected<Fd, std::string> receive_nbd_connection(const Fd& server) {
  auto packet = receive_packet(server.get());
  if (!packet || packet->descriptors.size() != 1) return nbd_failed("there is no connection to it");
  return std::move(packet->descriptors.front());
}

}  // namespace cloister::toolstack
