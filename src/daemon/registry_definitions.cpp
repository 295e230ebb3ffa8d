// The registry's definitions, a file for each uuid, and the host's record.
#include <fcntl.h>

#include "arch/try.hpp"
#include "daemon/registry.hpp"
#include "host/durable.hpp"
#include "text/shown.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {

constexpr const char* host_name = "host.json";
constexpr std::string_view suffix = ".json";

std::string file_of(const std::string& uuid) { return std::string(uuid).append(suffix); }

bool is_definition(std::string_view name) {
  if (!name.ends_with(suffix)) return false;
  name.remove_suffix(suffix.size());
  const auto uuid = read_uuid(name);
  return uuid && *uuid == name;
}

}  // namespace

tl::expected<DefinitionsRead, std::string> Registry::definitions() const {
  DefinitionsRead all;
  if (!definitions_) return all;
  const auto names = names_in(definitions_.get());
  if (!names) return tl::unexpected(paths_.definitions().string() + ": " + names.error());
  for (const std::string& name : *names) {
    if (!is_definition(name)) {
      (is_definition(unfinished_of(name)) ? all.unfinished : all.strays).push_back(name);
      continue;
    }
    const auto text = read_own_text(definitions_.get(), name);
    if (text && !*text) continue;
    auto read = text ? read_definition(**text) : tl::unexpected(text.error());
    if (read && file_of(read->uuid) != name)
      read = tl::unexpected("'uuid': " + cut(read->uuid) + ", which is another file's");
    if (read) {
      all.definitions.push_back(std::move(*read));
    } else {
      all.unread.push_back({.file = name, .why = read.error()});
    }
  }
  return all;
}

void Registry::tidy(const DefinitionsRead& definitions) const {
  for (const std::string& name : definitions.unfinished) ::unlinkat(definitions_.get(), name.c_str(), 0);
  ::unlinkat(state_.get(), std::string(host_name).append(unfinished_suffix).c_str(), 0);
}

tl::expected<void, std::string> Registry::put(const Definition& definition) const {
  return write_durably(definitions_.get(), file_of(definition.uuid), write_definition(definition));
}

tl::expected<void, std::string> Registry::remove_definition(const std::string& uuid) const {
  return remove_durably(definitions_.get(), file_of(uuid));
}

tl::expected<std::string, std::string> Registry::set_aside_definition(const std::string& file) const {
  return set_aside(definitions_.get(), file);
}

tl::expected<std::optional<HostRecord>, std::string> Registry::host() const {
  const auto text = TRY(read_own_text(state_.get(), host_name));
  if (!text) return std::nullopt;
  auto record = TRY(read_host_record(*text));
  return record;
}

tl::expected<std::string, std::string> Registry::set_aside_host() const { return set_aside(state_.get(), host_name); }

tl::expected<void, std::string> Registry::put(const HostRecord& record) const {
  return write_durably(state_.get(), host_name, write_host_record(record));
}

}  // namespace cloister::toolstack
