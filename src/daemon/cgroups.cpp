// Files of a group are written with one write() each.
#include "daemon/cgroups.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "arch/try.hpp"
#include "host/files.hpp"

namespace cloister::toolstack {

namespace {

namespace fs = std::filesystem;

constexpr const char* wanted_controllers[] = {"memory", "cpu", "pids"};
constexpr const char* own_slice = "cloister.slice";
constexpr u64 period_us = 100'000;  // cpu.max's default

using Done = tl::expected<void, std::string>;

/// The kernel makes these files with their group; elsewhere (tests) this does.
Done write(const fs::path& file, const std::string& text) {
  const Fd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return {};
  return tl::unexpected("cannot write " + text + " to " + file.string() + ": " + std::strerror(errno));
}

std::set<std::string> words_in(const fs::path& file) {
  std::ifstream stream(file);
  std::set<std::string> words;
  for (std::string word; stream >> word;) words.insert(word);
  return words;
}

std::string own_group(const fs::path& root) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return {};
}

/// Lets the children of a group have these controllers, as far as the group has them itself.
void pass_on(const fs::path& group) {
  const auto there = words_in(group / "cgroup.controllers"), passed = words_in(group / "cgroup.subtree_control");
  for (const char* controller : wanted_controllers) {
    // One by one: what cannot be passed on is missing among the children's.
    if (there.contains(controller) && !passed.contains(controller))
      (void)write(group / "cgroup.subtree_control", std::string("+") + controller);
  }
}

bool make_folder(const fs::path& folder) { return ::mkdir(folder.c_str(), 0755) == 0 || errno == EEXIST; }

}  // namespace

tl::expected<DomainCgroups, std::string> DomainCgroups::open(const std::string& asked, const std::string& root) {
  DomainCgroups groups;
  const auto off = [&](std::string why) {
    groups.off_ = std::move(why);
    return groups;
  };
  if (asked == "none") return off("switched off by --cgroup none");
  const bool named = asked != "auto";
  const fs::path mount = fs::path(root) / "sys/fs/cgroup";
  const std::string own = own_group(root);
  fs::path group = asked;
  if (!named) {
    if (own.empty()) return off("this host has no cgroup v2");
    const fs::path slice = fs::path(own).parent_path();
    if (slice.filename() != own_slice)
      return off(std::string("cloisterd does not run in ") + own_slice + ", and no --cgroup was given");
    group = mount / slice.relative_path();
  }
  const auto failed = [&](const std::string& why) -> tl::expected<DomainCgroups, std::string> {
    if (named) return tl::unexpected(why);
    return off(why);
  };
  if (!fs::exists(group / "cgroup.controllers")) return failed(group.string() + " is no group of cgroup v2");
  // A group with processes of its own passes no controller on: the daemon moves into a child.
  std::error_code ignored;
  if (!own.empty() && fs::equivalent(group, mount / fs::path(own).relative_path(), ignored)) {
    if (!make_folder(group / "daemon"))
      return failed("cannot make " + (group / "daemon").string() + ": " + std::strerror(errno));
    if (auto done = write(group / "daemon/cgroup.procs", std::to_string(::getpid())); !done)
      return failed(done.error());
  }
  groups.domains_ = group / "domains";
  if (!make_folder(groups.domains_))
    return failed("cannot make " + groups.domains_.string() + ": " + std::strerror(errno));
  pass_on(group);
  pass_on(groups.domains_);
  const auto passed = words_in(groups.domains_ / "cgroup.subtree_control");
  for (const char* controller : wanted_controllers) {
    if (passed.contains(controller)) groups.controllers_.emplace_back(controller);
  }
  if (groups.controllers_.empty()) {
    groups.domains_.clear();
    return failed(group.string() + " passes none of memory, cpu and pids on");
  }
  return groups;
}

bool DomainCgroups::has(const char* controller) const {
  return std::ranges::find(controllers_, controller) != controllers_.end();
}

tl::expected<void, std::string> DomainCgroups::add(u32 id, int pid, const CgroupLimits& limits) const {
  if (domains_.empty()) return {};
  const fs::path group = of(id);
  // One of the same number is an earlier domain's, of which nothing runs any more; or it cannot be removed.
  ::rmdir(group.c_str());
  if (::mkdir(group.c_str(), 0755) != 0)
    return tl::unexpected("cannot make the control group " + group.string() + ": " + std::strerror(errno));
  const auto limited = [&]() -> Done {
    if (has("memory")) {
      TRY(write(group / "memory.max", std::to_string(limits.memory_bytes)));
      TRY(write(group / "memory.oom.group", "1"));
    }
    if (has("cpu")) {
      const std::string most = std::to_string(limits.processors * period_us) + " " + std::to_string(period_us);
      TRY(write(group / "cpu.max", most));
    }
    if (has("pids")) {
      TRY(write(group / "pids.max", std::to_string(limits.tasks)));
    }
    return write(group / "cgroup.procs", std::to_string(pid));
  }();
  if (!limited) ::rmdir(group.c_str());
  return limited;
}

void DomainCgroups::remove(u32 id) const {
  if (!domains_.empty()) ::rmdir(of(id).c_str());
}

void DomainCgroups::keep_only(const std::vector<u32>& ids) const {
  if (domains_.empty()) return;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(domains_, ignored)) {
    const std::string name = entry.path().filename();
    constexpr std::string_view form = "domain-";
    u32 id = 0;
    const char* const end = name.data() + name.size();
    if (!name.starts_with(form) || std::from_chars(name.data() + form.size(), end, id).ptr != end) continue;
    if (std::ranges::find(ids, id) == ids.end()) remove(id);
  }
}

}  // namespace cloister::toolstack
