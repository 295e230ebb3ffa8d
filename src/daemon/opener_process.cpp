// The opener's half. It is a program of its own from exec() on: nothing of the daemon's memory and descriptors is in
// it when it becomes the owner.
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arch/try.hpp"
#include "boot/reader.hpp"
#include "daemon/opener.hpp"
#include "daemon/opener_disks.hpp"
#include "daemon/opener_paths.hpp"
#include "daemon/opener_rights.hpp"
#include "host/memfd.hpp"
#include "host/packet.hpp"
#include "host/partial_file.hpp"
#include "host/passt.hpp"
#include "host/tap_interface.hpp"
#include "host/vsock_connector.hpp"
#include "host/whole_file.hpp"
#include "platform/memory_map.hpp"
#include "platform/pvh.hpp"
#include "platform/unpack.hpp"
#include "stream/sealing.hpp"
#include "text/hex.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

constexpr int to_daemon = STDIN_FILENO;
/// Of a file that is digested.
constexpr std::size_t longest_piece = 256 << 10;

using Failed = tl::unexpected<std::string>;
using Done = tl::expected<void, std::string>;

Failed failed(const char* what) { return Failed(std::string(what) + ": " + std::strerror(errno)); }

tl::expected<Fd, std::string> open_regular(const std::string& path) {
  auto fd = TRY(open_path(path, O_RDONLY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return Failed(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return Failed(not_regular);
  return fd;
}

/// What is answered beside the file's descriptor.
struct Opened {
  Fd fd;
  nlohmann::json said = {{"ok", true}};
  std::vector<Fd> more{};
};

tl::expected<PartialFile, std::string> place_of(const std::string& path) {
  if (!path.starts_with('/')) return Failed("not an absolute path");
  return PartialFile::at(path);
}

bool was_saved(int fd) {
  std::array<u8, stream::seal_magic.size()> start{};
  return ::pread(fd, start.data(), start.size(), 0) == ssize_t{start.size()} && start == stream::seal_magic;
}

/// What is written to it is on the disk when a write returns.
tl::expected<Opened, std::string> create_file(const std::string& path, PartialFile::MayGo may_go) {
  const PartialFile file = TRY(place_of(path));
  Opened made{.fd = TRY(file.create(O_DSYNC | O_NOCTTY, may_go))};
  struct stat status {};
  if (::fstat(made.fd.get(), &status) != 0) return Failed(std::strerror(errno));
  made.said["inode"] = u64{status.st_ino};
  return made;
}

bool is_whole(int fd, u64 bytes) {
  std::array<u8, stream::seal_end_bytes> end{};
  return bytes > end.size() &&
         ::pread(fd, end.data(), end.size(), static_cast<off_t>(bytes - end.size())) == ssize_t{end.size()} &&
         stream::seal_ends_with(end);
}

/// What has its place now stays.
tl::expected<Opened, std::string> end_file(const std::string& path, u64 inode, bool keep_whole,
                                           PartialFile::MayGo may_go) {
  const PartialFile file = TRY(place_of(path));
  const auto same = [&](const struct stat& status) { return u64{status.st_ino} == inode; };
  Opened ended;
  struct stat status {};
  const Fd fd = file.open();
  if (!fd && errno != ENOENT) return Failed(std::strerror(errno));
  if (!fd) {
    // An earlier try may have got as far as that.
    ended.said["whole"] = keep_whole && ::lstat(path.c_str(), &status) == 0 && same(status);
    return ended;
  }
  if (::fstat(fd.get(), &status) != 0) return Failed(std::strerror(errno));
  const bool whole = same(status) && keep_whole && is_whole(fd.get(), static_cast<u64>(status.st_size));
  ended.said["whole"] = whole;
  if (whole) TRY(file.finish(may_go));
  if (!whole && same(status)) TRY(file.remove());
  return ended;
}

tl::expected<Fd, std::string> beginning(int fd, u64 most) {
  std::vector<u8> bytes(most);
  std::size_t filled = 0;
  for (std::size_t got = 1; got != 0 && filled < most; filled += got)
    got = TRY(read_some(fd, std::span(bytes).subspan(filled)));
  bytes.resize(filled);
  Fd memory = sealed_memfd("cloister-file", bytes);
  if (!memory) return Failed("no memory for it");
  return memory;
}

tl::expected<Fd, std::string> contents(int fd, u64 most) {
  const auto bytes = TRY(read_within(fd, most));
  Fd memory = sealed_memfd("cloister-file", bytes);
  if (!memory) return Failed("no memory for it");
  return memory;
}

/// A piece at a time: it may be as large as somebody likes.
tl::expected<Opened, std::string> digest(int fd, u64 most) {
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  const std::unique_ptr<EVP_MD_CTX, Free> context(EVP_MD_CTX_new());
  std::array<u8, SHA256_DIGEST_LENGTH> value;
  std::vector<u8> piece(longest_piece);
  if (context == nullptr || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) return Failed("no digest");
  u64 bytes = 0;
  while (const std::size_t got = TRY(read_some(fd, piece))) {
    bytes += got;
    if (bytes > most) return Failed(fmt::format("it has more than {} bytes", most));
    if (EVP_DigestUpdate(context.get(), piece.data(), got) != 1) return Failed("no digest");
  }
  if (EVP_DigestFinal_ex(context.get(), value.data(), nullptr) != 1) return Failed("no digest");
  Opened told;
  told.said = {{"sha256", in_hex(value)}, {"bytes", bytes}};
  return told;
}

/// It may take as much memory as somebody likes: where there is too little, this process goes, and no other (proc(5)).
void go_first() {
  const Fd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  constexpr std::string_view most = "1000";
  if (score && ::write(score.get(), most.data(), most.size()) < 0) return;  // it is as likely as others
}

/// Whether a guest can be started from it. Whoever reads it later begins at its start. Of the memory map only what lies
/// below 3 GiB counts, which is the same on every processor.
Done look_into_kernel(int fd, const FileOpener::Beside& beside) {
  go_first();
  const auto bytes = TRY(read_within(fd, platform::max_unpacked_bytes));
  const auto kernel = TRY(platform::read_kernel(bytes));
  constexpr unsigned most_bits = 52;
  const auto map = TRY(platform::make_memory_map(beside.memory_mib << 20, 0, most_bits));
  TRY(platform::place_pvh(kernel, beside.ramdisk_bytes, beside.cmdline_bytes, map));
  if (::lseek(fd, 0, SEEK_SET) != 0) return failed("lseek");
  return {};
}

tl::expected<Opened, std::string> serve(const nlohmann::json& request) {
  std::string path;
  u64 most = 0, first = 0, inode = 0, digested = 0;
  JsonFields fields(request);
  fields.text("path", path);
  FileOpener::Beside beside;
  const bool kernel = fields.has("memory_mib");
  const bool makes = fields.has("create"), ends = fields.has("inode");
  bool keep_whole = false, replaces = false;
  if (fields.has("replaces")) fields.boolean("replaces", replaces);
  if (fields.has("most")) fields.number("most", most);
  if (fields.has("digest")) fields.number("digest", digested, longest_own);
  if (fields.has("beginning")) fields.number("beginning", first, longest_own);
  if (ends) fields.number("inode", inode).boolean("keep_whole", keep_whole);
  if (kernel) {
    fields.number("memory_mib", beside.memory_mib);
    fields.number("ramdisk_bytes", beside.ramdisk_bytes);
    fields.number("cmdline_bytes", beside.cmdline_bytes);
  }
  if (!fields.has("owner")) fields.fail("'owner' is missing");
  if (!fields.ok()) return Failed(fields.error());
  const auto owner = TRY(read_owner(request["owner"]));
  if (auto done = become(owner); !done) return Failed("cannot take on its owner's rights: " + done.error());
  const PartialFile::MayGo may_go = replaces ? was_saved : nullptr;
  if (makes) return create_file(path, may_go);
  if (ends) return end_file(path, inode, keep_whole, may_go);
  auto fd = TRY(open_regular(path));
  if (kernel) {
    TRY(look_into_kernel(fd.get(), beside));
  }
  if (digested != 0) return digest(fd.get(), digested);
  if (fields.has("most")) fd = TRY(contents(fd.get(), most));
  if (fields.has("beginning")) fd = TRY(beginning(fd.get(), first));
  return Opened{.fd = std::move(fd)};
}

/// passt itself takes another user on where it is started as root, for which nothing would be left to it.
tl::expected<Owner, std::string> network_owner(Owner owner) {
  if (owner.user != 0 || ::geteuid() != 0) return owner;
  const passwd* const nobody = ::getpwnam("nobody");
  if (nobody == nullptr) return Failed("there is no user 'nobody'");
  return Owner{.user = nobody->pw_uid, .group = nobody->pw_gid, .groups = {}};
}

tl::expected<Opened, std::string> serve_network(const nlohmann::json& request) {
  std::vector<std::string> arguments;
  JsonFields fields(request);
  for (const nlohmann::json& one : fields.list("network")) {
    if (!one.is_string()) return Failed("'network': expected strings");
    arguments.push_back(one.get<std::string>());
  }
  if (!fields.has("owner")) fields.fail("'owner' is missing");
  if (!fields.ok()) return Failed(fields.error());
  auto owner = TRY(read_owner(request["owner"]));
  owner = TRY(network_owner(std::move(owner)));
  if (auto done = become(owner); !done) return Failed("cannot take on its owner's rights: " + done.error());
  return Opened{.fd = TRY(start_passt(arguments))};
}

/// It stays root, with nothing but the right to administer the network.
tl::expected<Opened, std::string> serve_bridge(const nlohmann::json& request) {
  BridgePort port{};
  std::string mac;
  JsonFields fields(request);
  fields.text("bridge", port.bridge).text("name", port.name).text("mac", mac).number("queues", port.queues);
  if (!fields.has("owner")) fields.fail("'owner' is missing");
  if (!fields.ok()) return Failed(fields.error());
  const auto owner = TRY(read_owner(request["owner"]));
  if (owner.user != 0) return Failed("a bridge is for root's domains alone");
  if (!from_hex(mac, port.guest_mac)) return Failed("'mac': expected six bytes");
  if (port.queues == 0 || port.queues > most_interface_queues) return Failed("'queues': expected a few");
  TRY(keep_network_rights());
  auto queues = TRY(open_tap(port));
  Opened opened{.fd = std::move(queues.front())};
  opened.more.assign(std::make_move_iterator(queues.begin() + 1), std::make_move_iterator(queues.end()));
  return opened;
}

tl::expected<Opened, std::string> serve_vsock(const nlohmann::json& request) {
  std::string path;
  JsonFields fields(request);
  fields.text("connector", path);
  if (!fields.has("owner")) fields.fail("'owner' is missing");
  if (!fields.ok()) return Failed(fields.error());
  if (!path.starts_with('/')) return Failed("not an absolute path");
  const auto owner = TRY(read_owner(request["owner"]));
  if (auto done = become(owner); !done) return Failed("cannot take on its owner's rights: " + done.error());
  return Opened{.fd = TRY(start_connector(path))};
}

tl::expected<Opened, std::string> serve_boot(const nlohmann::json& request) {
  std::string path, identity;
  boot::Wanted wanted;
  u64 entry = 0;
  JsonFields fields(request);
  fields.text("boot", path).text("identity", identity).text("kernel", wanted.kernel).text("ramdisk", wanted.ramdisk);
  fields.number("most_kernel", wanted.most_kernel).number("most_ramdisk", wanted.most_ramdisk);
  fields.text("format", wanted.format);
  if (fields.has("entry")) fields.number("entry", entry, ~u32{0});
  if (fields.has("entry")) wanted.entry = static_cast<u32>(entry);
  if (!fields.has("owner")) fields.fail("'owner' is missing");
  if (!fields.ok()) return Failed(fields.error());
  const auto owner = TRY(read_owner(request["owner"]));
  if (auto done = become(owner); !done) return Failed("cannot take on its owner's rights: " + done.error());
  const Fd disk = TRY(open_path(path, O_RDONLY));
  if (const auto checked = check_disk(disk.get()); !checked) return Failed(checked.error().message);
  if (identity_of_disk(disk.get()) != identity) return Failed("another file has its name meanwhile");
  return Opened{.fd = TRY(boot::start_boot_reader(disk, wanted))};
}

tl::expected<Opened, std::string> serve_any(const nlohmann::json& request) {
  if (request.contains("boot")) return serve_boot(request);
  if (request.contains("network")) return serve_network(request);
  if (request.contains("bridge")) return serve_bridge(request);
  if (request.contains("connector")) return serve_vsock(request);
  return serve(request);
}

}  // namespace

int run_opener() {
  const auto request = receive_packet(to_daemon);
  if (!request) return 1;
  if (request->body.contains("writes")) return answer_disk(request->body, to_daemon);
  const auto opened = serve_any(request->body);
  if (!opened) return send_packet(to_daemon, {{"error", opened.error()}}) ? 0 : 1;
  std::vector<int> fds;
  if (opened->fd) fds.push_back(opened->fd.get());
  for (const Fd& one : opened->more) fds.push_back(one.get());
  return send_packet(to_daemon, opened->said, fds) ? 0 : 1;
}

}  // namespace cloister::toolstack
