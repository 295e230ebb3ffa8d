// What the daemon must not forget: its domains with the frames that they have, those that are defined, the frames that
// are withdrawn, the next domain's number, what ran when the host went down, and keys. A file for each domain, for each
// definition and for each key, one for the machine, one for the host.
//
// Records have a version, which is moved on whenever an older daemon would misread a newer one's. Members that a later
// version brought have a meaning when they are missing, so that older records are read as they are; they are written
// in the newest form. Files that are no records, or cannot be understood, stand in nobody's way: they are named, and
// neither changed nor removed.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/engine.hpp"
#include "daemon/definition.hpp"
#include "daemon/domain_key.hpp"
#include "daemon/host_record.hpp"
#include "daemon/move_record.hpp"
#include "daemon/paths.hpp"
#include "daemon/process_identity.hpp"
#include "daemon/saving_record.hpp"
#include "host/own_folder.hpp"
#include "host/owner.hpp"
#include "plan/package_values.hpp"

namespace cloister::toolstack {

/// 1, which no record says: without `process` and `run`. 2: without `owner` and `overhead_mib`. 3: without
/// `charged_mib`. 4: without `uuid` and `persistent`. 5: without `platform`. 6: without `boot`, `arrival` and `move`.
/// 7: without `digests`, `keys`,
/// `given_up` and `gone` of `move`. 8: without `host_features` of `package`. What a version lacks is lost if a daemon
/// that knows no more writes the record anew: a newer one is refused.
inline constexpr u32 record_version = 9;

struct DomainRecord {
  u32 id = 0;        ///< 1 to last_owner
  std::string uuid;  ///< empty: an older record does not say
  std::string name;
  bool persistent = false;              ///< it was started from the definition of this uuid
  std::string config, file, directory;  ///< as they came: the text, its file's name, the folder for relative paths
  u64 overhead_mib = 0;                 ///< beside RAM and EPC (domain_memory.hpp); 0: not said
  u64 charged_mib = 0;                  ///< all memory that it is accounted for; 0: not said
  Owner owner;                          ///< whose rights its files are opened with
  std::string started;                  ///< RFC 3339, UTC
  std::string placement;                ///< why the EPC is where it is
  u64 epc_min_mib = 0;                  ///< other than its configuration's, since somebody said so; 0: not
  u32 epc_weight = 0;                   ///< the same
  std::vector<std::string> disks;       ///< identity_of_disk() of each and of its backing files; none: not said
  Grants grants;
  PackageValues package;                   ///< what its VMM made its package of
  Engine engine = Engine::interpreter;     ///< what runs its code in its VMM, which alone an older record leaves out
  std::optional<SgxPlatform> platform;     ///< whose keys it has; none: it has no EPC, and no keys
  bool running = false;                    ///< false: being created; its VMM never started the guest
  std::optional<ProcessIdentity> process;  ///< its VMM; none: not started yet, or /proc did not say
  std::string run;                         ///< the run folder that has its sockets; empty: the daemon's
  std::optional<SavingRecord> saving{};    ///< none: nobody saves it
  u64 boot = 0;                            ///< of its platform's counters; 0: not said, or it has none
  std::optional<ArrivalRecord> arrival{};  ///< none: no enclaves come with it
  std::optional<MoveRecord> move{};        ///< none: it is here, and nowhere else
  bool operator==(const DomainRecord&) const = default;
};

struct MachineRecord {
  u32 next_id = 1;
  std::vector<u64> withdrawn;  ///< frames
  bool operator==(const MachineRecord&) const = default;
};

/// A file with the name of a domain's record that cannot be understood. What could be read of it is of use as long as
/// its domain lives.
struct UnreadRecord {
  u32 id = 0;  ///< by its name
  std::string why{};
  std::optional<Grants> grants{};  ///< none: not known
  PackageValues package{};         ///< as far as it is known
  std::optional<ProcessIdentity> process{};
  std::string uuid{}, run{}, name{};  ///< empty: not known
  bool persistent = false;            ///< false: not known, too
  std::optional<SgxPlatform> platform{};
  bool keys_known = false;  ///< by uuid and platform
  bool running = true;      ///< true: not known, too
  u64 charged_mib = 0;      ///< 0: not known
};

struct UnreadDefinition {
  std::string file;  ///< its name in the folder
  std::string why;
};
struct DefinitionsRead {
  std::vector<Definition> definitions;
  std::vector<UnreadDefinition> unread;
  std::vector<std::string> unfinished, strays;  ///< as RecordsRead's
};

/// A file with a key's name; what is in it is for those who have the wrap secret.
struct KeyFile {
  KeyName name{};
  std::string text{};
  std::string why{};  ///< it cannot be read; empty: it can
};
struct KeysRead {
  std::vector<KeyFile> files;
  std::vector<std::string> unfinished, strays;  ///< as RecordsRead's
};

struct RecordsRead {
  std::vector<DomainRecord> domains;
  std::vector<UnreadRecord> unread;
  std::vector<std::string> unfinished;  ///< files of ours that were being written: what they replace is still there
  std::vector<std::string> strays;      ///< other names, which are nobody's that we know
};

/// What is kept, as whoever keeps domains needs it.
class Records {
 public:
  virtual ~Records() = default;

  /// An error is the folder's; that of a single file is in the result.
  virtual tl::expected<RecordsRead, std::string> read() const = 0;
  /// Removes what read() found to be unfinished.
  virtual void tidy(const RecordsRead& records) const = 0;
  /// An error: the frames that are withdrawn are unknown.
  virtual tl::expected<MachineRecord, std::string> machine() const = 0;

  virtual tl::expected<void, std::string> put(const DomainRecord& record) const = 0;
  virtual tl::expected<void, std::string> remove(u32 id) const = 0;
  /// Moves a record to STATE/set-aside; returns where it is now.
  virtual tl::expected<std::string, std::string> set_aside(u32 id) const = 0;
  virtual tl::expected<void, std::string> put(const MachineRecord& record) const = 0;

  virtual tl::expected<DefinitionsRead, std::string> definitions() const = 0;
  virtual void tidy(const DefinitionsRead& definitions) const = 0;
  virtual tl::expected<void, std::string> put(const Definition& definition) const = 0;
  virtual tl::expected<void, std::string> remove_definition(const std::string& uuid) const = 0;
  virtual tl::expected<std::string, std::string> set_aside_definition(const std::string& file) const = 0;
  /// nullopt: there is none yet.
  virtual tl::expected<std::optional<HostRecord>, std::string> host() const = 0;
  virtual tl::expected<void, std::string> put(const HostRecord& record) const = 0;
  virtual tl::expected<std::string, std::string> set_aside_host() const = 0;

  virtual tl::expected<KeysRead, std::string> keys() const = 0;
  virtual void tidy(const KeysRead& keys) const = 0;
  /// `text`: a key that is wrapped.
  virtual tl::expected<void, std::string> put_key(const KeyName& name, const std::string& text) const = 0;
  virtual tl::expected<void, std::string> remove_key(const KeyName& name) const = 0;
  virtual tl::expected<std::string, std::string> set_aside_key(const KeyName& name) const = 0;

  /// nullopt: there is none of this name.
  virtual tl::expected<std::optional<std::string>, std::string> ticket(const std::string& name) const = 0;
  virtual tl::expected<void, std::string> put_ticket(const std::string& name, const std::string& text) const = 0;
  virtual tl::expected<void, std::string> remove_ticket(const std::string& name) const = 0;
  /// Removes those that were being written: nothing has been exported for them.
  virtual void tidy_tickets() const = 0;
  /// Their names.
  virtual tl::expected<std::vector<std::string>, std::string> tickets() const = 0;

  /// Names in STATE/saved (host_saves.hpp).
  virtual tl::expected<std::vector<std::string>, std::string> saved() const = 0;
  /// It has another name from now on, by which nothing goes on, or its own again; what is there already is replaced.
  virtual tl::expected<void, std::string> rename_saved(const std::string& from, const std::string& to) const = 0;
  virtual tl::expected<void, std::string> remove_saved(const std::string& name) const = 0;
  /// As many as there are, and so many at most.
  virtual std::vector<u8> beginning_of_saved(const std::string& name, std::size_t bytes) const = 0;
};

class Registry final : public Records {
 public:
  /// The state folder, which must be this user's alone. Nothing is read yet.
  static tl::expected<Registry, std::string> open(const DaemonPaths& paths, Making making = Making::missing);

  /// Whether there is anything that an earlier daemon kept, beside the secrets.
  bool used() const;
  /// Whether there are keys among it.
  bool has_keys() const;

  tl::expected<RecordsRead, std::string> read() const override;
  void tidy(const RecordsRead& records) const override;
  tl::expected<MachineRecord, std::string> machine() const override;
  tl::expected<void, std::string> put(const DomainRecord& record) const override;
  tl::expected<void, std::string> remove(u32 id) const override;
  tl::expected<std::string, std::string> set_aside(u32 id) const override;
  tl::expected<void, std::string> put(const MachineRecord& record) const override;
  tl::expected<DefinitionsRead, std::string> definitions() const override;
  void tidy(const DefinitionsRead& definitions) const override;
  tl::expected<void, std::string> put(const Definition& definition) const override;
  tl::expected<void, std::string> remove_definition(const std::string& uuid) const override;
  tl::expected<std::string, std::string> set_aside_definition(const std::string& file) const override;
  tl::expected<std::optional<HostRecord>, std::string> host() const override;
  tl::expected<void, std::string> put(const HostRecord& record) const override;
  tl::expected<std::string, std::string> set_aside_host() const override;
  tl::expected<KeysRead, std::string> keys() const override;
  void tidy(const KeysRead& keys) const override;
  tl::expected<void, std::string> put_key(const KeyName& name, const std::string& text) const override;
  tl::expected<void, std::string> remove_key(const KeyName& name) const override;
  tl::expected<std::string, std::string> set_aside_key(const KeyName& name) const override;
  tl::expected<std::optional<std::string>, std::string> ticket(const std::string& name) const override;
  tl::expected<void, std::string> put_ticket(const std::string& name, const std::string& text) const override;
  tl::expected<void, std::string> remove_ticket(const std::string& name) const override;
  void tidy_tickets() const override;
  tl::expected<std::vector<std::string>, std::string> tickets() const override;
  tl::expected<std::vector<std::string>, std::string> saved() const override;
  tl::expected<void, std::string> rename_saved(const std::string& from, const std::string& to) const override;
  tl::expected<void, std::string> remove_saved(const std::string& name) const override;
  std::vector<u8> beginning_of_saved(const std::string& name, std::size_t bytes) const override;

  /// The state folder, open.
  int state() const { return state_.get(); }

 private:
  Registry(DaemonPaths paths, Fd state, Fd records, Fd definitions, Fd keys, Fd tickets, Fd saved)
      : paths_(std::move(paths)),
        state_(std::move(state)),
        records_(std::move(records)),
        definitions_(std::move(definitions)),
        keys_(std::move(keys)),
        tickets_(std::move(tickets)),
        saved_(std::move(saved)) {}
  tl::expected<std::string, std::string> set_aside(int folder, const std::string& file) const;

  DaemonPaths paths_;
  Fd state_, records_;
  Fd definitions_, keys_, tickets_, saved_;  ///< none: there is no such folder, and none was to be made
};

std::string write_record(const DomainRecord& record);
tl::expected<DomainRecord, std::string> read_record(std::string_view text);
/// What can be read of a record that read_record() refuses.
UnreadRecord salvage(u32 id, std::string_view text, std::string why);

}  // namespace cloister::toolstack
