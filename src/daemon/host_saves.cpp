#include "daemon/host_saves.hpp"

#include <algorithm>

#include "arch/try.hpp"
#include "daemon/registry.hpp"
#include "daemon/tickets.hpp"
#include "host/log.hpp"
#include "host/partial_file.hpp"

namespace cloister::toolstack {

namespace {

/// What follows the name of one that goes on, until that is certain.
constexpr std::string_view spent_suffix = ".spent";

std::string spent_name(const std::string& name) { return name + std::string(spent_suffix); }
std::string partial_name(const std::string& name) { return name + std::string(PartialFile::suffix); }

/// What is before a suffix; empty: it does not end so.
std::string without_suffix(const std::string& name, std::string_view suffix) {
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : "";
}

}  // namespace

bool is_host_save(const std::filesystem::path& folder, const SavingRecord& saving) {
  const std::filesystem::path file = saving.file;
  if (!read_host_save(file.filename().string())) return false;
  // By whatever name the state folder was given to the daemon that began it.
  std::error_code unknown;
  return file.parent_path() == folder || std::filesystem::equivalent(file.parent_path(), folder, unknown);
}

void HostSaves::read(const RecordsRead& records) {
  const auto names = records_.saved();
  if (!names) return log(LogLevel::error, "state-not-kept", {{"file", folder_.string()}, {"error", names.error()}});
  for (const std::string& name : *names) {
    if (const auto save = read_host_save(name)) {
      by_uuid_.insert_or_assign(save->uuid, name);
      continue;
    }
    const std::string partial = without_suffix(name, PartialFile::suffix);
    const bool written = std::ranges::any_of(records.domains, [&](const DomainRecord& record) {
      return record.saving && is_host_save(folder_, *record.saving) &&
             std::filesystem::path(record.saving->file).filename() == partial;
    });
    if (written) continue;
    if (read_host_save(partial) || read_host_save(without_suffix(name, spent_suffix))) {
      if (auto removed = records_.remove_saved(name); removed) continue;
    }
    log(LogLevel::warning, "file-unknown", {{"file", (folder_ / name).string()}});
  }
}

std::optional<HostSave> HostSaves::find(const std::string& uuid) const {
  const auto found = by_uuid_.find(uuid);
  return found == by_uuid_.end() || unnamed_.contains(uuid) ? std::nullopt : read_host_save(found->second);
}

void HostSaves::keep_unnamed(const DomainRecord& record) {
  const std::string name = std::filesystem::path(record.saving->file).filename();
  if (const auto save = read_host_save(name))
    unnamed_.insert_or_assign(save->uuid, Unnamed{.name = name, .ticket = record.saving->ticket, .record = record.id});
}

std::string HostSaves::unnamed(const std::string& uuid) const {
  const auto found = unnamed_.find(uuid);
  return found == unnamed_.end() ? "" : (folder_ / partial_name(found->second.name)).string();
}

bool HostSaves::keeps_record(u32 id) const {
  return std::ranges::any_of(unnamed_, [&](const auto& one) { return one.second.record == id; });
}

/// The record last: without it the file is nobody's.
tl::expected<std::string, std::string> HostSaves::forget_unnamed(const std::string& uuid) {
  const Unnamed one = unnamed_.at(uuid);
  TRY(records_.remove_saved(partial_name(one.name)));
  TRY(records_.remove_saved(one.name));  // it may have its name, and that was not certain
  TRY(records_.remove(one.record));
  unnamed_.erase(uuid);
  by_uuid_.erase(uuid);
  return one.ticket;
}

void HostSaves::add(const SavingRecord& saving) {
  const std::string name = std::filesystem::path(saving.file).filename();
  if (const auto save = read_host_save(name)) by_uuid_.insert_or_assign(save->uuid, name);
}

tl::expected<void, std::string> HostSaves::spend(const std::string& name) {
  const auto save = read_host_save(name);
  if (!save || find(save->uuid) != save) return tl::unexpected("it has gone on from " + name + " already");
  TRY(records_.rename_saved(name, spent_name(name)));
  by_uuid_.erase(save->uuid);
  return {};
}

void HostSaves::unspend(const std::string& name) {
  const auto save = read_host_save(name);
  if (!save) return;
  if (auto kept = records_.rename_saved(spent_name(name), name); !kept)
    return log(LogLevel::error, "state-not-kept", {{"file", name}, {"error", kept.error()}});
  by_uuid_.insert_or_assign(save->uuid, name);
}

void HostSaves::remove(const std::string& name) const {
  if (auto removed = records_.remove_saved(spent_name(name)); !removed)
    log(LogLevel::error, "state-not-kept", {{"file", name}, {"error", removed.error()}});
}

tl::expected<std::string, std::string> HostSaves::forget(const std::string& uuid) {
  if (unnamed_.contains(uuid)) return forget_unnamed(uuid);
  const auto found = by_uuid_.find(uuid);
  if (found == by_uuid_.end()) return std::string();
  const std::string name = found->second;
  const auto id = stream::seal_id(records_.beginning_of_saved(name, stream::seal_header_bytes));
  TRY(spend(name));
  remove(name);
  return id ? ticket_name(*id) : std::string();
}

}  // namespace cloister::toolstack
