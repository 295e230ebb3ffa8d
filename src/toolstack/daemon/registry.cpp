// Records as JSON.
#include "toolstack/daemon/registry.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "toolstack/daemon/durable.hpp"
#include "toolstack/fd.hpp"
#include "toolstack/json_fields.hpp"

namespace cloister::toolstack {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

tl::unexpected<std::string> in_file(const fs::path& path, const std::string& what) {
  return tl::unexpected(path.string() + ": " + what);
}

tl::expected<std::string, std::string> text_of(const fs::path& path) {
  const auto bytes = read_file(path.string());
  if (!bytes) return in_file(path, bytes.error());
  return std::string(bytes->begin(), bytes->end());
}

/// Sorted; files that were being written are removed: what they replace is still there.
tl::expected<std::vector<fs::path>, std::string> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().string().ends_with(unfinished_suffix)) {
      ::unlink(entry->path().c_str());
    } else {
      files.push_back(entry->path());
    }
  }
  if (error) return in_file(folder, error.message());
  std::ranges::sort(files);
  return files;
}

json to_json(const ProcessIdentity& process) {
  return {{"pid", process.pid}, {"start", process.start}, {"boot", process.boot}};
}

tl::expected<ProcessIdentity, std::string> read_process(const json& object) {
  ProcessIdentity process;
  u64 pid = 0;
  JsonFields fields(object);
  fields.number("pid", pid, std::numeric_limits<int>::max()).number("start", process.start).text("boot", process.boot);
  if (fields.ok() && pid == 0) fields.fail("'pid': out of range");
  if (!fields.ok()) return tl::unexpected(fields.error());
  process.pid = static_cast<int>(pid);
  return process;
}

}  // namespace

bool DomainRecord::operator==(const DomainRecord& other) const { return write_record(*this) == write_record(other); }

std::string write_record(const DomainRecord& record) {
  json object{{"version", record_version},
              {"id", record.id},
              {"name", record.name},
              {"config", record.config},
              {"file", record.file},
              {"directory", record.directory},
              {"owner", to_json(record.owner)},
              {"started", record.started},
              {"placement", record.placement},
              {"grants", to_json(record.grants)},
              {"package", to_json(record.package)},
              {"running", record.running},
              {"run", record.run}};
  if (record.process) object["process"] = to_json(*record.process);
  return json_text(object);
}

tl::expected<DomainRecord, std::string> read_record(std::string_view text) {
  const auto object = parse_object(text);
  if (!object) return tl::unexpected(object.error());
  DomainRecord record;
  JsonFields fields(*object);
  u32 version = 1;
  if (fields.has("version")) fields.number("version", version);
  if (version < 1 || version > record_version)
    fields.fail("'version': " + std::to_string(version) + ", of which this daemon knows 1 to " +
                std::to_string(record_version));
  fields.number("id", record.id).text("name", record.name).text("config", record.config).text("file", record.file);
  fields.text("directory", record.directory).text("started", record.started).text("placement", record.placement);
  fields.boolean("running", record.running);
  if (fields.has("run")) fields.text("run", record.run);
  if (fields.ok() && fields.has("process")) {
    if (auto process = read_process((*object)["process"])) {
      record.process = std::move(*process);
    } else {
      fields.fail("'process': " + process.error());
    }
  }
  // Records of before there were owners: those domains' files were the daemon's to open.
  record.owner = own_user();
  if (fields.ok() && fields.has("owner")) {
    auto owner = read_owner((*object)["owner"]);
    if (!owner) fields.fail("'owner': " + owner.error());
    if (owner) record.owner = std::move(*owner);
  }
  auto grants = read_grants(fields.list("grants"));
  if (!grants) fields.fail("'grants': " + grants.error());
  if (!fields.has("package")) fields.fail("'package' is missing");
  if (fields.ok() && (record.id < 1 || record.id > hypervisor::last_owner)) fields.fail("'id': out of range");
  if (!fields.ok()) return tl::unexpected(fields.error());
  auto package = read_package_values((*object)["package"]);
  if (!package) return tl::unexpected("'package': " + package.error());
  record.grants = std::move(*grants);
  record.package = std::move(*package);
  return record;
}

tl::expected<Registry, std::string> Registry::open(const DaemonPaths& paths) {
  std::error_code error;
  for (const fs::path& folder : {paths.records(), paths.sockets()}) {
    fs::create_directories(folder, error);
    if (error) return in_file(folder, error.message());
  }
  // Records have configurations, sockets the guests' consoles: neither is everybody's.
  ::chmod(paths.state.c_str(), 0700);
  ::chmod(paths.sockets().c_str(), 0750);
  return Registry(paths);
}

tl::expected<std::vector<DomainRecord>, std::string> Registry::domains() const {
  const auto files = files_in(paths_.records());
  if (!files) return tl::unexpected(files.error());
  std::vector<DomainRecord> records;
  for (const fs::path& file : *files) {
    const auto text = text_of(file);
    if (!text) return tl::unexpected(text.error());
    auto record = read_record(*text);
    if (!record) return in_file(file, record.error());
    if (file != paths_.record(record->id)) return in_file(file, "its number is another file's");
    records.push_back(std::move(*record));
  }
  return records;
}

tl::expected<MachineRecord, std::string> Registry::machine() const {
  const fs::path path = paths_.machine_record();
  ::unlink(path.string().append(unfinished_suffix).c_str());
  if (!fs::exists(path)) return MachineRecord{};
  const auto text = text_of(path);
  if (!text) return tl::unexpected(text.error());
  const auto object = parse_object(*text);
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
  return write_durably(paths_.record(record.id), write_record(record));
}

tl::expected<void, std::string> Registry::remove(u32 id) const { return remove_durably(paths_.record(id)); }

tl::expected<void, std::string> Registry::put(const MachineRecord& record) const {
  return write_durably(paths_.machine_record(),
                       json_text({{"next_id", record.next_id}, {"withdrawn", record.withdrawn}}));
}

}  // namespace cloister::toolstack
