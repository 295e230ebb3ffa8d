// Kernel files from anyone: read_kernel and load_pvh on arbitrary bytes. Each input is tried as a file, and as the
// payload of a sound bzImage, so that mutations reach the unpackers as well. A file is taken or there is one clear
// error: one line that names the part; and a kernel that is taken lies within its file and is written to RAM only.

#include "check.hpp"
#include "platform/acpi.hpp"
#include "platform/pvh.hpp"
#include "unit/platform/kernel_files.hpp"

namespace cloister {
namespace {

using namespace platform;

constexpr u64 mib = u64{1} << 20;

void check_error(const std::string& error) {
  check(!error.empty() && error.find('\n') == std::string::npos && error.find(": ") != std::string::npos);
}

bool is_ram(const MemoryMap& map, u64 base, u64 bytes) {
  return std::any_of(map.entries.begin(), map.entries.end(), [&](const MapEntry& entry) {
    return entry.type == MapType::ram && base >= entry.base.value &&
           within(base - entry.base.value, bytes, entry.bytes);
  });
}

void check_load(const KernelImage& kernel, std::span<const u8> ramdisk) {
  static const MemoryMap map = make_memory_map(64 * mib, mib, 39).value();
  const auto boot = load_pvh({kernel, ramdisk, "console=ttyS0", map, arch::Gpa{acpi_base}},
                             [](arch::Gpa at, std::span<const std::byte> bytes) {
                               check(is_ram(map, at.value, bytes.size()));
                               u8 sum = 0;  // every byte is there to be read
                               for (std::byte b : bytes) sum = static_cast<u8>(sum + std::to_integer<u8>(b));
                               return sum != 255;
                             });
  if (!boot) return check_error(boot.error());
  check(is_ram(map, boot->start_info, 56));
}

void check_file(std::span<const u8> file) {
  const auto kernel = read_kernel(file);
  if (!kernel) return check_error(kernel.error());
  for (const KernelImage::Segment& segment : kernel->segments) {
    check(within(segment.offset, segment.file_bytes, kernel->elf.size()));
    check(segment.file_bytes <= segment.memory_bytes);
    check(within(segment.physical, segment.memory_bytes, u64{1} << 32));
  }
  check_load(*kernel, file);
}

}  // namespace
}  // namespace cloister

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> input(data, size);
  cloister::check_file(input);
  cloister::check_file(cloister::test::make_bzimage(input));
  return 0;
}
