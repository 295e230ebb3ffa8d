// A disk (virtio 1.2, 5.2): reads, writes, flushes, discards, writes zeros, and says who it is. Requests are done when
// the driver's notification comes.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "platform/virtio/device.hpp"
#include "platform/virtio/storage.hpp"

namespace cloister::platform::virtio {

struct BlockConfig {
  std::shared_ptr<Storage> storage;
  std::string id;  ///< up to 20 characters, for who asks
  bool read_only = false;
  unsigned queues = 1;
};

class Block final : public Device {
 public:
  static constexpr u32 sector_bytes = 512;
  Block(BlockConfig config, Surroundings surroundings);

 private:
  u64 own_features() const override;
  std::span<const u8> own_config() const override { return layout_; }
  Checked<bool> serve(unsigned number, Queue& queue) override;

  enum class Answer : u8 { ok = 0, io_error = 1, unsupported = 2 };
  /// How many bytes were written to the chain.
  Checked<u32> perform(const Chain& chain);
  Checked<Answer> read(const Chain& chain, u64 sector, u64 bytes);
  Checked<Answer> write(const Chain& chain, u64 sector, u64 bytes);
  Checked<Answer> clear(const Chain& chain, u32 type);
  Checked<Answer> identify(const Chain& chain, u64 bytes);
  bool is_within(u64 sector, u64 bytes) const;
  Answer flush();

  const BlockConfig config_;
  const u64 sectors_;
  std::array<u8, 0x3c> layout_{};  ///< struct virtio_blk_config
};

}  // namespace cloister::platform::virtio
