// The registers of a virtio device on PCI (virtio 1.2, 4.1.4): common configuration, ISR, notification and its own
// configuration in BAR 4, MSI-X in BAR 1, and the window to them in configuration space.
#include <algorithm>
#include <cstring>
#include <utility>

#include "platform/bytes.hpp"
#include "platform/virtio/device.hpp"

namespace cloister::platform::virtio {
namespace {

/// Up to 8 bytes from `offset` on of a structure; beyond its end are zeros.
u64 bytes_at(std::span<const u8> structure, u64 offset, unsigned size) {
  u64 value = 0;
  if (offset < structure.size())
    std::memcpy(&value, &structure[offset], std::min<u64>(size, structure.size() - offset));
  return value;
}

template <class T>
void put(std::span<u8> structure, Common at, T value) {
  std::memcpy(&structure[at], &value, sizeof value);
}

void set_half(u64& whole, bool upper, u32 value) {
  whole = upper ? (whole & 0xffff'ffff) | u64{value} << 32 : whole >> 32 << 32 | value;
}

}  // namespace

u32 Device::read_config(u16 offset, u32 enables) {
  u32 value = config().read(offset);
  if (offset == pci::reg_command && isr_ != 0 && !msix_.enabled()) value |= pci::status_interrupt;
  if (offset == window_at_ + 16) {
    if (const auto open = window()) value = static_cast<u32>(read_memory(open->bar, open->offset, open->size));
  }
  return value & enables;
}

void Device::write_config(u16 offset, u32 value, u32 enables) {
  config().write(offset, value, enables);
  if (offset == msix_at_) msix_.control(static_cast<u16>(config().read(msix_at_) >> 16));
  if (offset == msix_at_ || offset == pci::reg_command) line_changed();
  if (offset == window_at_ + 16) {
    if (const auto open = window()) write_memory(open->bar, open->offset, value, open->size);
  }
}

std::optional<Device::Window> Device::window() const {
  const auto reg = [this](unsigned at) { return config().read(static_cast<u16>(window_at_ + at)); };
  const Window open{.bar = reg(4) & 0xff, .offset = reg(8), .size = reg(12)};
  const bool possible = open.size == 1 || open.size == 2 || open.size == 4;
  if (open.bar != structures_bar || !possible || open.offset % open.size != 0) return std::nullopt;
  if (!within(open.offset, open.size, config().bar_bytes(open.bar))) return std::nullopt;
  return open;
}

u64 Device::read_memory(unsigned bar, u64 offset, unsigned size) {
  if (bar == msix_bar) return msix_.read(offset, size);
  const u64 in = offset % structure_bytes;
  switch (offset - in) {
    case common_at: return bytes_at(common(), in, size);
    case device_at: return bytes_at(own_config(), in, size);
    case isr_at: {
      if (in != 0) return 0;
      const u8 isr = std::exchange(isr_, u8{0});  // 4.1.4.5: to read it is to acknowledge it
      if (isr != 0) line_changed();
      return isr;
    }
    default: return 0;
  }
}

void Device::write_memory(unsigned bar, u64 offset, u64 value, unsigned size) {
  if (bar == msix_bar) return msix_.write(offset, value, size);
  const u64 in = offset % structure_bytes;
  if (offset - in == notify_at) return notify(in / notify_multiplier);
  if (offset - in != common_at) return;
  write_common(in, static_cast<u32>(value), size == 8 ? 4 : size);
  if (size == 8) write_common(in + 4, static_cast<u32>(value >> 32), 4);
}

std::array<u8, common_bytes> Device::common() const {
  std::array<u8, common_bytes> all{};
  const auto half = [](u64 features, u32 select) {
    return select < 2 ? static_cast<u32>(features >> (32 * select)) : u32{0};
  };
  put(all, common_device_feature_select, device_feature_select_);
  put(all, common_device_feature, half(offered(), device_feature_select_));
  put(all, common_driver_feature_select, driver_feature_select_);
  put(all, common_driver_feature, half(driver_features_, driver_feature_select_));
  put(all, common_config_vector, config_vector_);
  put(all, common_queues, static_cast<u16>(queues_.size()));
  put(all, common_status, status_);
  put(all, common_generation, generation());
  put(all, common_queue_select, queue_select_);
  if (queue_select_ >= queues_.size()) return all;  // a queue of size 0 is none
  const Queue::State& queue = queues_[queue_select_].state;
  put(all, common_queue_size, queue.size);
  put(all, common_queue_vector, queue.vector);
  put(all, common_queue_enable, static_cast<u16>(queue.enabled));
  put(all, common_queue_notify_off, queue_select_);
  put(all, common_queue_descriptors, queue.descriptors);
  put(all, common_queue_driver, queue.driver);
  put(all, common_queue_device, queue.device);
  put(all, common_queue_reset, static_cast<u16>(queue_reset_waits_ && served_ == &queues_[queue_select_]));
  return all;
}

/// What there is no vector for has none (4.1.5.1.2.1).
u16 Device::vector_of(u32 value) const { return value < msix_.vectors() ? static_cast<u16>(value) : Queue::no_vector; }

// Accesses are as wide as the field, or 32 bits of one of 64 (4.1.3.1); others are ignored.
void Device::write_common(u64 offset, u32 value, unsigned size) {
  switch (offset << 4 | size) {
    case common_device_feature_select << 4 | 4: device_feature_select_ = value; return;
    case common_driver_feature_select << 4 | 4: driver_feature_select_ = value; return;
    case common_driver_feature << 4 | 4:
      if (driver_feature_select_ < 2 && (status_ & status_features_ok) == 0)
        set_half(driver_features_, driver_feature_select_ == 1, value);
      return;
    case common_config_vector << 4 | 2: config_vector_ = vector_of(value); return;
    case common_status << 4 | 1: write_status(static_cast<u8>(value)); return;
    case common_queue_select << 4 | 2: queue_select_ = static_cast<u16>(value); return;
    default: break;
  }
  if (queue_select_ < queues_.size()) write_queue(queues_[queue_select_], offset, value, size);
}

void Device::write_queue(Queue& queue, u64 offset, u32 value, unsigned size) {
  Queue::State& state = queue.state;
  const u64 field = offset << 4 | size;
  if (field == (common_queue_vector << 4 | 2)) state.vector = vector_of(value);
  if (field == (common_queue_reset << 4 | 2) && value == 1 && negotiated(feature_ring_reset)) reset_queue(queue);
  if (state.enabled) return;
  switch (field) {
    case common_queue_size << 4 | 2: state.size = static_cast<u16>(value); break;
    case common_queue_enable << 4 | 2:
      if (value == 1) enable(queue);
      break;
    case common_queue_descriptors << 4 | 4: set_half(state.descriptors, false, value); break;
    case (common_queue_descriptors + 4) << 4 | 4: set_half(state.descriptors, true, value); break;
    case common_queue_driver << 4 | 4: set_half(state.driver, false, value); break;
    case (common_queue_driver + 4) << 4 | 4: set_half(state.driver, true, value); break;
    case common_queue_device << 4 | 4: set_half(state.device, false, value); break;
    case (common_queue_device + 4) << 4 | 4: set_half(state.device, true, value); break;
    default: break;
  }
}

}  // namespace cloister::platform::virtio
