#include "enclave/commands.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arch/try.hpp"
#include "enclave/describe.hpp"
#include "enclave/layout.hpp"
#include "enclave/measure.hpp"
#include "host/whole_file.hpp"

namespace cloister::enclave {
namespace {

using toolstack::longest_config;

/// An enclave in memory is 1 GiB at most (layout.cpp); its stream has headers beside the pages.
constexpr u64 longest_enclave = u64{2} << 30;

tl::unexpected<std::string> error_in(const std::string& file, const std::string& what) {
  return tl::unexpected(fmt::format("{}: {}", file, what));
}

Result<std::vector<u8>> read_file(const std::string& path, u64 most) {
  auto bytes = toolstack::read_within(path, most);
  if (!bytes) return error_in(path, bytes.error());
  return std::move(*bytes);
}

/// A new file under another name first, so that an old one is replaced whole or not at all.
Result<void> write_file(const std::string& path, std::span<const u8> bytes, mode_t mode = 0644) {
  const std::string fresh = path + ".new";
  {
    ::unlink(fresh.c_str());
    const Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (!file) return error_in(path, std::strerror(errno));
    if (!toolstack::write_all(file.get(), bytes)) {
      const int reason = errno;
      ::unlink(fresh.c_str());
      return error_in(path, std::strerror(reason));
    }
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return error_in(path, std::strerror(errno));
  return {};
}

std::string_view text_of(std::span<const u8> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<Settings> settings_of(const Arguments& arguments) {
  Settings settings;
  if (!arguments.settings.empty()) {
    const auto bytes = TRY(read_file(arguments.settings, longest_config));
    const auto read = read_settings(text_of(bytes));
    if (!read) return error_in(arguments.settings, read.error());
    settings = *read;
  }
  for (const std::string& line : arguments.set) {
    if (auto done = set(settings, line); !done) return error_in("--set", done.error());
  }
  return settings;
}

Result<Stream> stream_of(const std::string& path) {
  return read_file(path, longest_enclave).and_then([&path](const std::vector<u8>& bytes) -> Result<Stream> {
    auto stream = read_sgxs(bytes);
    if (!stream) return error_in(path, stream.error());
    return stream;
  });
}

Result<arch::Sigstruct> sigstruct_of(const std::string& path) {
  return read_file(path, longest_config).and_then([&path](const std::vector<u8>& bytes) -> Result<arch::Sigstruct> {
    auto structure = read_sigstruct(bytes);
    if (!structure) return error_in(path, structure.error());
    return structure;
  });
}

Result<SigningKey> key_of(const Arguments& arguments) {
  if (arguments.generate && ::access(arguments.key.c_str(), F_OK) != 0) {
    auto key = SigningKey::generate();
    if (!key) return error_in(arguments.key, key.error());
    const auto pem = key->to_pem();
    if (!pem) return error_in(arguments.key, pem.error());
    const std::span<const u8> bytes(reinterpret_cast<const u8*>(pem->data()), pem->size());
    TRY(write_file(arguments.key, bytes, 0600));
    return key;
  }
  const auto bytes = TRY(read_file(arguments.key, longest_config));
  auto key = SigningKey::from_pem(text_of(bytes));
  if (!key) return error_in(arguments.key, key.error());
  return key;
}

}  // namespace

Result<std::string> build(const Arguments& arguments) {
  const auto settings = TRY(settings_of(arguments));
  const auto program = TRY(read_file(arguments.program, longest_enclave));
  const auto stream = lay_out(program, settings);
  if (!stream) return error_in(arguments.program, stream.error());
  TRY(write_file(arguments.enclave, write_sgxs(*stream)));
  return fmt::format("mrenclave {}\n", hex(measure(*stream)));
}

Result<std::string> sign(const Arguments& arguments) {
  const auto settings = TRY(settings_of(arguments));
  const auto stream = TRY(stream_of(arguments.enclave));
  const auto key = TRY(key_of(arguments));
  const auto structure = sign(measure(stream), settings, key);
  if (!structure) return error_in(arguments.enclave, structure.error());
  TRY(write_file(arguments.signature, bytes_of(*structure)));
  return fmt::format("mrenclave {}\nmrsigner  {}\n", hex(structure->enclavehash), hex(mrsigner(*structure)));
}

Result<std::string> inspect(const Arguments& arguments) {
  const auto bytes = TRY(read_file(arguments.enclave, longest_enclave));
  if (bytes.size() == sizeof(arch::Sigstruct)) {
    if (const auto structure = read_sigstruct(bytes); structure && structure->header == arch::sigstruct_header) {
      return describe(*structure);
    }
  }
  const auto stream = read_sgxs(bytes);
  if (!stream) return error_in(arguments.enclave, stream.error());
  return describe(*stream);
}

Result<std::string> verify(const Arguments& arguments) {
  const auto stream = TRY(stream_of(arguments.enclave));
  const auto structure = TRY(sigstruct_of(arguments.signature));
  if (auto good = check(structure); !good) return error_in(arguments.signature, good.error());
  const arch::Bytes32 measured = measure(stream);
  if (measured != structure.enclavehash) {
    return error_in(arguments.enclave,
                    fmt::format("measures {}, but the signature is for {}", hex(measured), hex(structure.enclavehash)));
  }
  return fmt::format("good: enclave {} of signer {}\n", hex(measured), hex(mrsigner(structure)));
}

}  // namespace cloister::enclave
