// A creation in steps, each of which can fail, and be the daemon's last:
//
//   1. the configuration is read and checked, its files are opened, EPC is granted, and the record says "creating"
//   2. memory and sockets are made, the launching connection is there, and the VMM starts
//   3. the VMM has laid out the domain ("hello"), the record says "running"
//   4. "run"
//
// Until 4 the VMM exits when the launching connection ends, so whoever reads the record after this daemon's death
// knows: "creating" has no guest, "running" may have one.
#include <fcntl.h>
#include <fmt/chrono.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "daemon/domains.hpp"
#include "host/files.hpp"
#include "host/log.hpp"
#include "host/unix_socket.hpp"
#include "host/whole_file.hpp"
#include "plan/plan.hpp"

namespace cloister::toolstack {

struct OpenImages {
  Fd kernel, ramdisk;
  u64 ramdisk_bytes = 0;
};

namespace {

namespace fs = std::filesystem;

constexpr unsigned socket_mode = 0660;

ApiError in_config(const std::string& file, const Diagnostic& diagnostic) {
  return {.status = 400,
          .message = diagnostic.message,
          .file = file,
          .line = diagnostic.at.line,
          .column = diagnostic.at.column};
}

ApiError in_accounts_unknown(const std::string& file, const DomainConfig& config, const std::string& why) {
  ApiError error = in_config(file, {config.position_of("epc"), why});
  error.status = 503;
  return error;
}

ApiError internal(std::string message) { return {.status = 500, .message = std::move(message)}; }

/// The files that a request's configuration names, opened and read with the rights of who made it.
class RequestFiles {
 public:
  RequestFiles(FileOpener& opener, const CreateRequest& request) : opener_(opener), request_(request) {}

  /// A dump is read at once: what it describes is a value that the domain keeps.
  tl::expected<std::vector<u8>, std::string> dump(const std::string& name) {
    const auto path = absolute(name);
    if (!path) return tl::unexpected(path.error());
    return opener_.read(request_.owner, *path, longest_dump);
  }

  tl::expected<Fd, ApiError> image(const DomainConfig& config, const char* key, const std::string& name) {
    const auto path = absolute(name);
    auto fd = path ? opener_.open(request_.owner, *path) : tl::unexpected(path.error());
    if (fd) return std::move(*fd);
    return tl::unexpected(in_config(request_.file, {config.position_of(key), std::string("cannot use ").append(key) +
                                                                                 " '" + name + "': " + fd.error()}));
  }

 private:
  tl::expected<std::string, std::string> absolute(const std::string& name) const {
    if (fs::path(name).is_relative() && request_.directory.empty())
      return tl::unexpected(std::string("a relative path, without 'directory'"));
    return (fs::path(request_.directory) / name).string();
  }

  FileOpener& opener_;
  const CreateRequest& request_;
};

/// The domain's processor, and whether the configuration can be met on this machine but for how much EPC is free.
tl::expected<ChosenSilicon, ApiError> check(const CreateRequest& request, RequestFiles& files,
                                            const DomainConfig& config, const MachineDescription& machine,
                                            const vmx::Backend& silicon) {
  auto chosen =
      choose_silicon(silicon, config, machine.silicon, [&](const std::string& name) { return files.dump(name); });
  if (!chosen) return tl::unexpected(in_config(request.file, chosen.error()));
  const Grants wished = wished_grants(config.epc);
  const auto plan =
      make_plan(silicon, config, package_config(package_values(machine, wished, chosen->features), wished),
                packages_of(wished), chosen->described);
  if (!plan) return tl::unexpected(in_config(request.file, plan.error()));
  return std::move(*chosen);
}

/// As it was when it was opened: asking again might have to wait for its file system.
u64 length_of(int fd) {
  struct statx status {};
  return ::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE, &status) == 0 ? status.stx_size : 0;
}

/// Beside a thread for each processor and the service's: none that a VMM starts, but the C library may.
constexpr u32 spare_tasks = 8;

CgroupLimits limits_of(const DomainConfig& config, u64 overhead_mib) {
  const MemoryNeed need{.ram = config.memory_mib, .epc = config.epc_mib(), .overhead = overhead_mib};
  return {.memory_bytes = most_mib(need, config.vcpus) << 20,
          .processors = config.vcpus,
          .tasks = config.vcpus + spare_tasks};
}

tl::expected<OpenImages, ApiError> open_images(RequestFiles& files, const DomainConfig& config) {
  OpenImages images;
  auto kernel = files.image(config, "kernel", config.kernel);
  if (!kernel) return tl::unexpected(kernel.error());
  images.kernel = std::move(*kernel);
  if (config.ramdisk.empty()) return images;
  auto ramdisk = files.image(config, "ramdisk", config.ramdisk);
  if (!ramdisk) return tl::unexpected(ramdisk.error());
  images.ramdisk = std::move(*ramdisk);
  images.ramdisk_bytes = length_of(images.ramdisk.get());
  return images;
}

/// A directory that nobody can put anything into.
Fd nameless_directory(int folder) {
  if (::mkdirat(folder, nameless_folder, 0755) != 0) return Fd();
  Fd directory(::openat(folder, nameless_folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  return ::unlinkat(folder, nameless_folder, AT_REMOVEDIR) == 0 ? std::move(directory) : Fd();
}

std::span<const u8> bytes_of(const std::string& text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

}  // namespace

Domains::Result Domains::add(const CreateRequest& request) {
  if (!request.directory.empty() && !fs::path(request.directory).is_absolute())
    return tl::unexpected(ApiError{400, "'directory': expected an absolute path"});
  auto read = read_config(request.config);
  if (!read) return tl::unexpected(in_config(request.file, read.error()));
  RequestFiles files(opener_, request);
  const auto images = open_images(files, read->config);
  if (!images) return tl::unexpected(images.error());
  const auto chosen = check(request, files, read->config, machine(), silicon());
  if (!chosen) return tl::unexpected(chosen.error());

  const auto domain = admit(request, std::move(read->config), chosen->features, images->ramdisk_bytes);
  if (!domain) return tl::unexpected(domain.error());
  if (auto launched = launch(*domain, *images, request.paused); !launched) {
    roll_back(*domain);
    return tl::unexpected(launched.error());
  }
  const MutexLock held(lock_);
  DomainInfo created = info(**domain);
  for (const std::vector<Diagnostic>& warnings : {read->warnings, chosen->warnings}) {
    for (const Diagnostic& warning : warnings) created.warnings.push_back(format(request.file, warning));
  }
  log(LogLevel::info, "domain-created",
      {{"domain", created.name},
       {"id", std::to_string(created.id)},
       {"pid", std::to_string(created.pid)},
       {"uid", std::to_string(created.owner.user)},
       {"epc_pages", std::to_string(pages_of(created.grants))},
       {"placement", created.placement}});
  return created;
}

tl::expected<u32, std::string> Domains::next_id() {
  const u32 first = machine_record_.next_id;
  u32 id = first;
  do {
    if (id < 1 || id > last_owner) id = 1;
    if (!table_.contains(id) && !sockets_.has(id)) {
      MachineRecord next = machine_record_;
      next.next_id = id + 1;
      if (auto kept = around_.records->put(next); !kept) return tl::unexpected(kept.error());
      machine_record_ = std::move(next);
      return id;
    }
    ++id;
  } while (id != first);
  return tl::unexpected(std::string("no domain number is free"));
}

tl::expected<Domains::Pointer, ApiError> Domains::admit(const CreateRequest& request, DomainConfig config,
                                                        const vmx::Features& features, u64 ramdisk_bytes) {
  const MutexLock held(lock_);
  if (name_taken(config.name)) return tl::unexpected(ApiError{409, "there is a domain '" + config.name + "' already"});
  if (!machine_unread_.empty())
    return tl::unexpected(
        ApiError{503, machine_unread_ + "; until it is mended, or removed, no domain can be created"});
  if (const auto why = accounts_unknown(); why && !config.epc.empty())
    return tl::unexpected(in_accounts_unknown(request.file, config, *why));
  const MemoryNeed need =
      memory_need(config.memory_mib, config.epc_mib(), config.vcpus, std::min(ramdisk_bytes, config.memory_mib << 20));
  if (auto admitted = admit_memory(need, memory_limit(), memory_holders()); !admitted) {
    ApiError error = in_config(request.file, {config.position_of("memory"), "'memory': " + admitted.error()});
    error.status = 507;
    return tl::unexpected(error);
  }
  const auto id = next_id();
  if (!id) return tl::unexpected(internal(id.error()));
  auto allocation =
      broker_.allocate(*id, config.epc, [this](u32 owner) CLOISTER_REQUIRES(lock_) { return name_of(owner); });
  if (!allocation) {
    ApiError error = in_config(request.file, {config.position_of("epc"), allocation.error().message});
    error.status = allocation.error().shortage ? 507 : 400;
    return tl::unexpected(error);
  }
  auto domain = std::make_shared<Domain>(LifeState::admitted);
  PackageValues package = package_values(machine(), allocation->grants, features);
  domain->record = {.id = *id,
                    .name = config.name,
                    .config = request.config,
                    .file = request.file,
                    .directory = request.directory,
                    .overhead_mib = need.overhead,
                    .charged_mib = need.total(),
                    .owner = request.owner,
                    .started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))),
                    .placement = std::move(allocation->reason),
                    .grants = std::move(allocation->grants),
                    .package = std::move(package),
                    .running = false,
                    .process = std::nullopt,
                    .run = paths_.run};
  domain->config = std::move(config);
  if (auto kept = around_.records->put(domain->record); !kept) {
    broker_.release(*id);
    return tl::unexpected(internal(kept.error()));
  }
  table_.emplace(*id, domain);
  return domain;
}

tl::expected<ControlClient, std::string> Domains::start(const Pointer& domain, const OpenImages& images) {
  DomainRecord record = domain->record;
  LaunchMessage message{.id = record.id,
                        .name = record.name,
                        .config = record.config,
                        .file = record.file,
                        .grants = record.grants,
                        .package = record.package};
  auto page = DomainPage::create();
  if (!page) return tl::unexpected(page.error());
  vmx::EpcMemory::Pointer memory;
  if (const u64 pages = pages_of(record.grants); pages != 0) {
    auto made = silicon().create_epc(pages);
    if (!made) return tl::unexpected(std::string("the domain's EPC: ") + vmx::name_of(made.error()));
    memory = std::move(*made);
  }
  const Fd launch = sealed_memfd("cloister-launch", bytes_of(write_launch(message)));
  const Fd secret = sealed_memfd("cloister-secret", platform_secret());
  if (!launch || !secret) return tl::unexpected(std::string("no memory for the launch message"));

  const auto folder = sockets_.make(record.id);
  if (!folder) return tl::unexpected(folder.error());
  const std::string path = paths_.sockets_of(record.id);
  const Fd root = nameless_directory(folder->get());
  if (!root) return tl::unexpected(std::string("cannot make an empty directory"));
  auto control = listen_at(folder->get(), SocketFolders::control_name, SOCK_SEQPACKET, socket_mode, path);
  if (!control) return tl::unexpected(control.error());
  auto console = listen_at(folder->get(), SocketFolders::console_name, SOCK_STREAM, socket_mode, path);
  if (!console) return tl::unexpected(console.error());
  // There before the VMM is: it sees at once if this daemon has died in between.
  auto launching = ControlClient::connect(folder->get(), SocketFolders::control_name);
  if (!launching) return tl::unexpected(std::string("cannot connect to the domain's socket"));

  const MutexLock held(lock_);
  const auto counters = broker_.counters();
  if (!counters) return tl::unexpected(counters.error());
  LaunchDescriptors descriptors;
  descriptors.set(launch_fd::message, launch.get());
  descriptors.set(launch_fd::control, control->get());
  descriptors.set(launch_fd::console, console->get());
  descriptors.set(launch_fd::kernel, images.kernel.get());
  descriptors.set(launch_fd::ramdisk, images.ramdisk.get());
  descriptors.set(launch_fd::counters, (*counters)->descriptor());
  descriptors.set(launch_fd::page, page->descriptor());
  descriptors.set(launch_fd::secret, secret.get());
  descriptors.set(launch_fd::root, root.get());
  if (memory != nullptr) {
    descriptors.set(launch_fd::epc, memory->pages_descriptor());
    descriptors.set(launch_fd::epcm, memory->epcm_descriptor());
  }
  auto lines = make_log_pipe();
  if (!lines) return tl::unexpected(lines.error());
  auto process = around_.vmms->start(record.id, descriptors, lines->theirs.get());
  if (!process) return tl::unexpected(process.error());
  domain->process = std::move(process->pidfd);
  domain->pid = process->pid;
  logs_->add(record.id, record.name, std::move(lines->ours));
  domain->memory = std::move(memory);
  domain->page = std::make_shared<const DomainPage>(std::move(*page));
  happens(*domain, LifeEvent::started);
  if (auto added = cgroups_.add(record.id, domain->pid, limits_of(domain->config, record.overhead_mib)); !added)
    return tl::unexpected(added.error());
  record.process = around_.vmms->identity(domain->pid);
  if (auto kept = around_.records->put(record); !kept) return tl::unexpected(kept.error());
  domain->record = std::move(record);
  return std::move(*launching);
}

tl::expected<void, ApiError> Domains::launch(const Pointer& domain, const OpenImages& images, bool paused) {
  auto launching = start(domain, images);
  if (!launching) return tl::unexpected(internal(launching.error()));
  const auto answer = launching->request("hello", around_.patience.launch);
  if (!answer) {
    const ControlError& why = answer.error();
    return tl::unexpected(ApiError{.status = why.answered ? 400 : 500,
                                   .message = why.message,
                                   .file = why.line != 0 ? domain->record.file : std::string(),
                                   .line = why.line,
                                   .column = why.column});
  }
  {
    const MutexLock held(lock_);
    // Its end may have been seen already, and its record must not come back.
    if (domain->life.over()) return tl::unexpected(internal("the domain's process has ended"));
    DomainRecord running = domain->record;
    running.running = true;
    if (auto kept = around_.records->put(running); !kept) return tl::unexpected(internal(kept.error()));
    domain->record = std::move(running);
    happens(*domain, LifeEvent::laid_out);
  }
  const auto started = launching->request(nlohmann::json{{"verb", "run"}, {"paused", paused}}, around_.patience.launch);
  if (!started) return tl::unexpected(internal(started.error().message));
  return {};
}

void Domains::roll_back(const Pointer& domain) {
  {
    const MutexLock held(lock_);
    domain->fate = "creation-failed";
    if (!domain->life.held()) begin_end(domain);
  }
  kill_and_wait(domain);
}

}  // namespace cloister::toolstack
