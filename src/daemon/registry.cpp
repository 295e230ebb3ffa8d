// Records as JSON.
#include "daemon/registry.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "arch/try.hpp"
#include "daemon/host_save_name.hpp"
#include "daemon/tickets.hpp"
#include "host/durable.hpp"
#include "host/files.hpp"
#include "plan/processors.hpp"
#include "text/json_fields.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr unsigned state_mode = 0700;
constexpr const char* machine_name = "machine.json";
constexpr const char* records_name = "domains";
constexpr const char* definitions_name = "definitions";
constexpr const char* keys_name = "keys";
constexpr const char* tickets_name = "tickets";
constexpr const char* saved_name = "saved";
constexpr const char* set_aside_name = "set-aside";
constexpr std::string_view record_suffix = ".json";
constexpr u64 most_charge_mib = u64{1} << 32;

tl::unexpected<std::string> in_file(const fs::path& path, const std::string& what) {
  return tl::unexpected(path.string() + ": " + what);
}

std::string record_name(u32 id) { return std::to_string(id).append(record_suffix); }

/// nullopt: a record has no such name.
std::optional<u32> record_number(std::string_view name) {
  if (!name.ends_with(record_suffix)) return std::nullopt;
  return domain_number(name.substr(0, name.size() - record_suffix.size()));
}

/// A record that was being written.
bool is_unfinished(std::string_view name) { return record_number(unfinished_of(name)).has_value(); }

json to_json(const ProcessIdentity& process) {
  return {
      {"pid", process.pid}, {"start", process.start}, {"boot", process.boot}, {"pid_namespace", process.pid_namespace}};
}

tl::expected<ProcessIdentity, std::string> read_process(const json& object) {
  ProcessIdentity process;
  u64 pid = 0;
  JsonFields fields(object);
  fields.number("pid", pid, std::numeric_limits<int>::max()).number("start", process.start).text("boot", process.boot);
  if (fields.has("pid_namespace")) fields.number("pid_namespace", process.pid_namespace);
  if (fields.ok() && pid == 0) fields.fail("'pid': out of range");
  if (!fields.ok()) return tl::unexpected(fields.error());
  process.pid = static_cast<int>(pid);
  return process;
}

json to_json(const SavingRecord& saving) {
  json object{{"file", saving.file}, {"owner", to_json(saving.owner)}, {"inode", saving.inode}};
  if (!saving.ticket.empty()) object.update({{"ticket", saving.ticket}, {"token", saving.token}});
  if (saving.snapshot) object["snapshot"] = true;
  if (saving.replaces) object["replaces"] = true;
  return object;
}

json to_json(const ArrivalRecord& arrival) {
  json object{{"ticket", arrival.ticket}, {"token", arrival.token}, {"paused", arrival.paused}};
  if (!arrival.saved.empty()) object["saved"] = arrival.saved;
  return object;
}

tl::expected<ArrivalRecord, std::string> read_arrival(const json& object) {
  ArrivalRecord arrival;
  JsonFields fields(object);
  fields.text("ticket", arrival.ticket).text("token", arrival.token).boolean("paused", arrival.paused);
  if (fields.has("saved")) {
    fields.text("saved", arrival.saved);
    if (fields.ok() && !read_host_save(arrival.saved)) fields.fail("'saved': expected a file's name in STATE/saved");
  }
  const bool none = !arrival.saved.empty() && arrival.ticket.empty();
  if (fields.ok() && !none && !is_ticket_name(arrival.ticket)) fields.fail("'ticket': expected 64 hexadecimal digits");
  if (!fields.ok()) return tl::unexpected(fields.error());
  return arrival;
}

tl::expected<SavingRecord, std::string> read_saving(const json& object) {
  SavingRecord saving;
  JsonFields fields(object);
  fields.text("file", saving.file).number("inode", saving.inode);
  if (fields.has("snapshot")) fields.boolean("snapshot", saving.snapshot);
  if (fields.has("replaces")) fields.boolean("replaces", saving.replaces);
  if (fields.has("ticket")) {
    fields.text("ticket", saving.ticket).text("token", saving.token);
    if (fields.ok() && !is_ticket_name(saving.ticket)) fields.fail("'ticket': expected 64 hexadecimal digits");
  }
  if (fields.ok() && !object.contains("owner")) fields.fail("'owner' is missing");
  if (!fields.ok()) return tl::unexpected(fields.error());
  saving.owner = TRY(read_owner(object["owner"]));
  return saving;
}

/// nullopt: it has none.
tl::expected<std::optional<SgxPlatform>, std::string> read_platform(const json& object) {
  std::string text;
  JsonFields fields(object);
  if (!fields.text("sgx_platform", text).ok()) return tl::unexpected(fields.error());
  if (text.empty()) return std::nullopt;
  auto platform = read_sgx_platform(text);
  if (!platform) return tl::unexpected("expected " + platform.error());
  return std::move(*platform);
}

}  // namespace

std::string write_record(const DomainRecord& record) {
  json object{{"version", record_version},
              {"id", record.id},
              {"uuid", record.uuid},
              {"name", record.name},
              {"persistent", record.persistent},
              {"config", record.config},
              {"file", record.file},
              {"directory", record.directory},
              {"owner", to_json(record.owner)},
              {"overhead_mib", record.overhead_mib},
              {"charged_mib", record.charged_mib},
              {"started", record.started},
              {"placement", record.placement},
              {"grants", to_json(record.grants)},
              {"package", to_json(record.package)},
              {"engine", name_of(record.engine)},
              {"sgx_platform", record.platform ? to_text(*record.platform) : ""},
              {"running", record.running},
              {"run", record.run}};
  if (record.process) object["process"] = to_json(*record.process);
  if (!record.disks.empty()) object["disks"] = record.disks;
  if (record.saving) object["saving"] = to_json(*record.saving);
  if (record.boot != 0) object["boot"] = record.boot;
  if (record.arrival) object["arrival"] = to_json(*record.arrival);
  if (record.move) object["move"] = to_json(*record.move);
  if (record.epc_min_mib != 0) object["epc_min_mib"] = record.epc_min_mib;
  if (record.epc_weight != 0) object["epc_weight"] = record.epc_weight;
  return json_text(object);
}

tl::expected<DomainRecord, std::string> read_record(std::string_view text) {
  const auto object = TRY(parse_object(text));
  DomainRecord record;
  JsonFields fields(object);
  u32 version = 1;
  if (fields.has("version")) fields.number("version", version);
  if (version < 1 || version > record_version)
    fields.fail("'version': " + std::to_string(version) + ", of which this daemon knows 1 to " +
                std::to_string(record_version));
  fields.number("id", record.id).text("name", record.name).text("config", record.config).text("file", record.file);
  fields.text("directory", record.directory).text("started", record.started).text("placement", record.placement);
  fields.boolean("running", record.running);
  if (fields.has("run")) fields.text("run", record.run);
  if (fields.has("uuid")) fields.text("uuid", record.uuid);
  if (fields.has("persistent")) fields.boolean("persistent", record.persistent);
  if (fields.ok() && fields.has("process")) {
    if (auto process = read_process(object["process"])) {
      record.process = std::move(*process);
    } else {
      fields.fail("'process': " + process.error());
    }
  }
  if (fields.ok() && fields.has("saving")) {
    if (auto saving = read_saving(object["saving"])) {
      record.saving = std::move(*saving);
    } else {
      fields.fail("'saving': " + saving.error());
    }
  }
  if (fields.has("boot")) fields.number("boot", record.boot);
  if (fields.ok() && fields.has("arrival")) {
    if (auto arrival = read_arrival(object["arrival"])) {
      record.arrival = std::move(*arrival);
    } else {
      fields.fail("'arrival': " + arrival.error());
    }
  }
  if (fields.ok() && fields.has("move")) {
    if (auto move = read_move(object["move"])) {
      record.move = std::move(*move);
    } else {
      fields.fail("'move': " + move.error());
    }
  }
  if (fields.has("overhead_mib")) fields.number("overhead_mib", record.overhead_mib, most_charge_mib);
  if (fields.has("charged_mib")) fields.number("charged_mib", record.charged_mib, most_charge_mib);
  if (fields.has("epc_min_mib")) fields.number("epc_min_mib", record.epc_min_mib, most_charge_mib);
  if (fields.has("epc_weight")) fields.number("epc_weight", record.epc_weight);
  if (fields.has("disks")) {
    for (const json& disk : fields.list("disks")) {
      if (disk.is_string())
        record.disks.push_back(disk.get<std::string>());
      else
        fields.fail("'disks': expected strings");
    }
  }
  read_engine(fields, record.engine);
  // Records of before there were owners: those domains' files were the daemon's to open.
  record.owner = own_user();
  if (fields.ok() && fields.has("owner")) {
    auto owner = read_owner(object["owner"]);
    if (!owner) fields.fail("'owner': " + owner.error());
    if (owner) record.owner = std::move(*owner);
  }
  auto grants = read_grants(fields.list("grants"));
  if (!grants) fields.fail("'grants': " + grants.error());
  if (!fields.has("package")) fields.fail("'package' is missing");
  if (fields.ok() && (record.id < 1 || record.id > last_owner)) fields.fail("'id': out of range");
  if (!fields.ok()) return tl::unexpected(fields.error());
  auto package = read_package_values(object["package"], record.config);
  if (!package) return tl::unexpected("'package': " + package.error());
  // Of before domains had keys of their own.
  if (version < 6 && !grants->empty()) record.platform = SgxPlatform{.keys = SgxPlatform::Keys::machine};
  if (version >= 6) {
    auto platform = read_platform(object);
    if (!platform) return tl::unexpected("'sgx_platform': " + platform.error());
    record.platform = std::move(*platform);
  }
  record.grants = std::move(*grants);
  record.package = std::move(*package);
  return record;
}

UnreadRecord salvage(u32 id, std::string_view text, std::string why) {
  UnreadRecord unread{.id = id, .why = std::move(why)};
  const auto object = parse_object(text);
  if (!object) return unread;
  if (const auto list = object->find("grants"); list != object->end() && list->is_array()) {
    if (auto grants = read_grants(*list)) unread.grants = std::move(*grants);
  }
  if (object->contains("package")) {
    std::string config;
    JsonFields(*object).text("config", config);
    if (auto package = read_package_values((*object)["package"], config)) unread.package = std::move(*package);
  }
  if (object->contains("process")) {
    if (auto process = read_process((*object)["process"])) unread.process = std::move(*process);
  }
  std::string uuid;
  JsonFields(*object).text("uuid", uuid);
  unread.uuid = read_uuid(uuid).value_or("");
  if (!unread.uuid.empty()) JsonFields(*object).boolean("persistent", unread.persistent);
  if (auto platform = read_platform(*object)) {
    unread.platform = std::move(*platform);
    unread.keys_known = !unread.uuid.empty();
  }
  JsonFields(*object).boolean("running", unread.running);
  JsonFields(*object).text("run", unread.run);
  JsonFields(*object).text("name", unread.name);
  JsonFields(*object).number("charged_mib", unread.charged_mib, most_charge_mib);
  return unread;
}

tl::expected<Registry, std::string> Registry::open(const DaemonPaths& paths, Making making) {
  auto state = TRY(open_own_folder(paths.state, making, state_mode));
  // Records have configurations, which are not everybody's.
  auto records = TRY(open_own_subfolder(state.get(), records_name, making, state_mode, paths.state));
  // A state folder of before there were definitions, or keys, is whole without theirs.
  const auto later = [&](const char* name) -> tl::expected<Fd, std::string> {
    struct stat status {};
    const bool absent = ::fstatat(state.get(), name, &status, AT_SYMLINK_NOFOLLOW) != 0;
    if (absent && making == Making::never) return Fd();
    return open_own_subfolder(state.get(), name, making, state_mode, paths.state);
  };
  auto definitions = TRY(later(definitions_name));
  auto keys = TRY(later(keys_name));
  auto tickets = TRY(later(tickets_name));
  auto saved = TRY(later(saved_name));
  return Registry(paths, std::move(state), std::move(records), std::move(definitions), std::move(keys),
                  std::move(tickets), std::move(saved));
}

tl::expected<RecordsRead, std::string> Registry::read() const {
  const auto names = names_in(records_.get());
  if (!names) return in_file(paths_.records(), names.error());
  RecordsRead all;
  for (const std::string& name : *names) {
    const auto id = record_number(name);
    if (!id) {
      (is_unfinished(name) ? all.unfinished : all.strays).push_back(name);
      continue;
    }
    const auto text = read_own_text(records_.get(), name);
    if (!text) {
      all.unread.push_back({.id = *id, .why = text.error()});
      continue;
    }
    if (!*text) continue;
    auto record = read_record(**text);
    if (record && record->id != *id)
      record = tl::unexpected("'id': " + std::to_string(record->id) + ", which is another file's");
    if (record) {
      all.domains.push_back(std::move(*record));
    } else {
      all.unread.push_back(salvage(*id, **text, record.error()));
    }
  }
  return all;
}

void Registry::tidy(const RecordsRead& records) const {
  for (const std::string& name : records.unfinished) ::unlinkat(records_.get(), name.c_str(), 0);
  ::unlinkat(state_.get(), std::string(machine_name).append(unfinished_suffix).c_str(), 0);
}

bool Registry::used() const {
  const auto names = names_in(records_.get());
  struct stat status {};
  const auto ours = [](const std::string& name) { return record_number(name) || is_unfinished(name); };
  const auto defined = definitions_ ? names_in(definitions_.get()) : std::vector<std::string>{};
  return !names || std::ranges::any_of(*names, ours) || !defined || !defined->empty() || has_keys() ||
         ::fstatat(state_.get(), machine_name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

tl::expected<MachineRecord, std::string> Registry::machine() const {
  const fs::path path = paths_.machine_record();
  const auto text = read_own_text(state_.get(), machine_name);
  if (!text) return in_file(path, text.error());
  if (!*text) return MachineRecord{};
  const auto object = parse_object(**text);
  if (!object) return in_file(path, object.error());
  MachineRecord record;
  JsonFields fields(*object);
  fields.number("next_id", record.next_id);
  for (const json& frame : fields.list("withdrawn")) {
    if (!frame.is_number_unsigned()) return in_file(path, "'withdrawn': expected frame numbers");
    record.withdrawn.push_back(frame.get<u64>());
  }
  if (!fields.ok()) return in_file(path, fields.error());
  return record;
}

tl::expected<void, std::string> Registry::put(const DomainRecord& record) const {
  return write_durably(records_.get(), record_name(record.id), write_record(record));
}

tl::expected<void, std::string> Registry::remove(u32 id) const {
  return remove_durably(records_.get(), record_name(id));
}

tl::expected<std::string, std::string> Registry::set_aside(u32 id) const {
  return set_aside(records_.get(), record_name(id));
}

tl::expected<std::string, std::string> Registry::set_aside(int from, const std::string& file) const {
  const auto folder = TRY(open_own_subfolder(state_.get(), set_aside_name, Making::missing, state_mode, paths_.state));
  const auto name = TRY(move_durably(from, file, folder.get()));
  return (paths_.set_aside() / name).string();
}

tl::expected<void, std::string> Registry::put(const MachineRecord& record) const {
  return write_durably(state_.get(), machine_name,
                       json_text({{"next_id", record.next_id}, {"withdrawn", record.withdrawn}}));
}

}  // namespace cloister::toolstack
