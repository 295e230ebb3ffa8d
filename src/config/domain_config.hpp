// A domain as a configuration file describes it, as plain checked values.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"
#include "config/cpu_list.hpp"
#include "config/engine.hpp"
#include "config/sgx_platform.hpp"
#include "policy/policy.hpp"
#include "text/diagnostic.hpp"

namespace cloister::toolstack {

/// What follows the end of a domain: on_poweroff, on_reboot, on_crash.
/// preserve: the domain stays as it is, without a guest that runs, until somebody ends or reboots it.
enum class Action : u8 { destroy, restart, preserve };
std::string_view name_of(Action action);

/// What becomes of a running domain when the host goes down.
enum class HostShutdown : u8 {
  shutdown,  ///< its power button, and its end after shutdown_timeout
  destroy,   ///< its end at once
  save,      ///< it goes on when the host has come up
};
std::string_view name_of(HostShutdown word);

/// How the hypervisor pages EPC (docs/configuration.md, epc_paging).
enum class EpcPaging : u8 {
  automatic,  ///< by OSS where the domain's silicon has it
  trap,
  oss,
};
std::string_view name_of(EpcPaging how);

/// A virtual EPC section.
struct EpcSection {
  u64 mib = 0;
  std::optional<u32> package;  ///< of the machine; absent: any
  bool operator==(const EpcSection&) const = default;
};
/// Linux reads as many (SGX_MAX_EPC_SECTIONS).
inline constexpr std::size_t most_epc_sections = 8;

/// A file from which an image takes what it has not itself.
struct BackingConfig {
  std::string format, path;
  bool operator==(const BackingConfig&) const = default;
};

/// A disk. What is not raw another program reads (host/nbd_server.hpp), by that name.
struct DiskConfig {
  std::string path;
  std::string format = "raw";
  std::string vdev;  ///< "xvda"
  bool read_only = false;
  std::vector<BackingConfig> backing{};  ///< that of the image, that of this one, and so on
  Position at{};                         ///< of its element
  bool operator==(const DiskConfig&) const = default;
};
inline constexpr std::size_t most_disks = 16, most_backing = 8;
inline constexpr std::array<std::string_view, 5> disk_formats{"raw", "qcow2", "vmdk", "vhdx", "vdi"};
/// Which of them a vdev is, from 0 on: its last letter says so.
std::size_t disk_place(std::string_view vdev);

/// What `bootloader` is told of the disk.
struct BootloaderOptions {
  std::string kernel{}, ramdisk{};  ///< paths in the disk's file system; empty: as its menu, or its names, say
  std::optional<u32> entry{};       ///< of the menu
  bool operator==(const BootloaderOptions&) const = default;
};

using MacAddress = std::array<u8, 6>;

/// A port of the host that leads to one of the guest.
struct PortForward {
  bool udp = false;     ///< else TCP
  std::string address;  ///< of the host, IPv4's or IPv6's; empty: all that it has
  u16 host_port = 0, guest_port = 0;
  bool operator==(const PortForward&) const = default;
};

/// A network interface: on a bridge of the host's, or of the type `user`.
struct InterfaceConfig {
  std::string bridge{};             ///< empty: type=user
  std::string host_name{};          ///< of its end on the bridge; empty: any
  std::optional<MacAddress> mac{};  ///< absent: the domain's own (plan/interfaces.hpp)
  std::vector<PortForward> forwards{};
  bool reaches_host = false;  ///< the guest reaches the host's loopback, by its gateway's address
  u32 queues = 1;             ///< in each direction, of one on a bridge
  Position at{};              ///< of its element
  bool operator==(const InterfaceConfig&) const = default;
};
inline constexpr std::size_t most_interfaces = 8, most_interface_queues = 8;

/// Sockets between the guest and the host.
struct SocketsConfig {
  std::optional<u32> cid{};  ///< absent: any
  std::string path{};        ///< what calls of the guest to port P go to is PATH_P; empty: the run folder's
  u32 guest_cid() const { return cid.value_or(3); }
  bool operator==(const SocketsConfig&) const = default;
};
inline constexpr u32 least_cid = 3, most_cid = 0xffff'fffe;

/// Bounds of values.
namespace limits {
inline constexpr u64 least_memory_mib = 16, most_mib = 1 << 20;  ///< of RAM; the most of all EPC too
inline constexpr u64 most_vcpus = 16;
inline constexpr u32 most_package = 255;
inline constexpr u32 heaviest_epc = 10'000;            ///< epc_weight
inline constexpr i64 most_timeoffset = 1'000'000'000;  ///< seconds: 31 years and more
}  // namespace limits

struct DomainConfig {
  std::string name;
  std::string uuid;  ///< in its canonical form (text/uuid.hpp); empty: the domain gets one
  u64 memory_mib = 512;
  u32 vcpus = 1;
  CpuPlaces cpus;       ///< of the host, where they run
  std::string kernel;   ///< empty: there is a bootloader
  std::string ramdisk;  ///< empty: none
  std::string cmdline;
  bool bootloader = false;  ///< kernel and ramdisk are on its first disk, and a part of the command line is, too
  BootloaderOptions bootloader_options{};
  std::vector<DiskConfig> disks;  ///< in the order of their places
  std::vector<InterfaceConfig> interfaces;
  bool virtio_console = false;  ///< it has a console beside its serial port
  bool rng = false;             ///< it has a source of random bytes beside its processor's
  std::optional<SocketsConfig> vsock;
  std::vector<policy::CpuidOverride> cpuid;
  Action on_poweroff = Action::destroy, on_reboot = Action::restart, on_crash = Action::destroy;
  HostShutdown on_host_shutdown = HostShutdown::shutdown;
  u32 shutdown_timeout = 60;    ///< seconds that a guest has after SIGTERM to power itself off
  u32 restart_limit = 10;       ///< of restarts that these actions make; 0: none
  u32 restart_window = 300;     ///< seconds in which they are counted
  std::vector<EpcSection> epc;  ///< most_epc_sections at most; empty: no SGX
  u64 epc_min_mib = 0;          ///< of the machine's EPC that it has, if that is less: its EPC is paged; 0: all
  EpcPaging epc_paging = EpcPaging::automatic;  ///< of one that is paged
  u32 epc_weight = 100;  ///< of what is left of EPC it has more, the heavier it is; for one that is paged
  /// What the processor offers: "default", a description's name, a dump's path, or the name of a model of libvirt's.
  std::string silicon = "default";
  std::vector<policy::CpuidOverride> cpu_flags;  ///< beside such a model
  Engine engine = Engine::automatic;             ///< what runs its code
  /// IA32_SGXLEPUBKEYHASH0 to 3; absent: Intel's.
  std::optional<std::array<u64, 4>> lehash;
  bool lewr = true;            ///< the guest may write those MSRs
  bool sgx_provision = false;  ///< enclaves may have the provisioning key
  bool localtime = false;      ///< the clock chip has the host's local time, not UTC
  i64 rtc_timeoffset = 0;      ///< seconds by which it is ahead of that
  /// Whose keys its processor has; absent: its own, unless it was made before it could say so.
  std::optional<SgxPlatform> sgx_platform;

  std::map<std::string, Position, std::less<>> where;  ///< of each key's value
  /// Where the key's value stands; the file as a whole if the key is absent.
  Position position_of(std::string_view key) const;
  /// How many it has on its bus, and the key of one; null: it has none.
  std::size_t devices() const;
  const char* key_of_device() const;
  /// Of all sections.
  u64 epc_mib() const;
  /// It sees more EPC than it has: the hypervisor pages.
  bool epc_is_paged() const { return epc_min_mib != 0 && epc_min_mib < epc_mib(); }
  /// The least epc_min with which so much EPC is paged for so many processors: 1 MiB for each section at least.
  u64 least_epc_min_mib() const;
  /// What it has of the machine's EPC for each section: of epc_min each has its part, by what is seen of it.
  std::vector<EpcSection> epc_frames() const;
  /// The most memory of the host that its EPC takes in MiB: what it has, and the images of what it sees beside it.
  u64 epc_memory_mib() const;
  bool operator==(const DomainConfig&) const = default;
};

/// A value of `silicon` is the path of a dump if it has a '/' or a '.'; names have neither.
bool names_a_dump(std::string_view silicon);
/// It is the name of a model of libvirt's (policy/libvirt_models.hpp).
bool names_a_model(std::string_view silicon);

}  // namespace cloister::toolstack
