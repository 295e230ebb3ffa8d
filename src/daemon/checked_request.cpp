// The text first, then what it names, then what it asks for: an error in the one is found before those behind it.
#include "daemon/checked_request.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <tuple>

#include "arch/sizes.hpp"
#include "arch/try.hpp"
#include "config/disks.hpp"
#include "host/processors.hpp"
#include "host/whole_file.hpp"
#include "machine/epc/placement.hpp"
#include "plan/boot_files.hpp"
#include "plan/cpu_places.hpp"
#include "plan/images.hpp"
#include "plan/interfaces.hpp"
#include "plan/plan.hpp"
#include "plan/storages.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

namespace fs = std::filesystem;

/// As it was when it was opened: asking again might have to wait for its file system.
u64 length_of(int fd) {
  struct statx status {};
  return ::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE, &status) == 0 ? status.stx_size : 0;
}

/// The files that a request's configuration names, opened and read with the rights of who made it.
class RequestFiles {
 public:
  RequestFiles(FileOpener& opener, const CreateRequest& request, const MachineDescription& machine,
               const DiskUser& user)
      : opener_(opener), request_(request), machine_(machine), user_(user) {}

  /// A dump is read at once: what it describes is a value that the domain keeps.
  tl::expected<std::vector<u8>, std::string> dump(const std::string& name) {
    const auto path = TRY(absolute(name));
    return opener_.read(request_.owner, path, longest_dump);
  }

  tl::expected<Fd, ApiError> kernel(const DomainConfig& config, CheckedFor what, u64 ramdisk_bytes) {
    const FileOpener::Beside beside{
        .memory_mib = config.memory_mib, .ramdisk_bytes = ramdisk_bytes, .cmdline_bytes = config.cmdline.size()};
    const auto path = absolute(config.kernel);
    auto fd = !path                            ? tl::unexpected(path.error())
              : what == CheckedFor::definition ? opener_.open_kernel(request_.owner, *path, beside)
                                               : opener_.open(request_.owner, *path);
    if (fd) return std::move(*fd);
    return unusable(config, "kernel", config.kernel, fd.error());
  }

  tl::expected<Fd, ApiError> ramdisk(const DomainConfig& config) {
    const auto path = absolute(config.ramdisk);
    auto fd = path ? opener_.open(request_.owner, *path) : tl::unexpected(path.error());
    if (!fd) return unusable(config, "ramdisk", config.ramdisk, fd.error());
    if (const u64 bytes = length_of(fd->get()); bytes > config.memory_mib << 20)
      return unusable(config, "ramdisk", config.ramdisk,
                      fmt::format("found {} bytes, which is longer than {} MiB", bytes, config.memory_mib));
    return std::move(*fd);
  }

  /// A definition's disks may be in use: it is for later.
  tl::expected<std::vector<OpenDisk>, ApiError> disks(const DomainConfig& config, CheckedFor what) {
    const bool now = what == CheckedFor::creation || what == CheckedFor::going_on;
    const DiskLock lock = now ? DiskLock::yes : DiskLock::no;
    std::vector<OpenDisk> opened;
    std::vector<std::string> identities;
    for (const DiskConfig& disk : config.disks) {
      if (nbd_socket(disk.path) && what == CheckedFor::definition) continue;
      const auto place = place_of(disk);
      if (!place) return unusable(disk, place.error(), 400);
      DiskBounds bounds{.folder = place->folder};
      if (what == CheckedFor::arrival) {
        if (const std::string why = why_disk_stays(disk); !why.empty()) return unusable(disk, why, 400);
        if (bounds.folder.empty()) return unusable(disk, "it lies in no storage that its source has named", 400);
        bounds.mark = mark_of(disk);
        if (!bounds.mark) return unusable(disk, "its source says nothing of it", 400);
      }
      std::vector<BackingConfig> backing = disk.backing;
      for (BackingConfig& below : backing) {
        auto its_path = absolute(below.path);
        if (!its_path) return unusable(disk, its_path.error(), 400);
        below.path = std::move(*its_path);
      }
      const DiskUse use = disk.read_only ? DiskUse::read : DiskUse::write;
      auto one = opener_.open_disk(request_.owner, place->path, use, lock, disk.format, backing, bounds);
      if (one && lock == DiskLock::yes && user_) {
        if (const std::string mover = user_(one->identity, use); !mover.empty())
          return unusable(disk, who_uses(config, {}, one->identity, place->whole(), mover), 409);
      }
      if (one) {
        identities.push_back(one->identity);
        opened.push_back(std::move(*one));
        continue;
      }
      const DiskError& why = one.error();
      if (why.in_use.empty()) return unusable(disk, why.message, 400);
      const std::string its_path = why.below.empty() ? place->whole() : why.below;
      const std::string who = who_uses(config, identities, why.in_use, its_path, user_ ? user_(why.in_use, {}) : "");
      return unusable(disk, why.below.empty() ? who : "its backing file '" + cut_path(its_path) + "': " + who, 409);
    }
    return opened;
  }

  /// Kernel and ramdisk as the first of these disks says, which are locked.
  tl::expected<void, ApiError> boot_files(const DomainConfig& config, CheckedFor what, OpenImages& images) {
    const auto unusable_disk = [&](const std::string& why) {
      return tl::unexpected(in_config(request_.file, cannot_boot(config, why)));
    };
    const auto place = place_of(config.disks.front());
    if (!place) return unusable_disk(place.error());
    const BootloaderOptions& options = config.bootloader_options;
    auto reader = opener_.start_boot_reader(request_.owner, place->whole(), images.disks.front().identity,
                                            {.kernel = options.kernel,
                                             .ramdisk = options.ramdisk,
                                             .entry = options.entry,
                                             .most_kernel = most_boot_kernel(config),
                                             .most_ramdisk = most_boot_ramdisk(config),
                                             .format = config.disks.front().format});
    if (!reader) return unusable_disk(reader.error());
    images.boot_reader = std::move(*reader);
    if (what != CheckedFor::creation) return {};
    auto files = ask_boot_reader(images.boot_reader.get());
    if (!files) return unusable_disk(files.error());
    images.kernel = std::move(files->kernel);
    images.ramdisk = std::move(files->ramdisk);
    images.boot_cmdline = std::move(files->cmdline);
    return {};
  }

  /// Each ends with the last of who has its connection.
  tl::expected<std::vector<Connections>, ApiError> networks(const DomainConfig& config) {
    std::vector<Connections> connections;
    for (std::size_t i = 0; i < config.interfaces.size(); ++i) {
      const InterfaceConfig& one = config.interfaces[i];
      auto its = one.bridge.empty() ? opener_.start_network(request_.owner, passt_arguments(one)).map(as_connections)
                                    : opener_.open_tap(request_.owner, bridge_port(config, i));
      if (!its) return tl::unexpected(in_config(request_.file, cannot_use(config, i, its.error())));
      connections.push_back(std::move(*its));
    }
    return connections;
  }

 private:
  tl::unexpected<ApiError> unusable(const DiskConfig& disk, const std::string& why, int status) const {
    return tl::unexpected(in_config(request_.file, cannot_use(disk, why), status));
  }
  tl::unexpected<ApiError> unusable(const DomainConfig& config, const char* key, const std::string& name,
                                    const std::string& why) const {
    return tl::unexpected(in_config(
        request_.file, {config.position_of(key), fmt::format("cannot use {} '{}': {}", key, cut_path(name), why)}));
  }
  tl::expected<std::string, std::string> absolute(const std::string& name) const {
    if (fs::path(name).is_relative() && request_.directory.empty())
      return tl::unexpected(std::string("a relative path, without 'directory'"));
    return (fs::path(request_.directory) / name).string();
  }

  tl::expected<DiskPlace, std::string> place_of(const DiskConfig& disk) const {
    if (nbd_socket(disk.path)) return DiskPlace{.path = disk.path};
    if (const auto target = storage_target(disk.path)) return place_on_storage(*target, machine_.storages);
    return absolute(disk.path).map([](std::string path) { return DiskPlace{.path = std::move(path)}; });
  }
  std::optional<DiskMark> mark_of(const DiskConfig& disk) const {
    const auto found = request_.marks.find(disk.vdev);
    return found == request_.marks.end() ? std::nullopt : std::optional(found->second);
  }

  FileOpener& opener_;
  const CreateRequest& request_;
  const MachineDescription& machine_;
  const DiskUser& user_;
};

/// The domain's processor, and whether the configuration can be met on this machine but for how much EPC is free.
tl::expected<ChosenSilicon, ApiError> check(const CreateRequest& request, RequestFiles& files,
                                            const DomainConfig& config, const MachineDescription& machine,
                                            const vmx::Backend& silicon) {
  auto chosen = choose_silicon(
      silicon, config, machine.silicon, [&](const std::string& name) { return files.dump(name); },
      request.host_features);
  if (!chosen) return tl::unexpected(in_config(request.file, chosen.error()));
  const Grants wished = wished_grants(config.epc_frames());
  const auto plan =
      make_plan(silicon, config, package_config(package_values(machine, wished, chosen->features), wished),
                packages_of(wished), chosen->described);
  if (!plan) return tl::unexpected(in_config(request.file, plan.error()));
  if (const auto places = place_vcpus(config, machine, wished, host_processors()); !places)
    return tl::unexpected(in_config(request.file, places.error()));
  return std::move(*chosen);
}

/// The ramdisk first, since a kernel is looked at with what must fit beside it; if neither can be used, the kernel's
/// error counts.
tl::expected<OpenImages, ApiError> open_images(RequestFiles& files, const DomainConfig& config, CheckedFor what) {
  OpenImages images;
  if (config.bootloader) {
    images.disks = TRY(files.disks(config, what));
    // What is on a disk when it is defined does not matter.
    if (what != CheckedFor::definition) TRY(files.boot_files(config, what, images));
    return images;
  }
  tl::expected<Fd, ApiError> ramdisk;
  if (!config.ramdisk.empty()) ramdisk = files.ramdisk(config);
  if (ramdisk && *ramdisk) images.ramdisk_bytes = length_of(ramdisk->get());
  images.kernel = TRY(files.kernel(config, what, images.ramdisk_bytes));
  images.ramdisk = TRY(std::move(ramdisk));
  images.disks = TRY(files.disks(config, what));
  return images;
}

/// Whether the machine had so much EPC for a domain if all of it were free.
tl::expected<void, Diagnostic> check_epc(const DomainConfig& config, const MachineDescription& machine) {
  std::vector<EpcRequest> requests;
  for (const EpcSection& section : config.epc_frames())
    requests.push_back({section.mib * arch::pages_per_mib, section.package});
  if (requests.empty()) return {};
  const MachineEpcSpec spec = epc_spec(machine);
  std::vector<u64> pages(spec.packages);
  for (const MachineSection& section : spec.sections) pages[section.package] += section.frames.pages;
  std::vector<u64> may_have = pages;
  const u64 reserve = machine.epc_in_reserve_mib() * arch::pages_per_mib;
  for (u64& of_package : may_have) of_package -= std::min(of_package, reserve);
  const auto placed = place(requests, may_have, spec.keys);
  if (placed) return {};
  std::string message = placed.error().message;
  if (placed.error().why == EpcRefusal::Why::shortage) {
    for (std::size_t i = 0; i < pages.size(); ++i)
      message += fmt::format("{} package {} has {} in all", i == 0 ? ";" : ",", i, size_text(pages[i]));
    if (reserve != 0) message += fmt::format(", of each of which {} are in reserve", size_text(reserve));
  }
  if (!machine.sgx_off.empty()) message += "; this machine has no EPC: " + machine.sgx_off;
  return tl::unexpected(Diagnostic{config.position_of("epc"), message});
}

/// A text is a file's. What stands before each of its messages, and before each relative path, is no longer than a
/// path.
std::optional<ApiError> too_long(const CreateRequest& request) {
  const std::size_t config = longest_config, path = longest_request_path;
  for (const auto& [name, text, most] :
       {std::tuple{"config", &request.config, config}, std::tuple{"file", &request.file, path},
        std::tuple{"directory", &request.directory, path}}) {
    if (text->size() > most)
      return ApiError{400, fmt::format("'{}': {} bytes, expected {} at most", name, text->size(), most)};
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> OpenImages::identities() const {
  std::vector<std::string> all;
  for (const OpenDisk& disk : disks) {
    all.push_back(disk.identity);
    all.insert(all.end(), disk.below.begin(), disk.below.end());
  }
  return all;
}

tl::expected<CheckedRequest, ApiError> check_request(FileOpener& opener, const CreateRequest& request,
                                                     const MachineDescription& machine, const Processors& processors,
                                                     CheckedFor what, const DiskUser& user) {
  if (auto why = too_long(request)) return tl::unexpected(std::move(*why));
  if (!request.directory.empty() && !fs::path(request.directory).is_absolute())
    return tl::unexpected(ApiError{400, "'directory': expected an absolute path"});
  auto read = read_config(request.config);
  if (!read) return tl::unexpected(in_config(request.file, read.error()));
  RequestFiles files(opener, request, machine, user);
  auto images = TRY(open_images(files, read->config, what));
  const auto chosen = TRY(check(request, files, read->config, machine, processors.any()));
  const auto engine = choose_engine(processors, read->config, machine.engine);
  if (!engine) return tl::unexpected(in_config(request.file, engine.error()));
  if (what == CheckedFor::definition) {
    if (const auto had = check_epc(read->config, machine); !had)
      return tl::unexpected(in_config(request.file, had.error()));
  }
  if (what != CheckedFor::definition) images.interfaces = TRY(files.networks(read->config));
  CheckedRequest checked{.config = std::move(read->config),
                         .images = std::move(images),
                         .engine = *engine,
                         .features = chosen.features,
                         .warnings = {}};
  for (const std::vector<Diagnostic>& warnings : {read->warnings, chosen.warnings}) {
    for (const Diagnostic& warning : warnings) checked.warnings.push_back(format(request.file, warning));
  }
  return checked;
}

}  // namespace cloister::toolstack
