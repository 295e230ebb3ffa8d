// A disk that is a file of the host's, byte for byte, or a block device. Who plans the domain has opened it.
#pragma once

#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "host/fd.hpp"
#include "platform/virtio/storage.hpp"

namespace cloister::hypervisor {

class RawDisk final : public platform::virtio::Storage {
 public:
  /// What is there in whole sectors, of a file or a block device (host/disk_image.hpp).
  static tl::expected<std::shared_ptr<RawDisk>, std::string> create(Fd file);
  enum class Kind : bool { file, block_device };
  RawDisk(Fd file, Kind kind, u64 bytes, u32 block_bytes)
      : file_(std::move(file)), kind_(kind), bytes_(bytes), block_bytes_(block_bytes) {}

  u64 bytes() const override { return bytes_; }
  u32 block_bytes() const override { return block_bytes_; }
  bool read(u64 offset, std::span<std::byte> to) override;
  bool write(u64 offset, std::span<const std::byte> from) override;
  bool flush() override;
  bool discard(u64 offset, u64 length) override;
  bool write_zeroes(u64 offset, u64 length, bool unmap) override;

 private:
  const Fd file_;
  const Kind kind_;
  const u64 bytes_;
  const u32 block_bytes_;
};

}  // namespace cloister::hypervisor
