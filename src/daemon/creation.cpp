// A creation in steps, each of which can fail, and be the daemon's last:
//
//   1. the configuration is read and checked, its files are opened, EPC is granted, and the record says "creating"
//   2. memory and sockets are made, the launching connection is there, and the VMM starts
//   3. the VMM has laid out the domain ("hello"), the record says "running", and its ticket is spent
//   4. "run"; nobody asks anything of the domain, nor destroys it, before its VMM has answered that
//
// Until 4 the VMM exits when the launching connection ends, so whoever reads the record after this daemon's death
// knows: "creating" has no guest, "running" may have one. A VMM that enclaves have come to does not exit: after 3
// nobody else can have them, and the next daemon says 4.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>

#include "arch/try.hpp"
#include "daemon/checked_request.hpp"
#include "daemon/domains.hpp"
#include "daemon/migrations.hpp"
#include "daemon/version_frames.hpp"
#include "host/files.hpp"
#include "host/log.hpp"
#include "host/processors.hpp"
#include "host/unix_socket.hpp"
#include "plan/cpu_places.hpp"
#include "text/utc.hpp"

namespace cloister::toolstack {

namespace {

constexpr unsigned socket_mode = 0600;
ApiError internal(std::string message) { return {.status = 500, .message = std::move(message)}; }

/// Of a domain that goes on, from a slow disk.
constexpr std::chrono::milliseconds to_read_a_mib{100};

/// Beside a thread for each processor and each device and the service's: none that a VMM starts, but the C library may.
constexpr u32 spare_tasks = 8;

CgroupLimits limits_of(const DomainConfig& config, u64 overhead_mib) {
  const MemoryNeed need{.ram = config.memory_mib, .epc = config.epc_memory_mib(), .overhead = overhead_mib};
  // While it is saved, what of its EPC is evicted lies beside it.
  return {.memory_bytes = (most_mib(need, config.vcpus) + need.epc) << 20,
          .processors = config.vcpus,
          .tasks = config.vcpus + static_cast<u32>(config.devices()) + spare_tasks};
}

/// A directory that nobody can put anything into.
Fd nameless_directory(int folder) {
  if (::mkdirat(folder, nameless_folder, 0755) != 0) return Fd();
  Fd directory(::openat(folder, nameless_folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  return ::unlinkat(folder, nameless_folder, AT_REMOVEDIR) == 0 ? std::move(directory) : Fd();
}

std::span<const u8> bytes_of(const std::string& s) { return {reinterpret_cast<const u8*>(s.data()), s.size()}; }

}  // namespace

Domains::Result Domains::add(const CreateRequest& request) { return create_domain(request, nullptr); }

Domains::Result Domains::create_domain(const CreateRequest& request, const Definition* definition, SavedFile from) {
  const DiskUser user = [this](const auto& identity, auto locked) { return user_of_disk(identity, locked); };
  const CheckedFor what = from.file ? CheckedFor::going_on : CheckedFor::creation;
  auto checked = TRY(check_request(opener_, request, machine(), processors(), what, user));
  if (checked.config.uuid.empty()) checked.config.uuid = request.uuid;
  checked.images.saved = std::move(from);
  auto claim = make_room(checked.config);
  const auto domain = admit(request, checked, definition, claim.get());
  claim.reset();
  if (!domain) return tl::unexpected(domain.error());
  if (auto launched = launch(*domain, checked.images, request.paused); !launched) {
    roll_back(*domain);
    return tl::unexpected(launched.error());
  }
  const MutexLock held(lock_);
  compare(**domain);  // what goes on is as it was, and may be defined anew since
  DomainInfo created = info(**domain);
  created.warnings = checked.warnings;
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
    if (!table_.contains(id) && !sockets_.has(id) && !host_saves_.keeps_record(id)) {
      MachineRecord next = machine_record_;
      next.next_id = id + 1;
      TRY(around_.records->put(next));
      machine_record_ = std::move(next);
      return id;
    }
    ++id;
  } while (id != first);
  return tl::unexpected(std::string("no domain number is free"));
}

Domains::Pointer Domains::living_of(const Definition& definition) const {
  if (Pointer same = living(definition.uuid)) return same;
  for (const auto& [id, domain] : table_) {
    if (domain->record.name == definition.name) return domain;
    // A record that cannot be understood, and does not say whose it is.
    if (!domain->unread.empty() && domain->record.uuid.empty()) return domain;
  }
  return nullptr;
}

std::optional<ApiError> Domains::in_the_way(const DomainConfig& config, const Definition* definition) const {
  if (definition == nullptr) {
    if (const auto taken = name_taken(config.name)) return taken;
    if (!config.uuid.empty() && uuid_taken(config.uuid))
      return ApiError{409, "there is a domain with the uuid " + config.uuid + " already"};
    return std::nullopt;
  }
  const Defined* const now = definitions_.with_uuid(definition->uuid);
  // Its name is in its text.
  const auto same = [&](const Definition& other) {
    return other.owner == definition->owner && other.text == definition->text && other.file == definition->file &&
           other.directory == definition->directory;
  };
  if (now == nullptr || !same(now->definition))
    return ApiError{409, "'" + definition->name + "' has just been defined anew, or undefined"};
  const Pointer domain = living_of(*definition);
  if (domain == nullptr) return std::nullopt;
  return may_be_another(*domain, *definition).value_or(lives_already(*domain));
}

std::optional<ApiError> Domains::may_be_another(const Domain& domain, const Definition& definition) const {
  if (domain.unread.empty() || domain.record.uuid == definition.uuid) return std::nullopt;
  return ApiError{409, "'" + domain.record.name + "' lives, and may be '" + definition.name +
                           "': " + paths_.record(domain.record.id).string() + ": " + domain.unread};
}

/// What it could go on from, and that it may run elsewhere: it starts whatever that is.
tl::expected<void, ApiError> Domains::give_up(const std::string& uuid) {
  TRY(forget_host_save(uuid));
  const Defined* const defined = definitions_.with_uuid(uuid);
  if (defined == nullptr || !defined->definition.in_doubt) return {};
  return Migrations::clear_doubt(*this, *defined);
}

/// Whatever it is to be started from. otherwise: the way out beside asking its target; null: to start it anew.
std::optional<ApiError> Domains::doubt_about(const Definition& definition, const char* otherwise) {
  if (!definition.in_doubt) return std::nullopt;
  if (otherwise == nullptr) otherwise = "`cloister start --anew` starts it here whatever it finds";
  return ApiError{409,
                  "'" + definition.name + "' may run at " +
                      (definition.in_doubt->peer.empty() ? "its target" : definition.in_doubt->peer) +
                      " by now, where it went when its process died: `cloister migrate --resolve` finds out, and " +
                      otherwise};
}

tl::expected<Domains::Pointer, ApiError> Domains::admit(const CreateRequest& request, CheckedRequest& checked,
                                                        const Definition* definition, Claim* claim) {
  DomainConfig& config = checked.config;
  const u64 ramdisk_bytes = checked.images.ramdisk_bytes;
  const MutexLock held(lock_);
  if (const auto why = in_the_way(config, definition)) return tl::unexpected(*why);
  const auto& from = checked.images.saved.arrival;
  if (definition != nullptr && !request.anew) {
    if (const auto why = doubt_about(definitions_.with_uuid(definition->uuid)->definition)) return tl::unexpected(*why);
  }
  if (definition != nullptr && !request.anew) {
    if (const std::string file = host_saves_.unnamed(definition->uuid); !file.empty())
      return tl::unexpected(
          ApiError{409, "'" + config.name + "' was saved when the host went down, and " + file +
                            " could not be given its name: cloisterd tries again when it is started anew, and "
                            "`cloister start --anew` gives that up"});
  }
  if (definition != nullptr && host_saves_.has(definition->uuid) && !request.anew && !(from && !from->saved.empty()))
    return tl::unexpected(ApiError{409, "'" + config.name +
                                            "' was saved when the host went down: `cloister start` lets it go on, and "
                                            "`cloister start --anew` gives that up"});
  if (host_record_.going_down)
    return tl::unexpected(ApiError{.status = 503,
                                   .message = "the host goes down: until `cloister host-up` no domain is started",
                                   .host_goes_down = true});
  if (!machine_unread_.empty())
    return tl::unexpected(
        ApiError{503, machine_unread_ + "; until it is mended, or removed, no domain can be created"});
  if (const auto why = accounts_unknown(); why && !config.epc.empty())
    return tl::unexpected(in_config(request.file, {config.position_of("epc"), *why}, 503));
  const auto identity = TRY(identity_of(request, config, definition));
  const MemoryNeed need = memory_need(config.memory_mib, config.epc_memory_mib(), config.vcpus,
                                      std::min(ramdisk_bytes, config.memory_mib << 20), checked.engine);
  if (auto admitted = admit_memory(need, memory_limit(), memory_holders()); !admitted)
    return tl::unexpected(
        in_config(request.file, {config.position_of("memory"), "'memory': " + admitted.error()}, 507));
  const auto id = next_id();
  if (!id) return tl::unexpected(internal(id.error()));
  const KeptFree kept_free = kept_from(config);
  auto allocation = broker_.allocate(*id, config.epc_frames(), kept_free.pages,
                                     [this](u32 owner) CLOISTER_REQUIRES(lock_) { return name_of(owner); });
  if (!allocation) {
    const bool shortage = allocation.error().shortage;
    return tl::unexpected(in_config(
        request.file, {config.position_of("epc"), allocation.error().message + (shortage ? kept_free.why : "")},
        shortage ? 507 : 400));
  }
  const auto& saved = checked.images.saved;
  if (saved.brings_keys || (saved.arrival && !saved.arrival->ticket.empty()))
    VersionFrames::lend(*this, *id, allocation->grants, config);
  // Not before nothing that is looked at keeps it from starting.
  if (request.anew && definition != nullptr) {
    if (auto given_up = give_up(definition->uuid); !given_up) {
      broker_.release(*id);
      return tl::unexpected(given_up.error());
    }
  }
  if (claim != nullptr) end(*claim);
  auto domain = std::make_shared<Domain>(LifeState::admitted);
  PackageValues package = package_values(machine(), allocation->grants, checked.features, PackageRange::whole);
  domain->record = {.id = *id,
                    .uuid = identity.uuid,
                    .name = config.name,
                    .persistent = definition != nullptr,
                    .config = request.config,
                    .file = request.file,
                    .directory = request.directory,
                    .overhead_mib = need.overhead,
                    .charged_mib = need.total(),
                    .owner = request.owner,
                    .started = utc_now(),
                    .placement = std::move(allocation->reason),
                    .disks = {},
                    .grants = std::move(allocation->grants),
                    .package = std::move(package),
                    .engine = checked.engine,
                    .platform = identity.platform,
                    .running = false,
                    .process = std::nullopt,
                    .run = paths_.run};
  domain->record.disks = checked.images.identities();
  domain->record.arrival = checked.images.saved.arrival;
  domain->record.boot = checked.images.saved.boot;
  domain->config = std::move(config);
  auto kept = checked.images.saved.brings_keys ? tl::expected<void, std::string>() : power_on(*domain);
  if (kept) kept = around_.records->put(domain->record);
  if (!kept) {
    broker_.release(*id);
    forget_made_keys(*domain);
    return tl::unexpected(internal(kept.error()));
  }
  table_.emplace(*id, domain);
  if (const auto before = saves_.find(identity.uuid); before != saves_.end() && !before->second.going)
    saves_.erase(before);
  return domain;
}

tl::expected<ControlClient, std::string> Domains::start_vmm(const Pointer& domain, const OpenImages& images) {
  DomainRecord record = domain->record;
  const auto places = place_vcpus(domain->config, machine(), record.grants, host_processors());
  if (!places) return tl::unexpected(places.error().message);
  LaunchMessage message{.id = record.id,
                        .name = record.name,
                        .config = record.config,
                        .file = record.file,
                        .grants = record.grants,
                        .package = record.package,
                        .engine = record.engine,
                        .cpus = *places,
                        .goes_on = static_cast<bool>(images.saved.file),
                        .uuid = record.uuid,
                        .arrives = images.saved.arrives,
                        .enclaves = images.saved.arrives && images.saved.order,
                        .waits = images.saved.arrival && !images.saved.arrival->saved.empty(),
                        .boot_cmdline = images.boot_cmdline};
  auto page = TRY(DomainPage::create());
  vmx::EpcMemory::Pointer memory;
  if (const u64 pages = package_pages(record.package, record.grants); pages != 0) {
    auto made = silicon().create_epc(pages);
    if (!made) return tl::unexpected(std::string("the domain's EPC: ") + vmx::name_of(made.error()));
    memory = std::move(*made);
  }
  const Fd launch = sealed_memfd("cloister-launch", bytes_of(write_launch(message)));
  if (!launch) return tl::unexpected(std::string("no memory for the launch message"));

  const auto folder = TRY(sockets_.make(record.id));
  const std::string path = paths_.sockets_of(record.id);
  const Fd root = nameless_directory(folder.get());
  if (!root) return tl::unexpected(std::string("cannot make an empty directory"));
  auto control = TRY(listen_at(folder.get(), SocketFolders::control_name, SOCK_SEQPACKET, socket_mode, path));
  auto console = TRY(listen_at(folder.get(), SocketFolders::console_name, SOCK_STREAM, socket_mode, path));
  Fd vsock, connector;
  if (const auto& sockets = domain->config.vsock) {
    vsock = TRY(listen_at(folder.get(), SocketFolders::vsock_name, SOCK_STREAM, socket_mode, path));
    const std::string prefix = sockets->path.empty() ? paths_.vsock(record.id).string() : sockets->path;
    connector = TRY(opener_.start_connector(record.owner, prefix));
  }
  TRY(sockets_.give(record.id, record.owner.user, machine().access.console));
  // There before the VMM is: it sees at once if this daemon has died in between.
  auto launching = ControlClient::connect(folder.get(), SocketFolders::control_name);
  if (!launching) return tl::unexpected(std::string("cannot connect to the domain's socket"));
  const auto platform = TRY(platform_for(record));
  record.boot = platform.boot;

  const MutexLock held(lock_);
  LaunchDescriptors descriptors;
  descriptors.set(launch_fd::message, launch.get());
  descriptors.set(launch_fd::control, control.get());
  descriptors.set(launch_fd::console, console.get());
  descriptors.set(launch_fd::kernel, images.kernel.get());
  descriptors.set(launch_fd::ramdisk, images.ramdisk.get());
  for (std::size_t i = 0; i < images.disks.size(); ++i)
    descriptors.set(launch_fd::disk + static_cast<int>(i), images.disks[i].fd.get());
  for (std::size_t i = 0; i < images.interfaces.size(); ++i)
    for (std::size_t k = 0; k < images.interfaces[i].size(); ++k)
      descriptors.set(launch_fd::interface_queue(i, k), images.interfaces[i][k].get());
  descriptors.set(launch_fd::vsock, vsock.get());
  descriptors.set(launch_fd::connector, connector.get());
  descriptors.set(launch_fd::boot_reader, images.boot_reader.get());
  if (platform.counters != nullptr) {
    descriptors.set(launch_fd::counters, platform.counters->descriptor());
    descriptors.set(launch_fd::keys, platform.keys.get());
  }
  descriptors.set(launch_fd::saved, images.saved.file.get());
  descriptors.set(launch_fd::order, images.saved.order.get());
  descriptors.set(launch_fd::page, page.descriptor());
  descriptors.set(launch_fd::root, root.get());
  if (memory != nullptr) {
    descriptors.set(launch_fd::epc, memory->pages_descriptor());
    descriptors.set(launch_fd::epcm, memory->epcm_descriptor());
  }
  auto lines = TRY(make_log_pipe());
  auto process = TRY(around_.vmms->start(record.id, descriptors, lines.theirs.get()));
  domain->process = std::move(process.pidfd);
  domain->pid = process.pid;
  logs_->add(record.id, record.name, std::move(lines.ours));
  domain->memory = std::move(memory);
  domain->cpus = *places;
  domain->page = std::make_shared<const DomainPage>(std::move(page));
  happens(*domain, LifeEvent::started);
  TRY(cgroups_.add(record.id, domain->pid, limits_of(domain->config, record.overhead_mib)));
  record.process = around_.vmms->identity(domain->pid);
  TRY(around_.records->put(record));
  domain->record = std::move(record);
  return std::move(*launching);
}

tl::expected<void, ApiError> Domains::launch(const Pointer& domain, const OpenImages& images, bool paused) {
  auto launching = start_vmm(domain, images);
  if (!launching) return tl::unexpected(internal(launching.error()));
  auto patience = around_.patience.launch;
  if (images.saved.file) patience += to_read_a_mib * domain->config.memory_mib;
  const auto answer = launching->request("hello", patience);
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
    domain->sharing.certain = true;
  }
  TRY(say_run(*domain, *launching, paused));
  const MutexLock held(lock_);
  if (!domain->life.over()) happens(*domain, LifeEvent::launched);  // its guest may have been a short one
  return {};
}

void Domains::roll_back(const Pointer& domain) {
  {
    const MutexLock held(lock_);
    domain->fate = "creation-failed";
    if (!domain->life.held()) begin_end(domain);
  }
  kill_and_wait(domain);
  const MutexLock held(lock_);
  forget_made_keys(*domain);
}

}  // namespace cloister::toolstack
