// A driver of a virtio device on PCI, as far as tests need one: it finds the structures by the capabilities,
// negotiates, and has one queue in memory of its own. What it writes there is the test's affair.
#pragma once

#include <cstring>
#include <optional>
#include <stdexcept>
#include <vector>

#include "platform/virtio/device.hpp"

namespace cloister::platform::virtio {

class TestedMemory final : public Dma {
 public:
  explicit TestedMemory(u64 bytes) : bytes_(bytes) {}
  bool read(arch::Gpa from, std::span<std::byte> to) const override {
    if (!has(from.value, to.size())) return false;
    std::memcpy(to.data(), &bytes_[from.value], to.size());
    return true;
  }
  bool write(arch::Gpa to, std::span<const std::byte> from) override {
    if (!has(to.value, from.size())) return false;
    std::memcpy(&bytes_[to.value], from.data(), from.size());
    return true;
  }
  template <class T>
  T get(u64 at) const {
    T value;
    std::memcpy(&value, &bytes_.at(at), sizeof value);
    return value;
  }
  template <class T>
  void put(u64 at, T value) {
    std::memcpy(&bytes_.at(at), &value, sizeof value);
  }
  std::span<u8> bytes() { return bytes_; }

 private:
  bool has(u64 at, u64 size) const { return size != 0 && at < bytes_.size() && size <= bytes_.size() - at; }
  std::vector<u8> bytes_;
};

struct Descriptor {
  u64 address = 0;
  u32 bytes = 0;
  u16 flags = 0, next = 0;
};
inline constexpr u16 more = 1, device_writes = 2, indirect = 4;

class Driver {
 public:
  static constexpr u64 descriptors_at = 0x1000, driver_at = 0x2000, device_at_ = 0x3000;
  Driver(Device& device, TestedMemory& memory, u16 size = 8) : device_(device), memory_(memory), size_(size) {}

  u64 get(u64 at, unsigned bytes) { return device_.read_memory(structures_bar, at, bytes); }
  void set(u64 at, u64 value, unsigned bytes) { device_.write_memory(structures_bar, at, value, bytes); }
  u8 status() { return static_cast<u8>(get(common_status, 1)); }
  u64 offered() {
    set(common_device_feature_select, 1, 4);
    const u64 upper = get(common_device_feature, 4);
    set(common_device_feature_select, 0, 4);
    return upper << 32 | get(common_device_feature, 4);
  }
  /// Up to FEATURES_OK. False: the device does not want these.
  bool negotiate(u64 features) {
    device_.write_config(pci::reg_command, pci::command_memory | pci::command_master, 0xffff);
    set(common_status, 0, 1);
    set(common_status, status_acknowledge | status_driver, 1);
    for (u32 half : {0u, 1u}) {
      set(common_driver_feature_select, half, 4);
      set(common_driver_feature, features >> (32 * half) & 0xffff'ffff, 4);
    }
    set(common_status, status_acknowledge | status_driver | status_features_ok, 1);
    return (status() & status_features_ok) != 0;
  }
  void enable_queue(u16 number = 0) {
    set(common_queue_select, number, 2);
    set(common_queue_size, size_, 2);
    set(common_queue_vector, number + 1u, 2);
    set(common_queue_descriptors, descriptors_at, 8);
    set(common_queue_driver, driver_at, 4);
    set(common_queue_device, device_at_, 4);
    set(common_queue_enable, 1, 2);
  }
  void begin(u64 features = feature_version_1) {
    if (!negotiate(features)) throw std::runtime_error("negotiation failed");
    for (u64 at = descriptors_at; at < 0x4000; at += 8) memory_.put<u64>(at, 0);
    next_ = 0;
    enable_queue();
    set(common_status, status() | status_driver_ok, 1);
  }

  void describe(u16 index, const Descriptor& one, u64 table = descriptors_at) { memory_.put(table + 16u * index, one); }
  /// Makes the chain that begins there available.
  void offer(u16 head) {
    memory_.put<u16>(driver_at + 4 + 2u * (next_++ % size_), head);
    memory_.put<u16>(driver_at + 2, next_);
  }
  void notify(u16 number = 0) { set(notify_at + 4u * number, number, 2); }
  u16 used() const { return memory_.get<u16>(device_at_ + 2); }
  u32 used_id(u16 index) const { return memory_.get<u32>(device_at_ + 4 + 8u * (index % size_)); }
  u32 used_bytes(u16 index) const { return memory_.get<u32>(device_at_ + 8 + 8u * (index % size_)); }
  bool is_broken() { return (status() & status_needs_reset) != 0; }

 private:
  Device& device_;
  TestedMemory& memory_;
  u16 size_, next_ = 0;
};

}  // namespace cloister::platform::virtio
