// Its keys are names that a person has chosen. What is beyond ASCII in a folder has become a question mark by now.
#include "machine/storage_toml.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "config/domain_name.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::size_t most_storages = 256, longest_folder = 1024;

tl::expected<std::string, Diagnostic> read_folder(const tables::Value& value) {
  constexpr const char* form = "the absolute path of a folder, without \".\", \"..\" and question marks, in ASCII";
  std::string folder = TRY(value.string(form));
  if (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  const bool is_plain = std::filesystem::path(folder).lexically_normal() == folder;
  if (!folder.starts_with('/') || folder == "/" || folder.size() > longest_folder || !is_plain ||
      folder.find('?') != std::string::npos || folder.find('\0') != std::string::npos)
    return value.wrong(form);
  return folder;
}

}  // namespace

tables::Done read_storage_table(MachineDescription& machine, const tables::Value& value) {
  const auto* table = value.node.as_table();
  if (table == nullptr) return value.wrong("a table, begun with [storage]");
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, node] : *table) entries.emplace_back(&key, &node);
  std::ranges::stable_sort(
      entries, [](const auto& a, const auto& b) { return a.first->source().begin < b.first->source().begin; });
  if (entries.size() > most_storages) return value.error(fmt::format("found more than {} storages", most_storages));
  for (const auto& [key, node] : entries) {
    SharedStorage storage{.name = std::string(key->str()), .folder = {}};
    if (const auto why = name_refused(storage.name))
      return tl::unexpected(Diagnostic{tables::position(key->source().begin), "'storage': " + *why});
    const tables::Value own{storage.name, *node};
    storage.folder = TRY(read_folder(own));
    const auto other = std::ranges::find(machine.storages, storage.folder, &SharedStorage::folder);
    if (other != machine.storages.end())
      return own.error(fmt::format("found the folder of '{}', expected another one for each storage", other->name));
    machine.storages.push_back(std::move(storage));
  }
  return {};
}

}  // namespace cloister::toolstack
