// Streams of saved domains from anyone: the reader on arbitrary bytes, and, of the same bytes, records whose checksums
// are right. What is read is a value that is written as it was found, or there is one clear error; and a device takes
// every state that it can be in. The same of sealed streams: of one that was altered or cut nothing else is ever read
// than what was sealed, and never its end.
#include <algorithm>
#include <memory>

#include "check.hpp"
#include "hypervisor/saving/enclaves.hpp"
#include "hypervisor/saving/state.hpp"
#include "platform/platform.hpp"
#include "stream/reader.hpp"
#include "stream/sealing.hpp"
#include "stream/writer.hpp"
#include "unit/platform/disk_in_memory.hpp"
#include "unit/platform/peers_in_memory.hpp"
#include "unit/platform/wire_in_memory.hpp"

namespace cloister {
namespace {

using namespace stream;
using Bytes = std::vector<u8>;
constexpr u64 hz = 1'000'000'000;

/// As if all of it were zeros.
class ZeroedRam final : public platform::Dma {
 public:
  bool read(arch::Gpa, std::span<std::byte> to) const override {
    std::ranges::fill(to, std::byte{0});
    return true;
  }
  bool write(arch::Gpa, std::span<const std::byte>) override { return true; }
};

Source source_of(std::span<const u8> bytes) {
  return [bytes](std::span<u8> to) mutable -> Result<std::size_t> {
    const std::size_t n = std::min(to.size(), bytes.size());
    std::copy_n(bytes.begin(), n, to.begin());
    bytes = bytes.subspan(n);
    return n;
  };
}

Sink sink_to(Bytes& bytes) {
  return [&bytes](std::span<const u8> more) -> Result<void> {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return {};
  };
}

/// Nullopt: the body is no such value, or the device cannot be in it.
template <class State>
std::optional<State> state_of(const Record& record) {
  const auto state = decode<State>(record.body);
  if (state) check(encode(*state) == record.body);
  return state;
}

/// Uses a device that goes on from the record.
void check_record(const Record& record) {
  const auto nothing = [](auto) {};
  switch (record.kind) {
    case Kind::apic:
      if (const auto state = state_of<platform::LocalApic::State>(record);
          state && platform::LocalApic::can_be(*state)) {
        platform::LocalApic apic(1, hz, hz / 16);
        apic.set_state(*state);
        for (const u64 now : {u64{0}, u64{5'000}, u64{1} << 60}) {
          apic.advance(now);
          for (u32 offset = 0; offset < 0x400; offset += 16) apic.read(offset, now);
          apic.acknowledge();
          apic.write(0xb0, 0, now);
        }
      }
      break;
    case Kind::ioapic:
      if (const auto state = state_of<platform::IoApic::State>(record)) {
        platform::IoApic ioapic(nothing);
        ioapic.set_state(*state);
        for (unsigned pin = 0; pin < platform::IoApic::pins; ++pin) {
          ioapic.read(0x10);
          ioapic.set_pin(pin, true);
          ioapic.set_pin(pin, false);
        }
      }
      break;
    case Kind::uart:
      if (const auto state = state_of<platform::Uart16550::State>(record);
          state && platform::Uart16550::can_be(*state)) {
        platform::Uart16550 uart(nothing, nothing);
        uart.set_state(*state);
        for (u16 reg = 0; reg < 8; ++reg) {
          uart.read(reg);
          uart.write(reg, 0x83);
        }
      }
      break;
    case Kind::power:
      if (const auto state = state_of<platform::PowerControl::State>(record)) {
        platform::PowerControl power(nothing);
        power.set_state(*state);
        power.press_button();
      }
      break;
    case Kind::rtc:
      if (const auto state = state_of<platform::Rtc::State>(record); state && platform::Rtc::can_be(*state)) {
        platform::Rtc rtc(hz, {}, {}, nothing);
        rtc.set_state(*state);
        for (const u64 now : {u64{0}, u64{5'000}, u64{1} << 60}) {
          rtc.advance(now);
          rtc.read(platform::rtc_data_port, now);
          rtc.write(platform::rtc_data_port, 0x26, now);
          rtc.battery(now);
        }
        rtc.catch_up({1'700'000'000, 0}, u64{1} << 60);
      }
      break;
    case Kind::pci:
      if (const auto state = state_of<platform::pci::HostBridge::State>(record)) {
        platform::pci::HostBridge bridge({}, [](u32, bool) {});
        bridge.set_state(*state);
        bridge.write_port(platform::pci::data_port, bridge.read_port(platform::pci::data_port, 4), 4);
      }
      break;
    case Kind::disk:
      if (const auto state = state_of<platform::virtio::Block::State>(record)) {
        ZeroedRam ram;
        platform::virtio::Block disk({.storage = std::make_shared<platform::virtio::DiskInMemory>(4096), .id = {}},
                                     {.dma = ram, .send = nothing, .broken = {}});
        if (!disk.set_state(*state)) break;
        for (u64 at = 0; at < 0x40; at += 4) disk.read_memory(platform::virtio::structures_bar, at, 4);
        disk.write_memory(platform::virtio::structures_bar, platform::virtio::notify_at, 0, 2);
        if (disk.has_work()) disk.work();
      }
      break;
    case Kind::interface:
      if (const auto state = state_of<platform::virtio::Net::State>(record)) {
        ZeroedRam ram;
        const auto wire = std::make_shared<platform::virtio::WireInMemory>();
        wire->come.assign(2, platform::virtio::WireInMemory::Frame(100));
        wire->room = 4;
        platform::virtio::Net interface({.wire = wire, .mac = {}}, {.dma = ram, .send = nothing, .broken = {}});
        if (!interface.set_state(*state)) break;
        interface.look_at_wire();
        for (u64 at = 0; at < 0x40; at += 4) interface.read_memory(platform::virtio::structures_bar, at, 4);
        for (u64 queue = 0; queue < 2; ++queue)
          interface.write_memory(platform::virtio::structures_bar,
                                 platform::virtio::notify_at + queue * platform::virtio::notify_multiplier, queue, 2);
        if (interface.has_work()) interface.work();
      }
      break;
    case Kind::console:
      if (const auto state = state_of<platform::virtio::Console::State>(record)) {
        ZeroedRam ram;
        platform::virtio::Console console([](u8) {}, {.dma = ram, .send = nothing, .broken = {}});
        if (!console.set_state(*state)) break;
        for (u64 at = 0; at < 0x40; at += 4) console.read_memory(platform::virtio::structures_bar, at, 4);
        for (u64 queue = 0; queue < 2; ++queue)
          console.write_memory(platform::virtio::structures_bar, platform::virtio::notify_at + 4 * queue, queue, 2);
        for (int i = 0; i < 4 && console.has_work(); ++i) console.work();
      }
      break;
    case Kind::rng:
      if (const auto state = state_of<platform::virtio::Rng::State>(record)) {
        ZeroedRam ram;
        platform::virtio::Rng rng({}, {.dma = ram, .send = nothing, .broken = {}});
        if (!rng.set_state(*state)) break;
        for (u64 at = 0; at < 0x40; at += 4) rng.read_memory(platform::virtio::structures_bar, at, 4);
        rng.write_memory(platform::virtio::structures_bar, platform::virtio::notify_at, 0, 2);
        if (rng.has_work()) rng.work();
      }
      break;
    case Kind::vsock:
      if (const auto state = state_of<platform::virtio::Vsock::State>(record)) {
        ZeroedRam ram;
        const auto peers = std::make_shared<platform::virtio::PeersInMemory>();
        platform::virtio::Vsock vsock({.peers = peers}, {.dma = ram, .send = nothing, .broken = {}, .later = [] {}});
        if (!vsock.set_state(*state)) break;
        peers->call(22);
        for (u64 at = 0; at < 0x40; at += 4) vsock.read_memory(platform::virtio::structures_bar, at, 4);
        for (u64 queue = 0; queue < 3; ++queue)
          vsock.write_memory(platform::virtio::structures_bar,
                             platform::virtio::notify_at + queue * platform::virtio::notify_multiplier, queue, 2);
        vsock.look();
        if (vsock.has_work()) vsock.work();
      }
      break;
    case Kind::processor: state_of<hypervisor::ProcessorState>(record); break;
    case Kind::domain: state_of<hypervisor::DomainShape>(record); break;
    case Kind::epc_map: state_of<hypervisor::EpcMapState>(record); break;
    case Kind::epc_page: state_of<hypervisor::EpcPageState>(record); break;
    case Kind::va_page: state_of<hypervisor::VaPageState>(record); break;
    case Kind::root: state_of<hypervisor::RootState>(record); break;
    case Kind::avx: state_of<hypervisor::AvxState>(record); break;
    case Kind::pairs:
      if (const auto state = state_of<hypervisor::PairsState>(record)) {
        ZeroedRam ram;
        const auto wire = std::make_shared<platform::virtio::WireInMemory>(4);
        platform::virtio::Net interface({.wire = wire, .mac = {}}, {.dma = ram, .send = nothing, .broken = {}});
        if (interface.set_pairs(state->pairs) && state->pairs != 1) std::abort();  // nothing was negotiated
      }
      break;
    case Kind::epc: state_of<hypervisor::EpcState>(record); break;
    case Kind::machine: state_of<hypervisor::MachineState>(record); break;
    case Kind::time: state_of<hypervisor::TimeState>(record); break;
    case Kind::config:
    case Kind::config_alive:
    case Kind::config_snapshot:
    case Kind::ram:
    case Kind::still:
    case Kind::all_but_root:
    case Kind::end: break;
  }
}

/// Reads to the end, or to what is wrong.
bool read_all(std::span<const u8> bytes) {
  Reader reader(source_of(bytes));
  for (;;) {
    const auto record = reader.next();
    if (!record) {
      const std::string& error = record.error();
      check(error.starts_with("byte ") && error.find('\n') == std::string::npos);
      return false;
    }
    check_record(*record);
    if (record->kind == Kind::end) return true;
  }
}

/// A kind, a length and a body, again and again, as a stream that is whole.
Bytes stream_of(std::span<const u8> input) {
  Bytes bytes;
  Writer writer(sink_to(bytes));
  while (input.size() > 3) {
    const KindRow& row = kinds[1 + input[0] % (kinds.size() - 1)];
    const std::size_t length =
        std::min<std::size_t>({input[1] | std::size_t{input[2]} << 8, input.size() - 3, row.most_bytes});
    check(writer.record(row.kind, input.subspan(3, length)).has_value());
    input = input.subspan(3 + length);
  }
  check(writer.end().has_value());
  return bytes;
}

constexpr SealKey seal_key{1, 2, 3};

/// What of it is authentic; whether it is whole.
std::pair<Bytes, bool> unseal(std::span<const u8> bytes) {
  const Source source = unsealed(source_of(bytes), seal_key);
  Bytes all, part(3000);
  for (;;) {
    const auto found = source(part);
    if (!found) check(!found.error().empty() && found.error().find('\n') == std::string::npos);
    if (!found || *found == 0) return {all, found.has_value()};
    all.insert(all.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(*found));
  }
}

/// Seals the input, and alters or cuts it where its first bytes say.
void check_seal(std::span<const u8> input) {
  check(!unseal(input).second);
  if (input.size() < 5) return;
  const std::size_t at = input[0] | input[1] << 8 | input[2] << 16;
  const u8 change = input[3];
  const bool cuts = input[4] & 1;
  // Long enough for several frames.
  Bytes text;
  for (unsigned times = input[4] >> 1; times-- > 0 && text.size() < 3 * frame_bytes;)
    text.insert(text.end(), input.begin() + 5, input.end());
  Bytes seal;
  Sealer sealer(sink_to(seal), seal_key, {});
  check(sealer.sink()(text).has_value() && sealer.finish().has_value());
  check(unseal(seal) == std::pair(text, true));
  if (cuts) {
    seal.resize(at % seal.size());
  } else {
    seal[at % seal.size()] ^= change;
  }
  const auto [found, whole] = unseal(seal);
  check(whole == (!cuts && change == 0));
  check(found.size() <= text.size() && std::equal(found.begin(), found.end(), text.begin()));
}

}  // namespace
}  // namespace cloister

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> input(data, size);
  cloister::read_all(input);
  check(cloister::read_all(cloister::stream_of(input)));
  cloister::check_seal(input);
  return 0;
}
