// A virtio device on PCI, modern only (virtio 1.2, 2 and 4.1): the life from reset to DRIVER_OK, negotiation, and the
// structures in its memory that the driver finds by capabilities. A kind of device says what it offers and serves its
// queues; all else is here.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "platform/dma.hpp"
#include "platform/pci/function.hpp"
#include "platform/pci/msix.hpp"
#include "platform/virtio/queue.hpp"

namespace cloister::platform::virtio {

/// Bits of the device's status (2.1).
enum Status : u8 {
  status_acknowledge = 1,
  status_driver = 2,
  status_driver_ok = 4,
  status_features_ok = 8,
  status_needs_reset = 64,
  status_failed = 128,
};

/// Features of every kind (6).
inline constexpr u64 feature_indirect = u64{1} << 28, feature_event_index = u64{1} << 29,
                     feature_version_1 = u64{1} << 32, feature_ring_reset = u64{1} << 40;

/// Structures in BAR 4, a page each (4.1.4).
inline constexpr unsigned msix_bar = 1, structures_bar = 4;
inline constexpr u64 common_at = 0x0000, isr_at = 0x1000, device_at = 0x2000, notify_at = 0x3000,
                     structure_bytes = 0x1000, notify_multiplier = 4;

/// The registers of the common configuration structure (4.1.4.3).
enum Common : u16 {
  common_device_feature_select = 0x00,
  common_device_feature = 0x04,
  common_driver_feature_select = 0x08,
  common_driver_feature = 0x0c,
  common_config_vector = 0x10,
  common_queues = 0x12,
  common_status = 0x14,
  common_generation = 0x15,
  common_queue_select = 0x16,
  common_queue_size = 0x18,
  common_queue_vector = 0x1a,
  common_queue_enable = 0x1c,
  common_queue_notify_off = 0x1e,
  common_queue_descriptors = 0x20,
  common_queue_driver = 0x28,
  common_queue_device = 0x30,
  common_queue_notify_data = 0x38,
  common_queue_reset = 0x3a,
  common_bytes = 0x3c,
};

class Device : public pci::Function {
 public:
  /// The number of a kind of device (5), and of PCI's classes.
  struct Kind {
    u16 number = 0;
    u32 class_code = 0;
  };
  /// All that it remembers.
  struct State {
    pci::ConfigSpace::State config{};
    pci::Msix::State msix{};
    u64 driver_features = 0;
    u32 device_feature_select = 0, driver_feature_select = 0;
    u16 config_vector = Queue::no_vector, queue_select = 0;
    u8 status = 0, isr = 0;
    std::vector<Queue::State> queues{};
    bool operator==(const State&) const = default;
  };
  struct Surroundings {
    Dma& dma;
    pci::Msix::Send send;
    std::function<void(std::string_view why)> broken;  ///< the driver broke it
    /// Queues are not served as soon as the driver says that they have something, but by somebody who is told so here
    /// and then calls work(). Empty: they are.
    std::function<void()> later{};
    /// Calls what may wait for the host, while others, the driver among them, use the device. Empty: nobody does.
    std::function<void(const std::function<void()>& what)> apart{};
  };

  State state() const;
  /// False: it can be in no such state, and has not changed.
  [[nodiscard]] bool set_state(const State& state);

  u32 read_config(u16 offset, u32 enables) override;
  void write_config(u16 offset, u32 value, u32 enables) override;
  u64 read_memory(unsigned bar, u64 offset, unsigned size) override;
  void write_memory(unsigned bar, u64 offset, u64 value, unsigned size) override;
  bool line() const override;

  /// Some of its queues wait for work().
  bool has_work() const;
  /// Serves those queues that wait, each for a while.
  void work();

 protected:
  /// queues: 1 to pci::Msix::most_vectors - 1.
  Device(const Kind& kind, unsigned queues, Surroundings surroundings);
  /// Features of its own kind that are offered; and its configuration, with a number that changes with it (2.5.3).
  virtual u64 own_features() const = 0;
  virtual std::span<const u8> own_config() const = 0;
  virtual u8 generation() const { return 0; }
  /// Its configuration has changed: tells the driver.
  void config_changed();
  /// A queue that the driver has notified can be served now, and need not wait for what is behind the device.
  virtual bool can_serve(unsigned) const { return true; }
  /// What is negotiated may be another now: nothing after a reset.
  virtual void features_taken() {}
  /// Its driver has reset it.
  virtual void was_reset() {}
  /// It may use its queues: the driver has said so, and nothing has gone wrong since.
  bool alive() const;
  /// The driver has notified this queue, and it is not done with.
  bool waits(unsigned number) const { return alive() && queues_[number].state.waits; }
  /// Does some requests of a queue, and asks to be told of more. True: there are more already.
  virtual Checked<bool> serve(unsigned number, Queue& queue) = 0;

  /// For serve(): does what neither knows nor changes this device, while others may. False: the driver resets the queue
  /// meanwhile, which then gets no answer.
  [[nodiscard]] bool apart(const std::function<void()>& what);

  bool negotiated(u64 feature) const { return negotiated_of(feature) != 0; }
  u64 negotiated_of(u64 features) const { return driver_features_ & features; }
  Dma& dma() const { return around_.dma; }

 private:
  void add_capabilities();
  u64 offered() const;
  void reset();
  void write_status(u8 value);
  void take_features();
  void break_down(const Broken& why);
  void interrupt_for(u16 vector, u8 isr_bit);
  void notify(u64 number);

  std::array<u8, common_bytes> common() const;
  void write_common(u64 offset, u32 value, unsigned size);
  void write_queue(Queue& queue, u64 offset, u32 value, unsigned size);
  void enable(Queue& queue);
  void reset_queue(Queue& queue);
  u16 vector_of(u32 value) const;
  struct Window {
    unsigned bar = 0;
    u64 offset = 0;
    unsigned size = 0;
  };
  std::optional<Window> window() const;

  Surroundings around_;
  pci::Msix msix_;
  u16 msix_at_ = 0, window_at_ = 0;  ///< capabilities
  std::vector<Queue> queues_;
  u64 driver_features_ = 0;
  u32 device_feature_select_ = 0, driver_feature_select_ = 0;
  u16 config_vector_ = Queue::no_vector, queue_select_ = 0;
  u8 status_ = 0, isr_ = 0;
  // While a queue is served it is not reset: that comes when it has been, for which drivers wait (2.4, 2.6.1).
  const Queue* served_ = nullptr;
  bool reset_waits_ = false, queue_reset_waits_ = false;
};

}  // namespace cloister::platform::virtio
