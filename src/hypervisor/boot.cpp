// Memory, then tables, then kernel, then registers. Segment attributes are VMX access rights (SDM vol. 3C, table 25-2).
#include "hypervisor/boot.hpp"

#include <fmt/format.h>

#include "arch/msr.hpp"
#include "arch/try.hpp"
#include "hypervisor/epc/exiting_leaves.hpp"
#include "platform/power.hpp"

namespace cloister::hypervisor {
namespace {

using vmx::EpcSection;
using vmx::MapError;
using Done = tl::expected<void, std::string>;

/// Long against a loop's turn, short against a host's time slice.
constexpr vmx::PauseLoopExiting pause_loop{.gap = 5'000, .window = 20'000};
constexpr u32 flat_code = 0xc09b, flat_data = 0xc093, busy_tss = 0x008b, unusable = 0x10000;

const char* text_of(MapError error) {
  switch (error) {
    case MapError::misaligned: return "not page-aligned";
    case MapError::overlap: return "overlaps another range";
    case MapError::partial: return "cuts another range";
    case MapError::not_epc: return "is not EPC";
    default: return "there is no memory for it";
  }
}

Done map_ram(Machine& machine) {
  for (const auto& range : platform::ram_backing(machine.spec.map)) {
    if (const auto done = machine.memory.map_ram(range.base, range.bytes); !done)
      return tl::unexpected(fmt::format("RAM at {:#x}: {}", range.base.value, text_of(done.error())));
  }
  return {};
}

/// Ranges whose pages get frames as they are needed.
Done page_epc(Machine& machine) {
  for (const auto& range : machine.spec.map.epc) {
    if (const auto reserved = machine.memory.reserve_epc(range.base, range.bytes / arch::page_size); !reserved)
      return tl::unexpected(fmt::format("EPC at {:#x}: {}", range.base.value, text_of(reserved.error())));
  }
  auto pager = TRY(Pager::create({.package = machine.package,
                                  .memory = machine.memory,
                                  .pages = machine.epc_pages,
                                  .frames = machine.epc,
                                  .mode = paging_mode(machine.spec.epc_paging, has_oss(machine.package)),
                                  .vcpus = machine.spec.vcpus,
                                  .gate = machine.gate(),
                                  .handlers = machine.lock,
                                  .leaves = machine.root_leaves,
                                  .counts = machine.spec.pager_counts}));
  machine.pager = std::move(pager);
  return {};
}

/// Fills the map's EPC ranges, in order, with the sections' frames, but for the pages that are missing.
Done map_epc(Machine& machine) {
  const std::vector<EpcSection>& sections = machine.epc;
  const std::vector<u64>& missing = machine.spec.epc_missing;
  std::vector<std::vector<EpcSection>> frames;  // of each range
  std::size_t next = 0;
  u64 used = 0;  // of sections[next]
  for (const auto& range : machine.spec.map.epc) {
    const u64 all = range.bytes / arch::page_size;
    const u64 absent = frames.size() < missing.size() ? std::min(missing[frames.size()], all) : 0, pages = all - absent;
    frames.emplace_back();
    if (absent != 0) {
      const arch::Gpa rest = range.base + pages * arch::page_size;
      if (const auto reserved = machine.memory.reserve_epc(rest, absent); !reserved)
        return tl::unexpected(fmt::format("EPC at {:#x}: {}", rest.value, text_of(reserved.error())));
    }
    for (u64 done = 0; done < pages;) {
      if (next == sections.size())
        return tl::unexpected(fmt::format("EPC at {:#x}: {} pages are missing", range.base.value, pages - done));
      const EpcSection& section = sections[next];
      const u64 count = std::min(pages - done, section.pages - used);
      const arch::Gpa base = range.base + done * arch::page_size;
      if (const auto mapped = machine.memory.map_epc(base, section.first + used, count); !mapped)
        return tl::unexpected(fmt::format("EPC at {:#x}: {}", base.value, text_of(mapped.error())));
      frames.back().push_back({section.first + used, count});
      done += count;
      used += count;
      if (used == section.pages) {
        ++next;
        used = 0;
      }
    }
  }
  if (machine.spec.map.epc.empty()) return {};
  machine.fixed_epc = std::make_unique<FixedEpc>(FixedEpc::Domain{.package = machine.package,
                                                                  .memory = machine.memory,
                                                                  .pages = machine.epc_pages,
                                                                  .frames = std::move(frames),
                                                                  .gate = machine.gate(),
                                                                  .handlers = machine.lock,
                                                                  .leaves = machine.root_leaves,
                                                                  .counts = machine.spec.balloon_counts});
  const auto& spare = machine.spec.epc_spare;
  for (std::size_t i = 0; i < std::min(spare.size(), machine.spec.map.epc.size()); ++i)
    machine.fixed_epc->lend(i, spare[i]);
  machine.fixed_mover =
      std::make_unique<FixedMover>(FixedPager::Domain{.package = machine.package,
                                                      .memory = machine.memory,
                                                      .pages = machine.epc_pages,
                                                      .epc = *machine.fixed_epc,
                                                      .gate = machine.gate(),
                                                      .handlers = machine.lock,
                                                      .leaves = machine.root_leaves,
                                                      .meet = [&machine](bool meet) { machine.meet_root_leaves(meet); },
                                                      .can = has_oss(machine.package) && !machine.deterministic()});
  return {};
}

tl::expected<platform::PvhBoot, std::string> load(Machine& machine) {
  const auto write = [&machine](arch::Gpa to, std::span<const std::byte> from) {
    return machine.memory.write(to, from);
  };
  const auto tables = platform::make_acpi({.vcpus = machine.spec.vcpus, .map = machine.spec.map});
  if (!write(arch::Gpa{platform::acpi_base}, std::as_bytes(std::span(tables.image))))
    return tl::unexpected(std::string("no memory where ACPI tables go"));
  if (!write(arch::Gpa{platform::reset_vector}, std::as_bytes(std::span(platform::reset_code))))
    return tl::unexpected(std::string("no memory at the reset vector"));
  if (!machine.spec.kernel) return tl::unexpected(std::string("no kernel"));
  std::span<const u8> ramdisk;
  if (machine.spec.ramdisk) ramdisk = *machine.spec.ramdisk;
  auto loaded = platform::load_pvh({.kernel = *machine.spec.kernel,
                                    .ramdisk = ramdisk,
                                    .cmdline = machine.spec.cmdline,
                                    .map = machine.spec.map,
                                    .rsdp = tables.rsdp},
                                   write);
  // They are in the guest's RAM: who wants them for another start keeps them.
  machine.spec.kernel = nullptr;
  machine.spec.ramdisk = nullptr;
  return loaded;
}

}  // namespace

Done load_launch_hash(Machine& machine) {
  if (!machine.spec.msr.sgx) return {};
  for (const auto& processor : machine.processors) {
    for (u32 i = 0; i < 4; ++i) {
      const u32 index = arch::msr::sgxlepubkeyhash0 + i;
      const u64 wanted = machine.spec.msr.lepubkeyhash[i];
      // Without launch control there is no such MSR, and the hash is Intel's.
      const u64 hash = processor->vcpu.read_msr(index).value_or(arch::msr::intel_lepubkeyhash[i]);
      if (hash != wanted && !processor->vcpu.write_msr(index, wanted))
        return tl::unexpected(std::string("lehash: this machine's launch-key hash is locked"));
    }
  }
  return {};
}

void set_flat_entry(vmx::Vcpu& vcpu, u64 rip) {
  vmx::SystemRegs system = vcpu.system();
  const vmx::Segment data{.selector = 0x10, .base = 0, .limit = 0xffff'ffff, .attributes = flat_data};
  system.seg.fill(data);
  system.seg[arch::seg_cs] = {.selector = 0x08, .base = 0, .limit = 0xffff'ffff, .attributes = flat_code};
  system.ldtr = {.selector = 0, .base = 0, .limit = 0, .attributes = unusable};
  system.tr = {.selector = 0x18, .base = 0, .limit = 0x67, .attributes = busy_tss};
  system.gdtr = system.idtr = {};
  system.cr0 = arch::cr0::pe | arch::cr0::et;
  system.cr3 = system.cr4 = system.efer = 0;
  vcpu.set_system(system);
  vmx::GeneralRegs general;
  general.rip = rip;
  vcpu.set_general(general);
}

void set_pvh_entry(vmx::Vcpu& vcpu, const platform::PvhBoot& entry) {
  set_flat_entry(vcpu, entry.entry);
  vmx::GeneralRegs general = vcpu.general();
  general.gpr[arch::rbx] = entry.start_info;
  vcpu.set_general(general);
}

Done lay_out(Machine& machine) {
  TRY(map_ram(machine));
  const bool paged = machine.spec.epc_paging != EpcPaging::none && !machine.spec.map.epc.empty();
  machine.balloon.start(machine.epc_pages.pages());
  TRY(paged ? page_epc(machine) : map_epc(machine));
  TRY(load_launch_hash(machine));
  machine.epc_virtualization = meets_root_leaves(machine);
  for (const auto& processor : machine.processors) {
    if (machine.processors.size() > 1) processor->controls.pause_loop_exiting = pause_loop;
    processor->controls.msr_passthrough = MsrFile::passthrough();
    processor->controls.encls_bitmap = exiting_leaves(machine);
    processor->controls.encls_exiting = processor->controls.encls_bitmap != 0;
    processor->controls.epc_virtualization = machine.epc_virtualization;
    processor->vcpu.set_controls(processor->controls);
  }
  return {};
}

Done boot(Machine& machine) {
  TRY(lay_out(machine));
  const auto entry = TRY(load(machine));
  set_pvh_entry(machine.bootstrap().vcpu, entry);
  return {};
}

}  // namespace cloister::hypervisor
