// The same way as `cloister run` takes, on memory that the daemon holds too.
#include "vmm/guest.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "arch/sizes.hpp"
#include "arch/try.hpp"
#include "host/memfd.hpp"
#include "host/whole_file.hpp"
#include "hypervisor/epc/clean.hpp"
#include "hypervisor/epc/pager/frame_set.hpp"
#include "plan/boot_files.hpp"
#include "plan/interfaces.hpp"
#include "plan/vsock.hpp"
#include "protocol/moving.hpp"
#include "protocol/saving.hpp"
#include "vmm/saver.hpp"

namespace cloister::toolstack {

namespace {

using Failed = tl::unexpected<Diagnostic>;

Failed failed(std::string why) { return Failed(Diagnostic{{}, std::move(why)}); }

/// The domain's virtual platform; one without EPC has none.
tl::expected<void, std::string> take_platform(const vmx::Backend& silicon, vmx::Package::Config& machine) {
  LaunchKeys keys;
  const auto bytes = read_within(launch_fd::keys, keys.root.size() + keys.paging.size());
  if (!bytes || bytes->size() != keys.root.size() + keys.paging.size()) return tl::unexpected(std::string("no keys"));
  std::copy_n(bytes->begin(), keys.root.size(), keys.root.begin());
  std::copy_n(bytes->begin() + keys.root.size(), keys.paging.size(), keys.paging.begin());
  machine.root_secret = keys.root;
  machine.paging_secret = keys.paging;
  const auto counters = silicon.adopt_counters(launch_fd::counters);
  if (!counters) return tl::unexpected(std::string("the domain's counters: ") + name_of(counters.error()));
  machine.counters = *counters;
  return {};
}

tl::expected<vmx::Package::Config, std::string> machine_of(const vmx::Backend& silicon, const LaunchMessage& launch) {
  vmx::Package::Config machine = package_config(launch.package, launch.grants);
  if (const u64 pages = package_pages(launch.package, launch.grants); pages != 0) {
    TRY(take_platform(silicon, machine));
    const auto memory = silicon.adopt_epc(launch_fd::epc, launch_fd::epcm, pages);
    if (!memory) return tl::unexpected(std::string("the domain's EPC: ") + name_of(memory.error()));
    machine.memory = *memory;
  }
  return machine;
}

/// A socket's bytes, read in large pieces.
stream::Source buffered(int socket) {
  struct Buffer {
    std::vector<u8> bytes = std::vector<u8>(256 << 10);
    std::size_t at = 0, end = 0;
  };
  return [socket, buffer = std::make_shared<Buffer>()](std::span<u8> to) -> stream::Result<std::size_t> {
    if (buffer->at == buffer->end) {
      buffer->at = 0;
      ssize_t got = 0;
      while ((got = ::read(socket, buffer->bytes.data(), buffer->bytes.size())) < 0) {
        if (errno != EAGAIN && errno != EINTR) return tl::unexpected(std::string(std::strerror(errno)));
        pollfd wait{.fd = socket, .events = POLLIN, .revents = 0};
        ::poll(&wait, 1, -1);
      }
      buffer->end = static_cast<std::size_t>(got);
    }
    const std::size_t bytes = std::min(to.size(), buffer->end - buffer->at);
    std::copy_n(buffer->bytes.begin() + static_cast<std::ptrdiff_t>(buffer->at), bytes, to.begin());
    buffer->at += bytes;
    return bytes;
  };
}

tl::expected<SavingOrder, std::string> saved_order() {
  const auto bytes = TRY(read_within(launch_fd::order, longest_own));
  return read_order(bytes);
}

tl::expected<MoveOrder, std::string> move_order() {
  const auto bytes = TRY(read_within(launch_fd::order, longest_own));
  return read_move_order(bytes);
}

}  // namespace

tl::expected<Guest, Diagnostic> Guest::create(const vmx::Backend& silicon, const LaunchMessage& launch,
                                              const DomainPage& page) {
  auto read = TRY(read_config(launch.config));
  auto disk_locks = std::make_unique<DiskLocks>(read.config.disks, launch_fd::disk, launch.arrives);
  std::vector<Fd> disks;
  for (std::size_t i = 0; i < read.config.disks.size(); ++i) disks.emplace_back(launch_fd::disk + static_cast<int>(i));
  auto images = TRY(read_images(read.config, launch_fd::kernel, launch_fd::ramdisk, std::move(disks)));
  // One that goes on has no use for it before it is reset.
  if (!launch.goes_on) TRY(unpack_kernel(read.config, images));
  Fd boot_reader;
  if (read.config.bootloader) boot_reader = Fd(launch_fd::boot_reader);
  if (read.config.bootloader && !launch.goes_on) {
    BootFiles files{.kernel = Fd(launch_fd::kernel), .cmdline = launch.boot_cmdline};
    if (is_sealed_memfd(launch_fd::ramdisk)) files.ramdisk = Fd(launch_fd::ramdisk);
    if (auto taken = take_boot_files(read.config, files, images); !taken)
      return Failed(cannot_boot(read.config, taken.error()));
  }
  if (read.config.uuid.empty()) read.config.uuid = launch.uuid;
  std::vector<Connections> connections(read.config.interfaces.size());
  for (std::size_t i = 0; i < connections.size(); ++i)
    for (std::size_t k = 0; k < read.config.interfaces[i].queues; ++k)
      connections[i].emplace_back(launch_fd::interface_queue(i, k));
  images.interfaces = TRY(interfaces_on(read.config, std::move(connections)));
  if (read.config.vsock)
    images.vsock =
        TRY(vsock_on(read.config, {.listening = Fd(launch_fd::vsock), .connector = Fd(launch_fd::connector)}));
  auto machine = machine_of(silicon, launch);
  if (!machine) return failed(machine.error());
  auto plan = TRY(make_plan(silicon, read.config, *machine, packages_of(launch.grants)));
  limit_xfrm(*machine, plan.cpuid);
  auto package = silicon.make_package(std::move(*machine));
  Guest guest(std::move(package), std::move(plan), std::move(images), sections_of(launch.grants), page);
  guest.disk_locks_ = std::move(disk_locks);
  guest.boot_reader_ = std::move(boot_reader);
  if (!guest.config().epc_is_paged()) {
    std::vector<std::vector<vmx::EpcSection>> by_section;
    for (const EpcGrant& grant : launch.grants) by_section.push_back(grant.extents);
    guest.note_frames(by_section);
  }
  if (!launch.goes_on) {
    if (auto made = guest.lay_out(Saved{}); !made) return failed(made.error());
    return guest;
  }
  const Fd file(launch_fd::saved);  // until it goes on
  if (launch.arrives && !launch.enclaves) {
    stream::Reader reader(buffered(file.get()));
    if (auto made = guest.lay_out({.stream = &reader, .moves = true}); !made) return failed(made.error());
    if (auto taken = guest.disk_locks_->take_soon(); !taken) return failed(taken.error());
    return guest;
  }
  const Fd memory(launch_fd::order);
  if (launch.arrives) {
    const auto order = move_order();
    if (!order) return failed(order.error());
    stream::Reader reader(stream::unsealed(buffered(file.get()), order->key));
    if (auto made = guest.lay_out({.stream = &reader, .session = order->session, .moves = true}); !made)
      return failed(made.error());
    guest.arriving_ = true;
    if (auto whole = reader.finish(); !whole) return failed(whole.error());
    if (auto taken = guest.disk_locks_->take_soon(); !taken) return failed(taken.error());
    return guest;
  }
  const auto order = saved_order();
  if (!order) return failed(order.error());
  auto saved = open_saved(file.get(), order->key);
  if (!saved) return failed(saved.error());
  if (auto made = guest.lay_out({.stream = &*saved, .session = order->session}); !made) return failed(made.error());
  guest.arriving_ = order->session.has_value();
  if (auto whole = saved->finish(); !whole) return failed(whole.error());
  return guest;
}

tl::expected<void, std::string> Guest::renew() {
  if (domain_ != nullptr) {
    battery_ = domain_->battery();
    note_frames();
  }
  domain_.reset();
  std::vector<vmx::EpcSection> all = frames_;
  for (const auto& section : spare_) all.insert(all.end(), section.begin(), section.end());
  if (const auto stuck = hypervisor::clean_epc(*package_, all); !stuck.empty())
    return tl::unexpected(std::to_string(stuck.size()) + " EPC pages cannot be removed");
  TRY(look_for_kernel());
  return lay_out(Saved{});
}

tl::expected<void, std::string> Guest::look_for_kernel() {
  if (!boot_reader_) {
    if (const auto unpacked = unpack_kernel(plan_.config, images_); !unpacked)
      return tl::unexpected(unpacked.error().message);
    return {};
  }
  const auto failed = [&](const std::string& why) { return tl::unexpected(cannot_boot(plan_.config, why).message); };
  // What another process serves is in its memory until then.
  images_.disks.front().storage->flush();
  const auto files = ask_boot_reader(boot_reader_.get());
  if (!files) return failed(files.error());
  if (const auto taken = take_boot_files(plan_.config, *files, images_); !taken) return failed(taken.error());
  return {};
}

void Guest::forget_kernel() {
  images_.kernel = nullptr;
  if (boot_reader_) images_.ramdisk = nullptr;
}

void Guest::note_frames() {
  if (plan_.config.epc_is_paged()) {
    frames_ = domain_->epc_frames();
    return;
  }
  note_frames(domain_->epc_frames_by_range());
}

void Guest::note_frames(const std::vector<std::vector<vmx::EpcSection>>& by_section) {
  frames_.clear();
  missing_.clear();
  spare_.clear();
  for (const auto& section : by_section) {
    if (missing_.size() == plan_.config.epc.size()) break;
    u64 lacks = plan_.config.epc[missing_.size()].mib * arch::pages_per_mib;
    spare_.emplace_back();
    for (const vmx::EpcSection& row : section) {
      const u64 needed = std::min(row.pages, lacks);
      if (needed != 0) frames_.push_back({row.first, needed});
      if (needed != row.pages) spare_.back().push_back({row.first + needed, row.pages - needed});
      lacks -= needed;
    }
    missing_.push_back(lacks);
  }
}

Guest::Made Guest::make(hypervisor::DomainSpec spec, const std::vector<vmx::EpcSection>& epc, const Saved& saved) {
  using hypervisor::Domain;
  if (saved.stream == nullptr) return Domain::create(*package_, std::move(spec), epc);
  if (saved.moves && saved.session)
    return Domain::arrive(*package_, std::move(spec), epc, *saved.stream, *saved.session,
                          [this]() -> tl::expected<void, std::string> {
                            // Before their root leaves: what cannot have its disks has not taken them away.
                            TRY(disk_locks_->take_soon());
                            page_.get().set_all_but_root();
                            return {};
                          });
  if (saved.moves) return Domain::arrive(*package_, std::move(spec), epc, *saved.stream);
  if (saved.session) return Domain::restore(*package_, std::move(spec), epc, *saved.stream, *saved.session);
  return Domain::restore(*package_, std::move(spec), epc, *saved.stream);
}

tl::expected<void, std::string> Guest::lay_out(const Saved& saved) {
  hypervisor::DomainSpec spec = make_spec(plan_, images_, vmx::ClockMode::host, battery_);
  spec.pager_counts = page_.get().epc();
  spec.balloon_counts = page_.get().balloon();
  spec.device_counts = page_.get().devices();
  spec.epc_missing = missing_;
  spec.epc_spare = spare_;
  forget_kernel();
  if (plan_.config.epc_is_paged()) return lay_out_paged(std::move(spec), saved);
  domain_ = TRY(make(std::move(spec), frames_, saved));
  return {};
}

tl::expected<void, std::string> Guest::lay_out_paged(hypervisor::DomainSpec spec, const Saved& saved) {
  // Those that were lent to the guest before this one are lent to it, too, unless some of its own have gone.
  hypervisor::FrameSet lent(frames_);
  const bool has_own = std::ranges::all_of(own_, [&](const vmx::EpcSection& row) {
    for (u64 i = 0; i < row.pages; ++i) {
      if (!lent.contains(row.first + i)) return false;
      lent.remove(row.first + i);
    }
    return true;
  });
  if (!has_own) own_ = frames_;
  domain_ = TRY(make(std::move(spec), own_, saved));
  if (has_own) domain_->lend_epc(lent.sections());
  return {};
}

hypervisor::Outcome Guest::run(const hypervisor::RunOptions& options) { return domain_->run(options); }

}  // namespace cloister::toolstack
