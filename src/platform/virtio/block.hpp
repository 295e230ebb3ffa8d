// A disk (virtio 1.2, 5.2): reads, writes, flushes, discards, writes zeros, and says who it is. Requests are done one
// after the other, in their order; while one is, the driver may do what it likes (Device::apart).
#pragma once

#include <array>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "platform/virtio/counts.hpp"
#include "platform/virtio/device.hpp"
#include "platform/virtio/storage.hpp"

namespace cloister::platform::virtio {

struct BlockConfig {
  std::shared_ptr<Storage> storage;
  std::string id;  ///< up to 20 characters, for who asks
  bool read_only = false;
  unsigned queues = 1;
  BlockCounts* counts = nullptr;  ///< where it counts; null: nobody looks
};

class Block final : public Device {
 public:
  static constexpr u32 sector_bytes = 512;
  Block(BlockConfig config, Surroundings surroundings);

  /// All that it remembers, and what it was, but for what is on it.
  struct State {
    u64 sectors = 0;
    bool read_only = false;
    Device::State device{};
    bool operator==(const State&) const = default;
  };
  State state() const { return {sectors_, config_.read_only, Device::state()}; }
  /// The error is for a person; then it has not changed.
  tl::expected<void, std::string> set_state(const State& state);
  const BlockCounts& counts() const { return counts_; }

 private:
  u64 own_features() const override;
  std::span<const u8> own_config() const override { return layout_; }
  Checked<bool> serve(unsigned number, Queue& queue) override;

  enum class Answer : u8 { ok = 0, io_error = 1, unsupported = 2 };
  /// How many bytes were written to the chain. Of the device only what never changes is used. `cached`: what is
  /// written need not be safe before a flush.
  Checked<u32> perform(const Chain& chain, bool cached);
  Checked<Answer> read(const Chain& chain, u64 sector, u64 bytes);
  Checked<Answer> write(const Chain& chain, u64 sector, u64 bytes, bool cached);
  Checked<Answer> clear(const Chain& chain, u32 type, bool cached);
  Checked<Answer> identify(const Chain& chain, u64 bytes);
  bool is_within(u64 sector, u64 bytes) const;
  Answer flush();
  void count(u32 type, u64 read, u64 written, Answer answer, u64 nanoseconds);

  const BlockConfig config_;
  const u64 sectors_;
  BlockCounts own_counts_;
  BlockCounts& counts_;
  std::array<u8, 0x3c> layout_{};  ///< struct virtio_blk_config
};

}  // namespace cloister::platform::virtio
