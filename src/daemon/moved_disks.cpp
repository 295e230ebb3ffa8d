// The disks of a domain that moves: files on storage that both machines name (machine.toml, `[storage]`). The offer
// names them as both do, and says by which mark on the open file the target knows that its own file is that one.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "config/changes.hpp"
#include "daemon/migrations.hpp"
#include "plan/storages.hpp"
#include "text/json_fields.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

std::string of_disk(const DiskConfig& disk, const std::string& why) {
  return fmt::format("disk {}: '{}': {}", disk.vdev, cut_path(disk.path), why);
}

/// What its process says of each, by its vdev: a mark, or why it has none.
std::map<std::string, tl::expected<DiskMark, std::string>> read_marks(const nlohmann::json& said) {
  std::map<std::string, tl::expected<DiskMark, std::string>> marks;
  JsonFields fields(said);
  for (const nlohmann::json& one : fields.list("disks")) {
    std::string vdev, why;
    DiskMark mark;
    JsonFields own(one);
    own.text("vdev", vdev);
    if (own.has("stays")) {
      own.text("stays", why);
    } else {
      own.number("mark", mark.byte).number("bytes", mark.bytes);
    }
    if (!own.ok()) why = own.error();
    marks.insert_or_assign(vdev, why.empty() ? tl::expected<DiskMark, std::string>(mark) : tl::unexpected(why));
  }
  return marks;
}

}  // namespace

std::vector<std::string> Migrations::why_disks_stay(const DomainRecord& record, const DomainConfig& config,
                                                    std::map<std::string, std::string>& targets) const {
  std::vector<std::string> why;
  const auto& storages = domains_.machine().storages;
  for (const DiskConfig& disk : config.disks) {
    if (const std::string stays = why_disk_stays(disk); !stays.empty()) {
      why.push_back(of_disk(disk, stays));
      continue;
    }
    if (storage_target(disk.path)) continue;
    const std::string path = (std::filesystem::path(record.directory) / disk.path).string();
    if (const auto on = storage_of(path, storages)) {
      targets.emplace(disk.vdev, to_text(*on));
    } else {
      why.push_back(
          of_disk(disk, "it lies in no storage of this machine's machine.toml, [storage], and moves on one alone"));
    }
  }
  return why;
}

void Migrations::offer_disks(const DomainRecord& record, const DomainConfig& config, Offer& offer) {
  std::map<std::string, std::string> targets;
  std::vector<std::string> why = why_disks_stay(record, config, targets);
  if (!targets.empty()) {
    auto text = retargeted(offer.config, targets);
    if (text) {
      offer.config = std::move(*text);
    } else {
      why.push_back(text.error());
    }
  }
  const auto answer = domains_.say(record, {{"verb", "disks"}});
  const auto marks = answer ? read_marks(answer->body) : decltype(read_marks({})){};
  if (!answer) why.push_back("its process says nothing of its disks: " + answer.error().message);
  for (const DiskConfig& disk : config.disks) {
    const auto mark = marks.find(disk.vdev);
    if (mark == marks.end()) continue;
    if (mark->second) {
      offer.disks.emplace(disk.vdev, *mark->second);
    } else if (why_disk_stays(disk).empty()) {
      why.push_back(of_disk(disk, mark->second.error()));
    }
  }
  offer.refused.insert(offer.refused.end(), why.begin(), why.end());
}

/// What a source says is no path before it is checked: it names a file below a folder that this machine's administrator
/// has named, which is opened as its owner may, and which the source has open, too.
std::vector<std::string> Migrations::disks_refused(const Offer& offer, const Owner& owner,
                                                   const DomainConfig& config) const {
  std::vector<std::string> why;
  for (const DiskConfig& disk : config.disks) {
    const auto refuse = [&](const std::string& reason) { why.push_back(of_disk(disk, reason)); };
    if (const std::string stays = why_disk_stays(disk); !stays.empty()) {
      refuse(stays);
      continue;
    }
    const auto target = storage_target(disk.path);
    const auto mark = offer.disks.find(disk.vdev);
    if (!target) {
      refuse("it lies in no storage that its source has named");
      continue;
    }
    const auto place = place_on_storage(*target, domains_.machine().storages);
    if (!place) {
      refuse(place.error());
    } else if (mark == offer.disks.end()) {
      refuse("its source says nothing of it");
    } else if (const auto opened = domains_.opener_.open_disk(
                   owner, place->path, disk.read_only ? DiskUse::read : DiskUse::write, DiskLock::no, disk.format, {},
                   {.folder = place->folder, .mark = mark->second});
               !opened) {
      refuse(opened.error().message);
    }
  }
  return why;
}

}  // namespace cloister::toolstack
