// A configuration that somebody sent, checked as far as it can be without the domains that there are: its text, its
// files, which are opened with the rights of who sent it, and the plan of a machine.
//
// Threads: any. It may wait for file systems (opener.hpp): call it without a lock.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.hpp"
#include "daemon/api_error.hpp"
#include "daemon/opener.hpp"
#include "host/fd.hpp"
#include "machine/machine.hpp"
#include "plan/host_features.hpp"
#include "plan/interfaces.hpp"
#include "plan/processors.hpp"
#include "protocol/saving.hpp"

namespace cloister::toolstack {

/// Bytes of a request's file and directory: Linux opens no longer path.
inline constexpr std::size_t longest_request_path = 4096;

struct CreateRequest {
  std::string config, file, directory;
  Owner owner;  ///< with whose rights its files are opened
  bool paused = false;
  std::string uuid{};  ///< that it is to have, where its text has none; empty: any
  bool anew = false;   ///< of one that is defined: whatever it could go on from, and wherever it may run
  /// Of one that arrives: what its source says of its disks, by their vdev.
  std::map<std::string, DiskMark> marks{};
  std::optional<HostFeatures> host_features{};  ///< that it has already; none: it starts
};

/// What becomes of a domain's enclaves that is saved, or goes on.
enum class Enclaves : u8 {
  as_they_can,  ///< they are saved if the domain can do that, and go on if they were
  keep,
  lose,
};

/// A file that a request names, and with whose rights it is opened or made.
struct FileRequest {
  std::string file, directory;
  Owner owner;
  Enclaves enclaves = Enclaves::as_they_can;
  AfterSave then = AfterSave::ends;  ///< of one that is saved
  bool replaces = false;             ///< likewise: a file that was saved before
};

/// What a domain goes on from, as its VMM gets it (protocol/launch.hpp); none: it starts.
struct SavedFile {
  Fd file{}, order{};
  std::optional<ArrivalRecord> arrival{};  ///< none: its enclaves are lost
  u64 boot = 0;                            ///< with them: of the counters that they had
  bool arrives = false;      ///< the file is the socket that its stream comes from; an order: with its enclaves
  bool brings_keys = false;  ///< it has none here until they have come with it
};

struct OpenImages {
  Fd kernel, ramdisk;
  u64 ramdisk_bytes = 0;        ///< that are kept for its restarts
  Fd boot_reader{};             ///< with a bootloader: connection to what looks at its disk (boot/reader.hpp)
  std::string boot_cmdline{};   ///< what that says
  std::vector<OpenDisk> disks;  ///< in the configuration's order, as are
  std::vector<Connections> interfaces{};
  SavedFile saved{};
  /// Of the disks, and of their backing files.
  std::vector<std::string> identities() const;
};

struct CheckedRequest {
  DomainConfig config;
  OpenImages images;
  Engine engine = Engine::interpreter;  ///< what runs its code
  vmx::Features features;               ///< what its processors offer
  std::vector<std::string> warnings;    ///< with file and place
};

/// What the domain is checked for. Of one that is created at once, its own process looks into the kernel, and the
/// machine's accounts know what EPC there is; what is kept for later is checked for both here.
/// One that goes on from a file has its kernel in its RAM: a bootloader has nothing to do yet. So has one that arrives,
/// whose disks its source has still: they are opened, and seen to be the same, and its own process locks them.
enum class CheckedFor : u8 { creation, going_on, arrival, definition };

/// The domain that uses a disk of this identity; empty: none does.
/// locked: who asks has its locks, for this; then one that moves has given them up, and has it still.
using DiskUser = std::function<std::string(const std::string& identity, std::optional<DiskUse> locked)>;

/// Whether the machine can have this domain, but for how much of it is free. The disks of one that is created are
/// locked: nobody else uses them from then on.
tl::expected<CheckedRequest, ApiError> check_request(FileOpener& opener, const CreateRequest& request,
                                                     const MachineDescription& machine, const Processors& processors,
                                                     CheckedFor what, const DiskUser& user = {});

}  // namespace cloister::toolstack
