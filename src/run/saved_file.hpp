// The file that a domain is saved to, and goes on from (docs/stream.md): of the person who runs it, and never in the
// place of another file.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/fd.hpp"
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

  stream::Sink sink();
  /// All that the sink took is on the disk.
  tl::expected<void, std::string> finish();

 private:
  NewSavedFile(std::string path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  tl::expected<void, std::string> write_out();

  std::string path_;
  Fd fd_;
  std::vector<u8> pending_;
};

/// The bytes of a file. The error names it.
tl::expected<stream::Source, std::string> open_saved_file(const std::string& path);

}  // namespace cloister::toolstack
