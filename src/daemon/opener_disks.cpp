// One process opens an image and its backing files, locks them, and starts what serves them.
#include "daemon/opener_disks.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "arch/try.hpp"
#include "config/disks.hpp"
#include "daemon/opener_paths.hpp"
#include "daemon/opener_rights.hpp"
#include "host/disk_image.hpp"
#include "host/nbd_server.hpp"
#include "host/owner.hpp"
#include "host/packet.hpp"
#include "text/json_fields.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

using Checked = tl::expected<void, std::string>;
constexpr u64 smallest_sector = 512;

tl::unexpected<std::string> disk_refused(std::string why) { return tl::unexpected(std::move(why)); }

/// What has been opened, and what it is.
struct Served {
  Fd fd;
  std::string identity;
  std::vector<std::string> below = {};  ///< what its backing files are
};

tl::expected<std::vector<BackingImage>, DiskError> open_backing(const nlohmann::json& request, bool lock) {
  std::vector<BackingImage> opened;
  JsonFields fields(request);
  for (const nlohmann::json& one : fields.list("backing")) {
    BackingImage image;
    JsonFields own(one);
    own.text("path", image.path).text("format", image.format);
    if (!own.ok()) return tl::unexpected(DiskError{own.error()});
    const auto failed = [&](const std::string& why, const std::string& in_use = {}) {
      return tl::unexpected(DiskError{"its backing file '" + cut_path(image.path) + "': " + why, in_use, image.path});
    };
    auto fd = open_path(image.path, O_RDONLY);
    if (!fd) return failed(fd.error());
    auto done = check_disk(fd->get());
    if (done && lock) done = lock_disk_soon(fd->get(), DiskUse::read);
    if (!done) return failed(done.error().message, done.error().in_use);
    image.file = std::move(*fd);
    opened.push_back(std::move(image));
  }
  if (!fields.ok()) return tl::unexpected(DiskError{fields.error()});
  return opened;
}

/// It is the file that somebody else has open, and not only one of its name.
Checked check_mark(int fd, const DiskMark& mark) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return disk_refused(std::string("it cannot be looked at: ") + std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return disk_refused(not_regular);
  if (!TRY(has_mark(fd, mark.byte)))
    return disk_refused("another file of that name than at its source, or one whose locks are not seen from there");
  const u64 bytes = static_cast<u64>(status.st_size);
  if (bytes < mark.bytes || bytes - mark.bytes >= smallest_sector)
    return disk_refused(fmt::format("found {} bytes, expected {}, which its source has", bytes, mark.bytes));
  return {};
}

tl::expected<Served, DiskError> serve_disk(const nlohmann::json& request) {
  std::string path, folder, format;
  bool writes = false, lock = false;
  std::optional<DiskMark> mark;
  JsonFields fields(request);
  fields.text("path", path).boolean("writes", writes).boolean("lock", lock).text("format", format);
  if (fields.has("folder")) fields.text("folder", folder);
  if (fields.has("mark")) fields.number("mark", mark.emplace().byte).number("mark_bytes", mark->bytes);
  if (!fields.has("owner")) fields.fail("'owner' is missing");
  if (!fields.ok()) return tl::unexpected(DiskError{fields.error()});
  const auto owner = read_owner(request["owner"]);
  if (!owner) return tl::unexpected(DiskError{owner.error()});
  if (auto done = become(*owner); !done)
    return tl::unexpected(DiskError{"cannot take on its owner's rights: " + done.error()});
  if (const auto socket = nbd_socket(path)) {
    auto server = connect_nbd_server(*socket);
    if (!server) return tl::unexpected(DiskError{server.error()});
    return Served{std::move(*server), {}};
  }
  const auto open = [&](int access) {
    return folder.empty() ? open_path(path, access) : open_path_below(folder, path, access);
  };
  auto fd = open(writes ? O_RDWR : O_RDONLY);
  if (!fd) {
    const auto reading = writes ? open(O_RDONLY) : tl::expected<Fd, std::string>(tl::unexpect, "");
    const bool device = reading && is_read_only_device(reading->get());
    return tl::unexpected(DiskError{device ? read_only_device : fd.error()});
  }
  TRY(check_disk(fd->get()));
  if (const auto same = mark ? check_mark(fd->get(), *mark) : Checked(); !same)
    return tl::unexpected(DiskError{same.error()});
  const DiskUse use = writes ? DiskUse::write : DiskUse::read;
  if (lock) TRY(format == "raw" ? lock_disk(fd->get(), use) : lock_disk_soon(fd->get(), use));
  std::string identity = identity_of_disk(fd->get());
  const auto backing = TRY(open_backing(request, lock));
  std::vector<std::string> below;
  for (const BackingImage& one : backing) below.push_back(identity_of_disk(one.file.get()));
  if (lock && format != "raw") {
    auto server = serve_image(*fd, format, !writes, path, backing);
    if (!server) return tl::unexpected(DiskError{server.error()});
    return Served{std::move(*server), std::move(identity), std::move(below)};
  }
  return Served{std::move(*fd), std::move(identity), std::move(below)};
}

}  // namespace

int answer_disk(const nlohmann::json& request, int connection) {
  const auto disk = serve_disk(request);
  if (!disk) {
    const nlohmann::json why = {
        {"error", disk.error().message}, {"in_use", disk.error().in_use}, {"below_in_use", disk.error().below}};
    return send_packet(connection, why) ? 0 : 1;
  }
  const int opened[] = {disk->fd.get()};
  return send_packet(connection, {{"identity", disk->identity}, {"below", disk->below}}, opened) ? 0 : 1;
}

}  // namespace cloister::toolstack
