// Disks from guests: partition tables, GRUB's menu, and the choice of a kernel on arbitrary bytes. Each input is tried
// as the first sectors of a disk, as a menu, and as a disk that is an ext file system by its magic.
#include "boot/choice.hpp"
#include "boot/menu.hpp"
#include "boot/partitions.hpp"
#include "check.hpp"
#include "unit/boot/bytes_disk.hpp"

namespace cloister::boot {
namespace {

void check_partitions(std::span<const u8> bytes) {
  std::vector<u8> sectors(bytes.begin(), bytes.end());
  sectors.resize(1 << 16);
  tests::BytesDisk disk(std::move(sectors));
  disk.put(510, 0xaa55, 2);
  const auto parts = partitions_of(disk);
  check(parts.size() <= 2 * most_partitions);
  for (const Part& part : parts)
    check(part.number != 0 && part.bytes != 0 && part.start <= disk.bytes() && part.bytes <= disk.bytes() - part.start);
}

void check_menu(std::span<const u8> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Menu menu = read_menu(text, read_menu_variables(text));
  check(menu.items.empty() == (menu.first_choice() == nullptr));
  u32 entries = 0;
  while (menu.entry(entries) != nullptr) ++entries;
  check(entries <= 1000);
}

void check_versions(std::span<const u8> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string_view one = text.substr(0, text.size() / 2), two = text.substr(text.size() / 2);
  check(!is_older(one, one) && !(is_older(one, two) && is_older(two, one)));
}

void check_disk_of(std::span<const u8> bytes) {
  std::vector<u8> sectors(bytes.begin(), bytes.end());
  sectors.resize(1 << 16);
  tests::BytesDisk disk(std::move(sectors));
  const auto choice = choose(disk, {.kernel = {}, .most_kernel = 1 << 20, .most_ramdisk = 1 << 20});
  check(choice ? choice->cmdline.size() <= longest_cmdline : !choice.error().empty());
}

}  // namespace
}  // namespace cloister::boot

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> input(data, size);
  cloister::boot::check_partitions(input);
  cloister::boot::check_menu(input);
  cloister::boot::check_versions(input);
  cloister::boot::check_disk_of(input);
  return 0;
}
