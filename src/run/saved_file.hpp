// The file that a domain is saved to, and goes on from (docs/stream.md): of the person who runs it, and never in the
// place of another file.
#pragma once

#include <functional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/partial_file.hpp"
#include "stream/record.hpp"

namespace cloister::toolstack {

/// Errors name the file.
class NewSavedFile {
 public:
  /// Mode 0600. Refused if there is something of this name.
  static tl::expected<NewSavedFile, std::string> create(const std::string& path);
  /// Removes it, unless it was finished.
  ~NewSavedFile();
  NewSavedFile(NewSavedFile&&) noexcept = default;
  NewSavedFile& operator=(NewSavedFile&&) = delete;

  /// Asked now and then, with the bytes that are written: why no more shall be; empty: all is well.
  using Look = std::function<std::string(u64 bytes)>;
  stream::Sink sink(Look look);
  /// All that the sink took is on the disk, and the file has its name.
  tl::expected<void, std::string> finish();

 private:
  NewSavedFile(std::string path, PartialFile file, Fd fd)
      : path_(std::move(path)), file_(std::move(file)), fd_(std::move(fd)) {}
  tl::expected<void, std::string> write_out();

  std::string path_;
  PartialFile file_;
  Fd fd_;
  std::vector<u8> pending_;
  u64 written_ = 0;
};

/// The bytes of a file. The error names it.
tl::expected<stream::Source, std::string> open_saved_file(const std::string& path);

}  // namespace cloister::toolstack
