// A first corpus for stream_fuzz: a whole stream, and a body of each kind in the target's own form.
#include <fstream>
#include <string>

#include "hypervisor/saving/enclaves.hpp"
#include "hypervisor/saving/state.hpp"
#include "platform/platform.hpp"
#include "stream/writer.hpp"
#include "unit/filled.hpp"

int main(int count, char** words) {
  using namespace cloister;
  using stream::Kind;
  if (count != 2) return 2;
  const auto write = [folder = std::string(words[1])](const std::string& name, std::span<const u8> bytes) {
    std::ofstream(folder + "/" + name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  };
  std::vector<u8> whole;
  stream::Writer writer([&whole](std::span<const u8> more) -> stream::Result<void> {
    whole.insert(whole.end(), more.begin(), more.end());
    return {};
  });
  const auto add = [&]<class State>(Kind kind, const State& state) {
    const std::vector<u8> body = stream::encode(state);
    std::vector<u8> seed{static_cast<u8>(static_cast<u32>(kind) - 1), static_cast<u8>(body.size()),
                         static_cast<u8>(body.size() >> 8)};
    seed.insert(seed.end(), body.begin(), body.end());
    write(std::string(stream::row_of(kind).name), seed);
    (void)writer.record(kind, body);
  };
  add(Kind::domain, tests::filled<hypervisor::DomainShape>());
  add(Kind::time, tests::filled<hypervisor::TimeState>());
  add(Kind::machine, tests::filled<hypervisor::MachineState>());
  add(Kind::ioapic, tests::filled<platform::IoApic::State>());
  add(Kind::uart, tests::filled<platform::Uart16550::State>());
  add(Kind::power, tests::filled<platform::PowerControl::State>());
  platform::Rtc::State clock = tests::filled<platform::Rtc::State>();
  clock.start = {1'700'000'000, 0};
  clock.battery.ahead = {};
  add(Kind::rtc, clock);
  add(Kind::processor, tests::filled<hypervisor::ProcessorState>());
  add(Kind::apic, tests::filled<platform::LocalApic::State>());
  add(Kind::epc, tests::filled<hypervisor::EpcState>());
  add(Kind::epc_map, tests::filled<hypervisor::EpcMapState>());
  add(Kind::epc_page, tests::filled<hypervisor::EpcPageState>());
  add(Kind::va_page, tests::filled<hypervisor::VaPageState>());
  add(Kind::root, tests::filled<hypervisor::RootState>());
  add(Kind::pci, tests::filled<platform::pci::HostBridge::State>());
  auto disk = tests::filled<platform::virtio::Block::State>();
  disk.sectors = 8;
  disk.read_only = false;
  disk.device.msix.pending = 0;
  disk.device.status = 0;
  disk.device.queues = {{.enabled = true, .waits = true}};
  add(Kind::disk, disk);
  auto interface = tests::filled<platform::virtio::Net::State>();
  interface.device.msix.pending = 0;
  interface.device.status = 0;
  interface.device.queues = {{.enabled = true, .waits = true}, {.enabled = true, .waits = true}};
  add(Kind::interface, interface);
  auto console = tests::filled<platform::virtio::Console::State>();
  console.device.msix.pending = 0;
  console.device.status = 0;
  console.device.queues = {{.enabled = true, .waits = true}, {.enabled = true, .waits = true}};
  add(Kind::console, console);
  auto rng = tests::filled<platform::virtio::Rng::State>();
  rng.device.msix.pending = 0;
  rng.device.status = 0;
  rng.device.queues = {{.enabled = true, .waits = true}};
  add(Kind::rng, rng);
  auto vsock = tests::filled<platform::virtio::Vsock::State>();
  vsock.cid = 3;
  vsock.next_port = platform::virtio::Vsock::first_port;
  vsock.device.msix.pending = 0;
  vsock.device.status = 0;
  vsock.device.queues = {
      {.enabled = true, .waits = true}, {.enabled = true, .waits = true}, {.enabled = true, .waits = true}};
  add(Kind::vsock, vsock);
  (void)writer.end();
  write("whole", whole);
  return 0;
}
