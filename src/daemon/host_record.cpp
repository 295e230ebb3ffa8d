// The host's record as JSON.
#include "daemon/host_record.hpp"

#include <fmt/format.h>

#include "arch/try.hpp"
#include "text/json_fields.hpp"
#include "text/whole_number.hpp"

namespace cloister::toolstack {

namespace {

std::vector<std::string> read_uuids(JsonFields& fields, const char* name) {
  std::vector<std::string> uuids;
  for (const nlohmann::json& one : fields.list(name)) {
    if (!one.is_string()) {
      fields.fail(fmt::format("'{}': expected strings", name));
      break;
    }
    uuids.push_back(one.get<std::string>());
  }
  return uuids;
}

}  // namespace

std::string write_host_record(const HostRecord& record) {
  nlohmann::json object{
      {"version", host_record_version},  {"boot", record.start.boot}, {"pid_namespace", record.start.pid_namespace},
      {"going_down", record.going_down}, {"ran", record.ran},         {"pending", record.pending},
      {"failed", record.failed}};
  for (const auto& [user, until] : record.delayed) object["delayed"][std::to_string(user)] = until;
  if (record.start.first_process) object["first_process"] = *record.start.first_process;
  return json_text(object);
}

tl::expected<HostRecord, std::string> read_host_record(std::string_view text) {
  const auto object = TRY(parse_object(text));
  HostRecord record;
  u32 version = 0;
  JsonFields fields(object);
  fields.number("version", version);
  if (fields.ok() && (version < 1 || version > host_record_version))
    fields.fail(fmt::format("'version': {}, of which this daemon knows 1 to {}", version, host_record_version));
  fields.text("boot", record.start.boot).number("pid_namespace", record.start.pid_namespace);
  if (fields.has("first_process")) fields.number("first_process", record.start.first_process.emplace());
  if (fields.has("going_down")) fields.boolean("going_down", record.going_down);
  record.ran = read_uuids(fields, "ran");
  record.pending = read_uuids(fields, "pending");
  if (fields.ok() && !(object.contains("failed") && object["failed"].is_object()))
    fields.fail("'failed': expected an object");
  if (!fields.ok()) return tl::unexpected(fields.error());
  for (const auto& [uuid, why] : object["failed"].items()) {
    if (!why.is_string()) return tl::unexpected(std::string("'failed': expected strings"));
    record.failed.emplace(uuid, why.get<std::string>());
  }
  if (!fields.has("delayed")) return record;
  for (const auto& [name, until] : object["delayed"].items()) {
    const auto user = whole_number<unsigned>(name);
    if (!user || !until.is_number_unsigned())
      return tl::unexpected(std::string("'delayed': expected a time for each user"));
    record.delayed.emplace(*user, until.get<u64>());
  }
  return record;
}

}  // namespace cloister::toolstack
