// Domains that were saved when the host went down (`on_host_shutdown = "save"`): a file in STATE/saved for each, whose
// name says whose it is. It has this name as soon as all of it is there, and loses it before its domain runs again: so
// a file that is there has not gone on yet, whoever died.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "daemon/host_save_name.hpp"
#include "daemon/saving_record.hpp"

namespace cloister::toolstack {

class Records;
struct DomainRecord;
struct RecordsRead;

/// What is being written is one of them.
bool is_host_save(const std::filesystem::path& folder, const SavingRecord& saving);

/// Those that have not gone on yet. Thread rules: its owner's.
class HostSaves {
 public:
  /// The records must outlive it. folder: STATE/saved.
  HostSaves(const Records& records, std::filesystem::path folder) : records_(records), folder_(std::move(folder)) {}

  /// What an earlier daemon left. Of those that are still being written the records know.
  void read(const RecordsRead& records);
  bool has(const std::string& uuid) const { return by_uuid_.contains(uuid) || unnamed_.contains(uuid); }
  /// One that has its name.
  std::optional<HostSave> find(const std::string& uuid) const;
  /// Its file could not be given its name, and its domain's record stays: nothing goes on from it before the next
  /// daemon has named it, and nothing of it is there any more when it is forgotten.
  void keep_unnamed(const DomainRecord& record);
  /// Where such a one is; empty: there is none.
  std::string unnamed(const std::string& uuid) const;
  bool keeps_record(u32 id) const;
  std::string path_of(const HostSave& save) const { return (folder_ / host_save_name(save)).string(); }
  /// Its file has its name.
  void add(const SavingRecord& saving);
  /// From now on nothing goes on from it. An error: nothing was to, or it is as it was.
  tl::expected<void, std::string> spend(const std::string& name);
  /// Its domain was not told to run, and never will be: it is as it was.
  void unspend(const std::string& name);
  /// Of one that is spent.
  void remove(const std::string& name) const;
  /// Its domain is not to go on from it. The name of its ticket, which may be none's.
  tl::expected<std::string, std::string> forget(const std::string& uuid);
  auto begin() const { return by_uuid_.begin(); }
  auto end() const { return by_uuid_.end(); }

 private:
  const Records& records_;
  const std::filesystem::path folder_;
  struct Unnamed {
    std::string name, ticket;
    u32 record = 0;
  };
  tl::expected<std::string, std::string> forget_unnamed(const std::string& uuid);

  std::map<std::string, std::string> by_uuid_;  ///< the files' names
  std::map<std::string, Unnamed> unnamed_;
};

}  // namespace cloister::toolstack
