// What the daemon hands to a new VMM: a message in a memfd, and descriptors with fixed numbers. The VMM opens no file
// by name.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/domain_config.hpp"
#include "config/engine.hpp"
#include "host/processors.hpp"
#include "machine/platform_secret.hpp"
#include "plan/package_values.hpp"

namespace cloister::toolstack {

/// Numbers of the inherited descriptors; all others are closed.
namespace launch_fd {
inline constexpr int message = 3;    ///< memfd: LaunchMessage
inline constexpr int control = 4;    ///< bound SOCK_SEQPACKET socket, already listening
inline constexpr int console = 5;    ///< bound SOCK_STREAM socket, already listening
inline constexpr int kernel = 6;     ///< regular file, unless the domain goes on with a bootloader
inline constexpr int ramdisk = 7;    ///< regular file, if the configuration has one
inline constexpr int epc = 8;        ///< EpcMemory's pages, if the domain has EPC
inline constexpr int epcm = 9;       ///< EpcMemory's EPCM, if the domain has EPC
inline constexpr int counters = 10;  ///< MachineCounters, if the domain has EPC
inline constexpr int page = 11;      ///< DomainPage
inline constexpr int keys = 12;      ///< memfd with LaunchKeys' two secrets, if the domain has EPC
inline constexpr int root = 13;      ///< directory that is empty for ever: its name has been removed
inline constexpr int saved = 14;     ///< file, or socket, that the domain goes on from, if it does
inline constexpr int order = 15;     ///< memfd with that file's SavingOrder (saving.hpp), or a MoveOrder
inline constexpr int disk = 16;      ///< of each disk, in their order: file or block device, locked
inline constexpr int interface =
    disk + int{most_disks};  ///< of each network interface, in their order: a socket, or, on a bridge, its first queue
inline constexpr int vsock = interface + int{most_interfaces};  ///< of one with vsock: socket, already listening
inline constexpr int connector =
    vsock + 1;  ///< likewise: connection to what connects for it (host/vsock_connector.hpp)
inline constexpr int boot_reader =
    connector + 1;  ///< of one with a bootloader: connection to what looks at its disk (boot/reader.hpp)
inline constexpr int more_queues =
    boot_reader + 1;  ///< of each network interface, with room for as many as it may have
inline constexpr int first = message, last = more_queues + int{most_interfaces * (most_interface_queues - 1)} - 1;

constexpr int interface_queue(std::size_t number, std::size_t queue) {
  if (queue == 0) return interface + static_cast<int>(number);
  return more_queues + static_cast<int>(number * (most_interface_queues - 1) + queue - 1);
}
}  // namespace launch_fd

/// The secrets of a domain's virtual platform: all that its VMM is ever given.
struct LaunchKeys {
  Secret root{};    ///< of REPORT, SEAL, provisioning and launch keys; others of the domain's group have it, too
  Secret paging{};  ///< of the key that pages are evicted with; nobody else has it
  u64 boot = 0;     ///< of its counters
};

struct LaunchMessage {
  u32 id = 0;
  std::string name;
  std::string config;  ///< text of the configuration
  std::string file;    ///< its name, for messages
  Grants grants;       ///< one for each EPC section of the configuration
  PackageValues package;
  Engine engine = Engine::interpreter;  ///< what runs its code
  std::vector<CpuSet> cpus{};           ///< where each of its processors runs (plan/cpu_places.hpp); empty: anywhere
  bool goes_on = false;                 ///< from a file, in which it was saved; else it starts
  std::string uuid{};                   ///< that it has, whether its text says it or not; empty: not said
  bool arrives = false;                 ///< that is the stream of one that moves (moving.hpp), not a file
  bool enclaves = false;                ///< of which its enclaves are a part, and there is a MoveOrder
  bool waits = false;                   ///< for the word to run, whoever dies: nobody could let it go on again
  std::string boot_cmdline{};           ///< of one with a bootloader: what its disk says; before the configuration's
  bool operator==(const LaunchMessage&) const = default;
};

std::string write_launch(const LaunchMessage& message);
/// The error says which member is wrong.
tl::expected<LaunchMessage, std::string> read_launch(std::string_view text);

}  // namespace cloister::toolstack
