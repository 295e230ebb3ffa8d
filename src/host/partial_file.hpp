// A file that has another name, beside its own, until it is whole: whoever is killed while it is written, nothing that
// is half of it has ever had its name. It takes the place of another one only if
// it is told which may go, and then only when it is whole (open(2), renameat2(2)).
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "arch/types.hpp"
#include "host/fd.hpp"

namespace cloister::toolstack {

class PartialFile {
 public:
  /// What follows its name meanwhile.
  static constexpr std::string_view suffix = ".partial";

  /// The place of a file. No link of the kernel's own, such as /proc/PID/root, leads there. Errors name no file but the
  /// partial one.
  static tl::expected<PartialFile, std::string> at(const std::string& path);

  /// Whether an older file may be replaced, which is open for reading.
  using MayGo = bool (*)(int fd);

  /// Makes it, mode 0600, for writing, on the disk with its other name; `flags` are of open(2), beside. Refused if
  /// there is something of either name, but for a regular file of this process's user that may go.
  tl::expected<Fd, std::string> create(int flags = 0, MayGo may_go = nullptr) const;
  /// For reading, under its other name. None: there is none.
  Fd open() const;
  /// It is whole: from now on it has its name, on the disk. Or it keeps the other one: the error says so.
  /// may_go: as when it was created.
  tl::expected<void, std::string> finish(MayGo may_go = nullptr) const;
  /// If it is there.
  tl::expected<void, std::string> remove() const;

 private:
  PartialFile(Fd folder, std::string name) : folder_(std::move(folder)), name_(std::move(name)) {}
  std::string partial() const { return name_ + std::string(suffix); }
  tl::expected<void, std::string> sync_folder() const;
  enum class Place : u8 { empty, may_go };
  tl::expected<Place, std::string> place(MayGo may_go) const;

  Fd folder_;
  std::string name_;
};

}  // namespace cloister::toolstack
