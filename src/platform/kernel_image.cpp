// read_kernel: an ELF as it is, or the ELF in a bzImage's payload. The setup header's fields are those of Linux'
// Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
#include <fmt/format.h>

#include <algorithm>

#include "arch/try.hpp"
#include "platform/bytes.hpp"
#include "platform/elf.hpp"
#include "platform/pvh.hpp"
#include "platform/unpack.hpp"

namespace cloister::platform {
namespace {

using Failure = tl::unexpected<std::string>;

namespace setup {
constexpr u64 sectors = 0x1f1, boot_flag = 0x1fe, magic = 0x202, version = 0x206;
constexpr u64 payload_offset = 0x248, payload_length = 0x24c, header_end = 0x250;
constexpr u64 sector_bytes = 512, default_sectors = 4;
constexpr u16 boot_flag_value = 0xaa55, first_version_with_payload = 0x0208;
}  // namespace setup

bool has(std::span<const u8> file, u64 offset, std::string_view text) {
  return within(offset, text.size(), file.size()) &&
         std::equal(text.begin(), text.end(), file.begin() + static_cast<std::ptrdiff_t>(offset),
                    [](char a, u8 b) { return static_cast<u8>(a) == b; });
}

tl::expected<std::span<const u8>, std::string> payload_of(std::span<const u8> file) {
  if (file.size() < setup::header_end || load<u16>(file, setup::boot_flag) != setup::boot_flag_value ||
      !has(file, setup::magic, "HdrS"))
    return Failure(fmt::format("kernel: neither ELF nor bzImage: {:#x} bytes, starting with {:02x}", file.size(),
                               fmt::join(file.first(std::min<std::size_t>(file.size(), 8)), " ")));
  if (const u16 version = load<u16>(file, setup::version); version < setup::first_version_with_payload)
    return Failure(
        fmt::format("kernel: bzImage of boot protocol {}.{:02}; expected 2.08 or later", version >> 8, version & 0xff));
  const u64 sectors = file[setup::sectors] ? file[setup::sectors] : setup::default_sectors;
  const u64 offset = (sectors + 1) * setup::sector_bytes + load<u32>(file, setup::payload_offset);
  const u64 bytes = load<u32>(file, setup::payload_length);
  if (!within(offset, bytes, file.size()))
    return Failure(
        fmt::format("kernel: the bzImage's payload at file offset {:#x} with {:#x} bytes runs past the end of "
                    "the file ({:#x} bytes)",
                    offset, bytes, file.size()));
  return file.subspan(offset, bytes);
}

}  // namespace

tl::expected<KernelImage, std::string> read_kernel(std::span<const u8> file) {
  constexpr std::string_view elf_magic =
      "\x7f"
      "ELF";
  if (has(file, 0, elf_magic)) return read_elf({file.begin(), file.end()});
  const auto payload = TRY(payload_of(file));
  auto unpacked = unpack(payload);
  if (!unpacked) return Failure("kernel: " + unpacked.error());
  if (!has(*unpacked, 0, elf_magic))
    return Failure(fmt::format("kernel: the payload unpacks to {:#x} bytes that are no ELF", unpacked->size()));
  return read_elf(std::move(*unpacked));
}

}  // namespace cloister::platform
