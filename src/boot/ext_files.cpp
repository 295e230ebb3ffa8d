// libext2fs reads blocks by an io_manager, of which this one knows no files: only ours to ask.
#include "boot/ext_files.hpp"

#include <ext2fs/ext2fs.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "arch/try.hpp"

namespace cloister::boot {

namespace {

constexpr std::size_t most_names = 10'000;
constexpr errcode_t read_only_error = EXT2_ET_RO_FILSYS;

/// What an io_channel of ours is on.
struct Ground {
  Disk& disk;
  Part part;
};
/// For the time of ext2fs_open2(), which passes nothing on but a name.
thread_local Ground* opening = nullptr;
thread_local io_channel channel_for_it = nullptr;

bool read_from(const Ground& ground, u64 offset, std::span<u8> to) {
  if (offset > ground.part.bytes || to.size() > ground.part.bytes - offset) return false;
  return ground.disk.read(ground.part.start + offset, to);
}

extern "C" {

errcode_t channel_open(const char*, int, io_channel* channel);
errcode_t channel_close(io_channel) { return 0; }
errcode_t channel_set_blksize(io_channel channel, int bytes) {
  if (bytes <= 0) return EXT2_ET_INVALID_ARGUMENT;
  channel->block_size = bytes;
  return 0;
}
errcode_t channel_read64(io_channel channel, unsigned long long block, int count, void* data) {
  const Ground& ground = *static_cast<const Ground*>(channel->private_data);
  const u64 size = static_cast<u64>(channel->block_size);
  // Below zero it is a number of bytes.
  const u64 bytes = count < 0 ? u64{0} - static_cast<u64>(static_cast<i64>(count)) : static_cast<u64>(count) * size;
  if (block > ~u64{0} / size) return EXT2_ET_SHORT_READ;
  return read_from(ground, block * size, {static_cast<u8*>(data), bytes}) ? 0 : EXT2_ET_SHORT_READ;
}
errcode_t channel_read(io_channel channel, unsigned long block, int count, void* data) {
  return channel_read64(channel, block, count, data);
}
errcode_t channel_write64(io_channel, unsigned long long, int, const void*) { return read_only_error; }
errcode_t channel_write(io_channel, unsigned long, int, const void*) { return read_only_error; }
errcode_t channel_flush(io_channel) { return 0; }

int add_name(ext2_dir_entry* entry, int, int, char*, void* to) {
  auto& names = *static_cast<std::vector<std::string>*>(to);
  names.emplace_back(entry->name, static_cast<std::size_t>(ext2fs_dirent_name_len(entry)));
  return names.size() < most_names ? 0 : DIRENT_ABORT;
}

}  // extern "C"

struct_io_manager make_manager() {
  struct_io_manager manager{};
  manager.magic = EXT2_ET_MAGIC_IO_MANAGER;
  manager.name = "cloister";
  manager.open = channel_open;
  manager.close = channel_close;
  manager.set_blksize = channel_set_blksize;
  manager.read_blk = channel_read;
  manager.read_blk64 = channel_read64;
  manager.write_blk = channel_write;
  manager.write_blk64 = channel_write64;
  manager.flush = channel_flush;
  return manager;
}
struct_io_manager our_manager = make_manager();
char channel_name[] = "disk";

errcode_t channel_open(const char*, int, io_channel* channel) {
  *channel_for_it = {};
  channel_for_it->magic = EXT2_ET_MAGIC_IO_CHANNEL;
  channel_for_it->manager = &our_manager;
  channel_for_it->name = channel_name;
  channel_for_it->block_size = 1024;
  channel_for_it->refcount = 1;
  channel_for_it->private_data = opening;
  *channel = channel_for_it;
  return 0;
}

std::string words_of(errcode_t error) {
  switch (error) {
    case EXT2_ET_FILE_NOT_FOUND: return "there is none";
    case EXT2_ET_NO_DIRECTORY: return "a part of its path is no folder";
    case EXT2_ET_SYMLINK_LOOP: return "too many links";
    case EXT2_ET_NO_MEMORY: return "it takes more memory than there is for it";
    case EXT2_ET_SHORT_READ: return "it is cut off";
    case EXT2_ET_UNSUPP_FEATURE:
    case EXT2_ET_RO_UNSUPP_FEATURE: return "it has a feature that libext2fs does not know";
    default: return fmt::format("it is damaged (libext2fs: error {})", error - EXT2_ET_BASE);
  }
}
tl::unexpected<std::string> ext_error(errcode_t error) { return tl::unexpected(words_of(error)); }

/// A file that is open.
struct CloseFile {
  void operator()(ext2_file_t file) const { ::ext2fs_file_close(file); }
};
using OpenFile = std::unique_ptr<ext2_file, CloseFile>;

}  // namespace

struct ExtFiles::Impl {
  explicit Impl(const Ground& on) : ground(on) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (system != nullptr) ::ext2fs_close_free(&system);
  }

  tl::expected<OpenFile, std::string> open(const std::string& path, u64& bytes) {
    ext2_ino_t inode = 0;
    if (const errcode_t error = ::ext2fs_namei_follow(system, EXT2_ROOT_INO, EXT2_ROOT_INO, path.c_str(), &inode))
      return ext_error(error);
    ext2_inode read{};
    if (const errcode_t error = ::ext2fs_read_inode(system, inode, &read)) return ext_error(error);
    if (!LINUX_S_ISREG(read.i_mode)) return tl::unexpected(std::string("not a regular file"));
    ext2_file_t opened = nullptr;
    if (const errcode_t error = ::ext2fs_file_open(system, inode, 0, &opened)) return ext_error(error);
    OpenFile file(opened);
    unsigned long long length = 0;
    if (const errcode_t error = ::ext2fs_file_get_lsize(opened, &length)) return ext_error(error);
    bytes = length;
    return file;
  }

  Ground ground;
  struct_io_channel channel{};
  ext2_filsys system = nullptr;
};

ExtFiles::ExtFiles(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ExtFiles::~ExtFiles() = default;

std::unique_ptr<ExtFiles> ExtFiles::open(Disk& disk, const Part& part, std::string& why) {
  constexpr u64 superblock = 1024, magic_at = 56;
  std::array<u8, 2> magic{};
  if (part.bytes < 2 * superblock || !disk.read(part.start + superblock + magic_at, magic) || magic[0] != 0x53 ||
      magic[1] != 0xef)
    return nullptr;
  auto impl = std::make_unique<Impl>(Ground{disk, part});
  opening = &impl->ground;
  channel_for_it = &impl->channel;
  const errcode_t error = ::ext2fs_open2(channel_name, nullptr, EXT2_FLAG_64BITS, 0, 0, &our_manager, &impl->system);
  opening = nullptr;
  channel_for_it = nullptr;
  if (error != 0) {
    impl->system = nullptr;
    why = words_of(error);
    return nullptr;
  }
  return std::unique_ptr<ExtFiles>(new ExtFiles(std::move(impl)));
}

const Part& ExtFiles::part() const { return impl_->ground.part; }

std::string ExtFiles::uuid() const {
  std::string text;
  for (std::size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", impl_->system->super->s_uuid[i]);
  }
  return text;
}

bool ExtFiles::has_journal_to_play_back() const {
  return ext2fs_has_feature_journal_needs_recovery(impl_->system->super) != 0;
}

tl::expected<u64, std::string> ExtFiles::length_of(const std::string& path) {
  u64 bytes = 0;
  TRY(impl_->open(path, bytes));
  return bytes;
}

tl::expected<void, std::string> ExtFiles::copy(const std::string& path, u64 most, const Sink& to) {
  u64 left = 0;
  const OpenFile file = TRY(impl_->open(path, left));
  if (left > most) return tl::unexpected(fmt::format("found {} bytes, expected {} at most", left, most));
  std::vector<u8> piece(256 << 10);
  while (left != 0) {
    unsigned got = 0;
    const auto wanted = static_cast<unsigned>(std::min<u64>(left, piece.size()));
    if (const errcode_t error = ::ext2fs_file_read(file.get(), piece.data(), wanted, &got)) return ext_error(error);
    if (got == 0 || got > wanted) return tl::unexpected(std::string("it is cut off"));
    if (!to(std::span(piece).first(got))) return tl::unexpected(std::string("no memory for it"));
    left -= got;
  }
  return {};
}

tl::expected<std::string, std::string> ExtFiles::text(const std::string& path, u64 most) {
  std::string all;
  TRY(copy(path, most, [&](std::span<const u8> bytes) {
    all.append(bytes.begin(), bytes.end());
    return true;
  }));
  return all;
}

std::vector<std::string> ExtFiles::names(const std::string& folder) {
  std::vector<std::string> found;
  ext2_ino_t inode = 0;
  if (::ext2fs_namei_follow(impl_->system, EXT2_ROOT_INO, EXT2_ROOT_INO, folder.c_str(), &inode) != 0) return found;
  if (::ext2fs_dir_iterate(impl_->system, inode, 0, nullptr, add_name, &found) != 0 || found.size() >= most_names)
    found.clear();
  return found;
}

}  // namespace cloister::boot
