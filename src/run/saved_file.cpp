#include "run/saved_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "arch/try.hpp"
#include "host/files.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::size_t pending_bytes = 1 << 20;

std::string failure(const std::string& path) { return fmt::format("{}: {}", path, std::strerror(errno)); }

}  // namespace

tl::expected<NewSavedFile, std::string> NewSavedFile::create(const std::string& path) {
  const auto named = [&path](const std::string& why) { return path + ": " + why; };
  auto file = TRY(PartialFile::at(path).map_error(named));
  auto fd = TRY(file.create().map_error(named));
  return NewSavedFile(path, std::move(file), std::move(fd));
}

NewSavedFile::~NewSavedFile() {
  if (fd_) (void)file_.remove();
}

tl::expected<void, std::string> NewSavedFile::write_out() {
  if (!write_all(fd_.get(), pending_)) return tl::unexpected(failure(path_));
  written_ += pending_.size();
  pending_.clear();
  return {};
}

stream::Sink NewSavedFile::sink(Look look) {
  return [this, look = std::move(look)](std::span<const u8> bytes) -> tl::expected<void, std::string> {
    pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    if (pending_.size() < pending_bytes) return {};
    TRY(write_out());
    if (std::string why = look(written_); !why.empty()) return tl::unexpected(std::move(why));
    return {};
  };
}

tl::expected<void, std::string> NewSavedFile::finish() {
  TRY(write_out());
  if (::fsync(fd_.get()) != 0) return tl::unexpected(failure(path_));
  fd_ = Fd();  // what is whole is never removed
  return file_.finish().map_error([this](const std::string& why) { return path_ + ": " + why; });
}

tl::expected<stream::Source, std::string> open_saved_file(const std::string& path) {
  // Its reader may be copied. Nobody waits for who would write into a pipe.
  const auto fd = std::make_shared<Fd>(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!*fd) return tl::unexpected(failure(path));
  struct stat status {};
  if (::fstat(fd->get(), &status) != 0) return tl::unexpected(failure(path));
  if (!S_ISREG(status.st_mode)) return tl::unexpected(path + ": not a regular file");
  return [fd, path](std::span<u8> to) {
    return read_some(fd->get(), to).map_error([&path](const std::string& why) { return path + ": " + why; });
  };
}

}  // namespace cloister::toolstack
