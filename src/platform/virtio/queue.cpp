#include "platform/virtio/queue.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

#include "arch/try.hpp"

namespace cloister::platform::virtio {
namespace {

using arch::Gpa;

struct Descriptor {  // 2.7.5
  u64 address = 0;
  u32 bytes = 0;
  u16 flags = 0, next = 0;
};
static_assert(sizeof(Descriptor) == 16);
constexpr u16 flag_next = 1, flag_write = 2, flag_indirect = 4;

struct UsedElement {  // 2.7.8
  u32 id = 0, bytes = 0;
};

// Both rings: flags, index, elements, and behind these where the other side wants to be told (2.7.6, 2.7.8, 2.7.7).
constexpr u64 ring_index = 2, ring_elements = 4;
constexpr u16 available_no_interrupt = 1;

constexpr Broken no_ram{"a queue or a buffer of it is not in RAM"};

tl::unexpected<Broken> broken(std::string_view why) { return tl::unexpected(Broken{why}); }

/// For each piece of [offset, offset + bytes) of the parts: access(address, bytes before it, bytes), until one fails.
template <class Access>
Checked<void> for_each_piece(const std::vector<Chain::Part>& parts, u64 offset, u64 bytes, Access access) {
  u64 done = 0;
  for (const Chain::Part& part : parts) {
    if (done == bytes) break;
    if (offset >= part.bytes) {
      offset -= part.bytes;
      continue;
    }
    const u64 piece = std::min(part.bytes - offset, bytes - done);
    if (!access(part.at + offset, done, piece)) return tl::unexpected(no_ram);
    done += piece;
    offset = 0;
  }
  if (done != bytes) return broken("a request is too short");
  return {};
}

/// The descriptors from the one at `index` of a table on. The chain is never longer than the queue (2.7.5.2), which
/// ends loops, too.
class Walk {
 public:
  Walk(const Dma& dma, Chain& chain, u16 queue_size) : dma_(dma), chain_(chain), left_(queue_size) {}

  /// The address and bytes of an indirect table, if the chain goes on in one (2.7.5.3).
  Checked<std::optional<Chain::Part>> table(u64 base, u32 entries, u32 index, bool indirect_allowed) {
    for (;;) {
      if (index >= entries) return broken("a descriptor's number is beyond its table");
      if (left_-- == 0) return broken("a chain of descriptors has a loop, or is longer than its queue");
      Descriptor descriptor;
      if (!dma_.read(Gpa{base} + u64{index} * sizeof descriptor, std::as_writable_bytes(std::span(&descriptor, 1))))
        return tl::unexpected(no_ram);
      if ((descriptor.flags & flag_indirect) != 0) {
        if (!indirect_allowed || (descriptor.flags & flag_next) != 0)
          return broken("an indirect descriptor where none may be");
        if (descriptor.bytes == 0 || descriptor.bytes % sizeof descriptor != 0)
          return broken("an indirect table that is no multiple of 16 bytes");
        ++left_;  // it is none of the chain's own
        return Chain::Part{Gpa{descriptor.address}, descriptor.bytes};
      }
      if (!add(descriptor)) return broken("a part that the device reads behind one that it writes");
      if ((descriptor.flags & flag_next) == 0) return std::nullopt;
      index = descriptor.next;
    }
  }

 private:
  bool add(const Descriptor& descriptor) {
    const Chain::Part part{Gpa{descriptor.address}, descriptor.bytes};
    if ((descriptor.flags & flag_write) != 0) {
      chain_.writable.push_back(part);
      chain_.writable_bytes += part.bytes;
      return true;
    }
    chain_.readable.push_back(part);
    chain_.readable_bytes += part.bytes;
    return chain_.writable.empty();
  }

  const Dma& dma_;
  Chain& chain_;
  u32 left_;
};

}  // namespace

Checked<void> Chain::read(const Dma& dma, u64 offset, std::span<std::byte> to) const {
  return for_each_piece(readable, offset, to.size(),
                        [&](Gpa at, u64 done, u64 bytes) { return dma.read(at, to.subspan(done, bytes)); });
}

Checked<void> Chain::write(Dma& dma, u64 offset, std::span<const std::byte> from) const {
  return for_each_piece(writable, offset, from.size(),
                        [&](Gpa at, u64 done, u64 bytes) { return dma.write(at, from.subspan(done, bytes)); });
}

template <class T>
Checked<T> Queue::load(u64 from) const {
  T value{};
  if (!dma_->read(Gpa{from}, std::as_writable_bytes(std::span(&value, 1)))) return tl::unexpected(no_ram);
  return value;
}

template <class T>
Checked<void> Queue::store(u64 to, T value) {
  if (!dma_->write(Gpa{to}, std::as_bytes(std::span(&value, 1)))) return tl::unexpected(no_ram);
  return {};
}

Checked<void> Queue::check() const {
  if (!std::has_single_bit(state.size) || state.size > most_descriptors) return broken("a queue's size");
  if (state.descriptors % 16 != 0 || state.driver % 2 != 0 || state.device % 4 != 0)
    return broken("a queue's alignment");
  return {};
}

Checked<u16> Queue::available_index() const {
  const u16 index = TRY(load<u16>(state.driver + ring_index));
  // What it says is there is read behind it. Of these fences the thread sanitizer knows nothing: the memory is the
  // guest's.
  std::atomic_thread_fence(std::memory_order_acquire);
  return index;
}

Checked<std::optional<Chain>> Queue::pop() {
  const u16 index = TRY(available_index());
  const u16 waiting = static_cast<u16>(index - state.next_available);
  if (waiting == 0) return std::nullopt;
  if (waiting > state.size) return broken("the index of available requests jumped");
  Chain chain;
  chain.head = TRY(load<u16>(state.driver + ring_elements + 2 * slot(state.next_available)));
  ++state.next_available;
  Walk walk(*dma_, chain, state.size);
  if (const auto table = TRY(walk.table(state.descriptors, state.size, chain.head, indirect)))
    TRY(walk.table(table->at.value, table->bytes / static_cast<u32>(sizeof(Descriptor)), 0, false));
  return chain;
}

Checked<void> Queue::push(const Chain& chain, u32 written) {
  const Done done{chain.head, written};
  return push(std::span(&done, 1));
}

Checked<void> Queue::push(std::span<const Done> all) {
  for (const Done& done : all) {
    const u64 element = ring_elements + sizeof(UsedElement) * slot(state.next_used);
    TRY(store(state.device + element, UsedElement{done.head, done.written}));
    ++state.next_used;
  }
  std::atomic_thread_fence(std::memory_order_release);
  return store(state.device + ring_index, state.next_used);
}

Checked<bool> Queue::listen() {
  if (event_index)
    TRY(store(state.device + ring_elements + sizeof(UsedElement) * u64{state.size}, state.next_available));
  std::atomic_thread_fence(std::memory_order_seq_cst);  // who comes in between sees this, or is seen
  return TRY(available_index()) != state.next_available;
}

Checked<bool> Queue::wants_interrupt() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const u16 before = std::exchange(state.told, state.next_used);
  if (before == state.next_used) return false;
  if (!event_index) return (TRY(load<u16>(state.driver)) & available_no_interrupt) == 0;
  // 2.7.10: it wants to hear once the element at this index is used.
  const u16 event = TRY(load<u16>(state.driver + ring_elements + 2 * u64{state.size}));
  return static_cast<u16>(state.next_used - event - 1) < static_cast<u16>(state.next_used - before);
}

}  // namespace cloister::platform::virtio
