// File systems are looked at in the disk's order, and the first that has something to start counts: the one with /boot
// in it, or one that is mounted there.
#include "boot/choice.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "arch/try.hpp"
#include "boot/menu.hpp"
#include "boot/partitions.hpp"

namespace cloister::boot {

namespace {

using Chosen = tl::expected<Choice, std::string>;
using Failed = tl::unexpected<std::string>;

constexpr u64 longest_menu = 1 << 20;
constexpr const char* menus[] = {"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub/grub.cfg", "/grub2/grub.cfg"};
constexpr std::string_view kernel_prefix = "vmlinuz-";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// What stands before a digit, or all of it.
std::string_view take_word(std::string_view& rest, bool digits) {
  std::size_t length = 0;
  while (length < rest.size() && is_digit(rest[length]) == digits) ++length;
  const std::string_view word = rest.substr(0, length);
  rest.remove_prefix(length);
  return word;
}

std::string_view without_zeros(std::string_view number) {
  return number.substr(std::min(number.find_first_not_of('0'), number.size()));
}

/// A '~' is before all else, also before the end (deb-version(7)).
int order_of(char c) { return c == '~' ? -1 : static_cast<unsigned char>(c); }

int compared_words(std::string_view one, std::string_view other) {
  for (std::size_t i = 0; i < std::max(one.size(), other.size()); ++i) {
    const int a = i < one.size() ? order_of(one[i]) : 0, b = i < other.size() ? order_of(other[i]) : 0;
    if (a != b) return a < b ? -1 : 1;
  }
  return 0;
}

/// Of what is left while an upgrade runs, or was interrupted, and of what is kept for emergencies: no.
bool is_version(std::string_view version) {
  constexpr std::array<std::string_view, 6> others{".dpkg-", ".old", ".bak", ".tmp", "rescue", "~"};
  return !version.empty() && is_digit(version.front()) && std::ranges::none_of(others, [&](std::string_view other) {
    return other == "~" ? version.ends_with(other) : version.find(other) != std::string_view::npos;
  });
}

struct Kernel {
  std::string version, ramdisk;  ///< names; the second empty: none
};

std::string ramdisk_beside(const std::vector<std::string>& names, const std::string& version) {
  for (const std::string& name : {"initrd.img-" + version, "initramfs-" + version + ".img", "initrd-" + version,
                                  "initramfs-" + version, "initrd-" + version + ".img"}) {
    if (std::ranges::find(names, name) != names.end()) return name;
  }
  return {};
}

/// One that has a ramdisk goes before one that has none: it may not be there yet, or not any more.
std::optional<Kernel> newest_in(ExtFiles& files, const std::string& folder) {
  const auto names = files.names(folder);
  std::optional<Kernel> newest;
  for (const std::string& name : names) {
    if (!name.starts_with(kernel_prefix)) continue;
    Kernel kernel{.version = name.substr(kernel_prefix.size()), .ramdisk = {}};
    if (!is_version(kernel.version)) continue;
    kernel.ramdisk = ramdisk_beside(names, kernel.version);
    const bool same_kind = newest && newest->ramdisk.empty() == kernel.ramdisk.empty();
    const bool better = !newest || (same_kind ? is_older(newest->version, kernel.version) : newest->ramdisk.empty());
    if (better) newest = std::move(kernel);
  }
  return newest;
}

/// Linux itself finds no file system by its UUID: a ramdisk does.
std::string root_of(const ExtFiles& files, bool has_ramdisk) {
  if (has_ramdisk) return "root=UUID=" + files.uuid() + " ro";
  const u32 number = files.part().number;
  return "root=/dev/vda" + (number == 0 ? std::string() : fmt::to_string(number)) + " ro";
}

/// Why a file cannot be had, and what may have to do with it.
Failed unusable(const ExtFiles& files, const std::string& what, const std::string& path, const std::string& why) {
  return Failed(fmt::format("its {} {}: {}{}", what, path, why,
                            files.has_journal_to_play_back()
                                ? "; the file system was not unmounted, and its journal is not played back"
                                : ""));
}

/// What is chosen is there, and no longer than it may be.
Chosen checked(Choice choice, const Wanted& wanted) {
  ExtFiles& files = *choice.files;
  const auto look = [&](const char* what, const std::string& path, u64 most) -> tl::expected<u64, std::string> {
    const auto bytes = files.length_of(path);
    if (!bytes) return unusable(files, what, path, bytes.error());
    if (*bytes > most)
      return Failed(fmt::format("its {} {}: found {} bytes, expected {} at most", what, path, *bytes, most));
    return *bytes;
  };
  TRY(look("kernel", choice.kernel, wanted.most_kernel));
  u64 left = wanted.most_ramdisk;
  for (const std::string& path : choice.ramdisks) left -= TRY(look("ramdisk", path, left));
  if (choice.cmdline.size() > longest_cmdline)
    return Failed(
        fmt::format("its command line has {} bytes, expected {} at most", choice.cmdline.size(), longest_cmdline));
  return choice;
}

/// By the menu, if the file system has one with something in it.
std::optional<Chosen> by_menu(std::unique_ptr<ExtFiles>& files, const Wanted& wanted) {
  for (const std::string path : menus) {
    const auto text = files->text(path, longest_menu);
    if (!text) continue;
    const std::string folder = path.substr(0, path.rfind('/'));
    const auto kept = files->text(folder + "/grubenv", longest_menu);
    const Menu menu = read_menu(*text, kept ? read_menu_variables(*kept) : MenuVariables());
    const MenuItem* const item = wanted.entry ? menu.entry(*wanted.entry) : menu.first_choice();
    if (item == nullptr && !wanted.entry) continue;
    if (item == nullptr) return Failed(fmt::format("its menu {} has no entry {}", path, *wanted.entry));
    if (item->kernel.empty())
      return Failed(fmt::format("its menu {}: the entry '{}' starts no kernel", path, item->title));
    return checked(
        {.files = std::move(files), .kernel = item->kernel, .ramdisks = item->ramdisks, .cmdline = item->arguments},
        wanted);
  }
  return std::nullopt;
}

std::optional<Chosen> by_version(std::unique_ptr<ExtFiles>& files, const Wanted& wanted) {
  for (const std::string folder : {"/boot", "/"}) {
    const auto kernel = newest_in(*files, folder);
    if (!kernel) continue;
    const std::string before = folder == "/" ? folder : folder + "/";
    Choice choice{.files = std::move(files), .kernel = before + std::string(kernel_prefix) + kernel->version};
    if (!kernel->ramdisk.empty()) choice.ramdisks.push_back(before + kernel->ramdisk);
    // Of one that is mounted at /boot nobody knows where the root is.
    if (folder != "/") choice.cmdline = root_of(*choice.files, !choice.ramdisks.empty());
    return checked(std::move(choice), wanted);
  }
  return std::nullopt;
}

std::optional<Chosen> by_name(std::unique_ptr<ExtFiles>& files, const Wanted& wanted) {
  if (!files->length_of(wanted.kernel)) return std::nullopt;
  Choice choice{.files = std::move(files), .kernel = wanted.kernel};
  if (!wanted.ramdisk.empty()) choice.ramdisks.push_back(wanted.ramdisk);
  choice.cmdline = root_of(*choice.files, !choice.ramdisks.empty());
  return checked(std::move(choice), wanted);
}

}  // namespace

bool is_older(std::string_view version, std::string_view other) {
  while (!version.empty() || !other.empty()) {
    if (const int words = compared_words(take_word(version, false), take_word(other, false)); words != 0)
      return words < 0;
    const auto one = without_zeros(take_word(version, true)), two = without_zeros(take_word(other, true));
    if (one.size() != two.size()) return one.size() < two.size();
    if (one != two) return one < two;
  }
  return false;
}

tl::expected<Choice, std::string> choose(Disk& disk, const Wanted& wanted) {
  std::vector<Part> parts = partitions_of(disk);
  const std::size_t partitions = parts.size();
  parts.insert(parts.begin(), {.start = 0, .bytes = disk.bytes(), .number = 0});
  std::size_t systems = 0;
  std::string damaged;
  for (const Part& part : parts) {
    std::string why;
    auto files = ExtFiles::open(disk, part, why);
    if (files == nullptr && why.empty()) continue;
    ++systems;
    const std::string where = part.number == 0 ? "on the whole disk" : fmt::format("in partition {}", part.number);
    if (files == nullptr) {
      damaged = fmt::format("; the file system {}: {}", where, why);
      continue;
    }
    auto found = !wanted.kernel.empty() ? by_name(files, wanted) : by_menu(files, wanted);
    if (!found && wanted.kernel.empty() && !wanted.entry) found = by_version(files, wanted);
    if (found) return std::move(*found);
  }
  if (systems == 0)
    return Failed(
        fmt::format("no ext2, ext3 or ext4 file system on the whole disk, or in its {} partitions", partitions));
  const std::string what = !wanted.kernel.empty() ? "'" + wanted.kernel + "'"
                           : wanted.entry         ? "menu of GRUB's"
                                                  : "kernel in /boot, nor a menu of GRUB's,";
  return Failed(fmt::format("no {} in its {} ext file system{}{}", what, systems, systems == 1 ? "" : "s", damaged));
}

}  // namespace cloister::boot
