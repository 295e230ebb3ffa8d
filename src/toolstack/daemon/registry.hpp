// What the daemon must not forget: its domains with the frames that they have, the frames that are withdrawn, and the
// next domain's number. A file for each domain, and one for the machine.
//
// Records have a version, which is moved on whenever an older daemon would misread a newer one's. Members that a later
// version brought have a meaning when they are missing, so that older records are read as they are; they are written
// in the newest form.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "toolstack/daemon/paths.hpp"
#include "toolstack/daemon/process_identity.hpp"
#include "toolstack/owner.hpp"
#include "toolstack/package_values.hpp"

namespace cloister::toolstack {

/// 1, which no record says: without `process` and `run`.
inline constexpr u32 record_version = 2;

struct DomainRecord {
  u32 id = 0;  ///< 1 to hypervisor::last_owner
  std::string name;
  std::string config, file, directory;  ///< as they came: the text, its file's name, the folder for relative paths
  Owner owner;                          ///< whose rights its files are opened with
  std::string started;                  ///< RFC 3339, UTC
  std::string placement;                ///< why the EPC is where it is
  Grants grants;
  PackageValues package;                   ///< what its VMM made its package of
  bool running = false;                    ///< false: being created; its VMM never started the guest
  std::optional<ProcessIdentity> process;  ///< its VMM; none: not started yet, or /proc did not say
  std::string run;                         ///< the run folder that has its sockets; empty: the daemon's
  bool operator==(const DomainRecord&) const;
};

struct MachineRecord {
  u32 next_id = 1;
  std::vector<u64> withdrawn;  ///< frames
  bool operator==(const MachineRecord&) const = default;
};

class Registry {
 public:
  /// Makes the folders. Nothing is read yet.
  static tl::expected<Registry, std::string> open(const DaemonPaths& paths);

  /// An error names the file that cannot be understood: then what it granted is unknown.
  tl::expected<std::vector<DomainRecord>, std::string> domains() const;
  tl::expected<MachineRecord, std::string> machine() const;

  tl::expected<void, std::string> put(const DomainRecord& record) const;
  tl::expected<void, std::string> remove(u32 id) const;
  tl::expected<void, std::string> put(const MachineRecord& record) const;

 private:
  explicit Registry(DaemonPaths paths) : paths_(std::move(paths)) {}
  DaemonPaths paths_;
};

std::string write_record(const DomainRecord& record);
tl::expected<DomainRecord, std::string> read_record(std::string_view text);

}  // namespace cloister::toolstack
