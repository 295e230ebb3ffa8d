// What a domain is made of: plain values, fixed before the first run.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "hypervisor/devices/counts.hpp"
#include "hypervisor/epc/balloon_counts.hpp"
#include "hypervisor/epc/pager/counts.hpp"
#include "platform/memory_map.hpp"
#include "platform/pvh.hpp"
#include "platform/rtc.hpp"
#include "platform/virtio/block.hpp"
#include "platform/virtio/net.hpp"
#include "platform/virtio/vsock.hpp"
#include "policy/policy.hpp"
#include "vmx/package.hpp"
#include "vmx/time.hpp"

namespace cloister::hypervisor {

inline constexpr u32 most_vcpus = 16;
/// The fewest frames, in pages, with which EPC of so many pages is paged for so many processors: what an instruction of
/// each needs at once, and the version arrays, with a slot for each page that is out.
constexpr u64 least_paged_epc(u64 pages, u32 vcpus) { return std::max<u64>(256, u64{32} * vcpus + pages / 512 + 4); }

/// How EPC is paged of which there are fewer frames than the guest sees pages; `none`: there are as many.
enum class EpcPaging : u8 {
  none,
  automatic,  ///< by OSS if the package has it, else by trapping
  trap,
  oss,
};

struct DomainSpec {
  std::string name;
  platform::MemoryMap map;
  EpcPaging epc_paging = EpcPaging::none;
  /// Without a pager, of each range of the map's EPC how many of its last pages have no frame at first; empty: none.
  std::vector<u64> epc_missing;
  /// Likewise, frames that it has beyond those of its pages (epc/fixed_epc.hpp); empty: none.
  std::vector<std::vector<vmx::EpcSection>> epc_spare{};
  PagerCounts* pager_counts = nullptr;  ///< where its pager counts, as long as the domain is there; null: nobody looks
  BalloonCounts* balloon_counts = nullptr;  ///< where what the guest gives back is counted, likewise
  DeviceCounts* device_counts = nullptr;    ///< where its devices count, likewise
  u32 vcpus = 1;                            ///< 1 to most_vcpus
  policy::CpuidTable cpuid;
  policy::MsrPolicy msr;
  bool sgx_provision = false;  ///< enclaves may have ATTRIBUTES.PROVISIONKEY
  std::shared_ptr<const platform::KernelImage> kernel;
  std::shared_ptr<const std::vector<u8>> ramdisk;  ///< null: none
  std::string cmdline;
  vmx::ClockMode clock = vmx::ClockMode::host;
  u64 longest_pause = 300 * vmx::tsc_hz;             ///< cycles for which its TSC goes on while it is paused
  platform::RtcTime date;                            ///< what its clock chip starts with
  std::vector<platform::virtio::BlockConfig> disks;  ///< on the map's PCI bus, as are
  std::vector<platform::virtio::NetConfig> interfaces;
  bool virtio_console = false;                            ///< likewise a console beside its serial port
  bool rng = false;                                       ///< likewise a source of random bytes
  platform::virtio::VsockConfig vsock{.peers = nullptr};  ///< likewise
  platform::RtcBattery battery;                           ///< a former run's, whose setting of the chip is then kept

  /// How many it has on its bus, and what the first of them is.
  std::size_t devices() const {
    return disks.size() + interfaces.size() + (rng ? 1 : 0) + (virtio_console ? 1 : 0) +
           (vsock.peers != nullptr ? 1 : 0);
  }
  std::string name_of_device() const {
    return !disks.empty()        ? "a disk"
           : !interfaces.empty() ? "a network interface"
           : virtio_console      ? "a console"
           : rng                 ? "a source of random bytes"
                                 : "vsock";
  }
};

}  // namespace cloister::hypervisor
