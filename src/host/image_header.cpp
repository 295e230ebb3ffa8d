// QEMU's docs/interop/qcow2.txt ("Header"); of VMDK's embedded descriptor ("VMware Virtual Disk Format 5.0") the lines
// before its extents, and no descriptor that is a file of its own, since that names all of its data.
#include "host/image_header.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>
#include <system_error>

#include "arch/try.hpp"
#include "arch/types.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

using HeaderFailed = tl::unexpected<std::string>;
namespace header_paths = std::filesystem;

constexpr const char* other_files = "its header names another file, from which it takes what it has not itself";

u64 big_endian(std::span<const u8> bytes) {
  u64 number = 0;
  for (const u8 byte : bytes) number = number << 8 | byte;
  return number;
}

/// Empty: it has no backing file.
tl::expected<std::string, std::string> backing_of(const Fd& image, std::span<const u8> head) {
  constexpr u64 longest = 1023;
  const u64 at = big_endian(head.subspan(8, 8)), bytes = big_endian(head.subspan(16, 4));
  if (at == 0) return std::string();
  std::string name(std::min(bytes, longest), 0);
  if (bytes == 0 || bytes > longest || at > u64{1} << 62 ||
      ::pread(image.get(), name.data(), name.size(), static_cast<off_t>(at)) != static_cast<ssize_t>(name.size()))
    return HeaderFailed("its header has no name where that of its backing file should be");
  return name;
}

header_paths::path absolute_of(const header_paths::path& path) {
  std::error_code error;
  return header_paths::absolute(path, error).lexically_normal();
}

tl::expected<void, std::string> check_qcow2(const Fd& image, std::span<const u8> head, const std::string& path,
                                            const std::string& backing) {
  constexpr u64 data_file = 4;
  const bool third = big_endian(head.subspan(4, 4)) >= 3;
  if (third && (big_endian(head.subspan(72, 8)) & data_file) != 0) return HeaderFailed(other_files);
  const std::string name = TRY(backing_of(image, head));
  if (backing.empty() && !name.empty()) return HeaderFailed(other_files);
  if (backing.empty()) return {};
  if (name.empty()) return HeaderFailed("its header names no backing file, expected '" + cut_path(backing) + "'");
  if (name.find('\0') != std::string::npos ||
      absolute_of(header_paths::path(path).parent_path() / name) != absolute_of(backing))
    return HeaderFailed(
        fmt::format("its header names the backing file {}, expected '{}'", shown(name), cut_path(backing)));
  return {};
}

}  // namespace

tl::expected<void, std::string> check_image(const Fd& image, std::string_view format, const std::string& path,
                                            const std::string& backing) {
  if (format == "raw") return {};
  std::array<u8, 64 << 10> head{};
  const ssize_t got = ::pread(image.get(), head.data(), head.size(), 0);
  if (got < 512) return HeaderFailed("it is too short for that format");
  const std::string_view text(reinterpret_cast<const char*>(head.data()), static_cast<std::size_t>(got));
  if (format == "qcow2") {
    if (!text.starts_with("QFI\xfb")) return HeaderFailed("it is no qcow2 image");
    return check_qcow2(image, head, path, backing);
  }
  if (format == "vmdk") {
    if (!text.starts_with("KDMV")) return HeaderFailed("it is no VMDK image of one file");
    // Without a capacity of its own what counts is a descriptor inside, whose extents are files by name.
    if (big_endian(std::span(head).subspan(12, 8)) == 0) return HeaderFailed(other_files);
    constexpr std::string_view hint = "parentFileNameHint=", parent = "parentCID=", none = "ffffffff";
    const std::size_t at = text.find(parent);
    if (text.find(hint) != std::string_view::npos ||
        (at != std::string_view::npos && !text.substr(at + parent.size()).starts_with(none)))
      return HeaderFailed(other_files);
  }
  return {};
}

}  // namespace cloister::toolstack
