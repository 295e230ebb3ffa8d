#include "plan/boot_files.hpp"

#include <poll.h>

#include <algorithm>

#include "arch/try.hpp"
#include "host/memfd.hpp"
#include "host/packet.hpp"
#include "host/whole_file.hpp"
#include "platform/unpack.hpp"
#include "text/json_fields.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

constexpr int boot_answer_ms = 70'000;  // a little longer than the process may take
constexpr std::size_t longest_boot_words = 4096;

tl::unexpected<std::string> not_answered(const char* why) {
  return tl::unexpected(std::string("the process that looks at it: ") + why);
}

bool is_plain(const std::string& text) {
  return text.size() <= longest_boot_words &&
         std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

tl::expected<std::vector<u8>, std::string> bytes_of_file(const Fd& file, const char* what, u64 most) {
  auto bytes = read_within(file.get(), most);
  if (!bytes) return tl::unexpected(std::string("its ") + what + ": " + bytes.error());
  return bytes;
}

}  // namespace

// The guest puts it there, and may at each start: what is read of it then is its domain's to bear.
u64 most_boot_kernel(const DomainConfig& config) {
  constexpr u64 any_domains = 64 << 20;
  return std::min(platform::max_unpacked_bytes, std::max(any_domains, most_boot_ramdisk(config)));
}
u64 most_boot_ramdisk(const DomainConfig& config) { return (config.memory_mib << 20) / 4; }

tl::expected<BootFiles, std::string> ask_boot_reader(int connection) {
  if (const auto asked = send_packet(connection, nlohmann::json::object()); !asked)
    return not_answered(name_of(asked.error()));
  pollfd wait{.fd = connection, .events = POLLIN, .revents = 0};
  if (::poll(&wait, 1, boot_answer_ms) <= 0) return not_answered("it does not answer");
  auto answer = receive_packet(connection);
  if (!answer) return not_answered(name_of(answer.error()));
  JsonFields fields(answer->body);
  std::string error;
  if (fields.has("error")) {
    fields.text("error", error);
    return tl::unexpected(printable(cut(error, longest_boot_words)));
  }
  BootFiles files;
  fields.text("kernel", files.kernel_path).text("ramdisk", files.ramdisk_path).text("cmdline", files.cmdline);
  auto& given = answer->descriptors;
  const std::size_t expected = files.ramdisk_path.empty() ? 1 : 2;
  if (!fields.ok() || given.size() != expected ||
      !std::ranges::all_of(given, [](const Fd& fd) { return is_sealed_memfd(fd.get()); }))
    return not_answered("what it says is no answer");
  if (!is_plain(files.cmdline)) return tl::unexpected(std::string("its command line has control characters"));
  files.kernel = std::move(given[0]);
  if (expected == 2) files.ramdisk = std::move(given[1]);
  return files;
}

tl::expected<void, std::string> take_boot_files(const DomainConfig& config, const BootFiles& files, Images& images) {
  auto kernel = TRY(bytes_of_file(files.kernel, "kernel", most_boot_kernel(config)));
  auto unpacked = platform::read_kernel(kernel);
  if (!unpacked) return tl::unexpected("its kernel: " + unpacked.error());
  images.kernel = std::make_shared<const platform::KernelImage>(std::move(*unpacked));
  images.ramdisk = nullptr;
  if (files.ramdisk) {
    auto ramdisk = TRY(bytes_of_file(files.ramdisk, "ramdisk", most_boot_ramdisk(config)));
    images.ramdisk = std::make_shared<const std::vector<u8>>(std::move(ramdisk));
  }
  images.cmdline = files.cmdline;
  return {};
}

Diagnostic cannot_boot(const DomainConfig& config, const std::string& why) {
  const std::string path = config.disks.empty() ? std::string() : config.disks.front().path;
  return {config.position_of("bootloader"), "'bootloader': cannot start from disk '" + cut_path(path) + "': " + why};
}

}  // namespace cloister::toolstack
