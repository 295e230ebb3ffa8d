// The files of an ext2, ext3 or ext4 file system in a part of a disk, read by libext2fs. Whoever wrote it may have
// meant harm: it is opened in a process of its own alone (reader.hpp). A journal that was not played back is left as it
// is, as boot loaders do: what it has is not seen.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "boot/disk.hpp"

namespace cloister::boot {

class ExtFiles {
 public:
  /// Null: there is none in that part, or none that can be read; `why` says of one that is there why not. The disk must
  /// outlive it.
  static std::unique_ptr<ExtFiles> open(Disk& disk, const Part& part, std::string& why);
  ExtFiles(const ExtFiles&) = delete;
  ExtFiles& operator=(const ExtFiles&) = delete;
  ~ExtFiles();

  const Part& part() const;
  /// As `root=UUID=` has it.
  std::string uuid() const;
  bool has_journal_to_play_back() const;

  /// A regular file's length, by a path that links may be part of; they end at the file system's root.
  tl::expected<u64, std::string> length_of(const std::string& path);
  using Sink = std::function<bool(std::span<const u8>)>;
  /// All of its bytes in order, if they are `most` at most.
  tl::expected<void, std::string> copy(const std::string& path, u64 most, const Sink& to);
  tl::expected<std::string, std::string> text(const std::string& path, u64 most);
  /// The names in a folder; of one that is not there, or too long, none.
  std::vector<std::string> names(const std::string& folder);

 private:
  struct Impl;
  explicit ExtFiles(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloister::boot
