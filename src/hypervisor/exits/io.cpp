// IN, OUT, INS and OUTS (SDM vol. 1, ch. 19). The bus is byte-wide: a wider access is one access to each of consecutive
// ports, but for those of PCI's configuration space. Ports that nobody answers read all ones and swallow writes. The
// processor checked IOPL, the I/O bitmap and the string operand's segment before it exited.
#include <utility>

#include "hypervisor/exits/exits.hpp"
#include "hypervisor/instruction.hpp"

namespace cloister::hypervisor::exits {
namespace {

using platform::PowerEvent;
using vmx::IoQualification;

constexpr u16 nmi_status = 0x61, keyboard_controller = 0x64, reset_control = 0xcf9;
constexpr u8 keyboard_pulse_reset = 0xfe;
/// That a bus's error caused an NMI (SERR#, IOCHK#): kernels ask for that first, and no bus here has errors.
constexpr u8 nmi_sources = 0xc0;
constexpr u8 reset_cpu = 1u << 2;  // of the reset control register that PC chip sets have at 0xCF9

struct Port {
  u16 first, last;
  u8 (*read)(Processor&, u16 port);
  Result (*write)(Processor&, u16 port, u8 value);
};

Result end(Processor& processor, std::optional<PowerEvent> event) {
  if (!event) return std::nullopt;
  if (*event == PowerEvent::sleep) {
    processor.machine.sleep_asked = true;  // its instruction is completed first
    return std::nullopt;
  }
  return Stop{*event == PowerEvent::reset ? Ending::reset : Ending::powered_off, ""};
}

Result write_pvpanic(Processor& processor, u16, u8 events) {
  if ((events & platform::pvpanic_panicked) != 0) return Stop{Ending::crashed, "its kernel panicked, and said so"};
  Machine& machine = processor.machine;
  const bool first = (events & platform::pvpanic_crash_loaded) != 0 && !std::exchange(machine.crash_kernel_runs, true);
  if (first && machine.note) machine.note("its kernel panicked, and goes on with its crash kernel");
  return std::nullopt;
}

constexpr Port ports[] = {
    {platform::com1_port, platform::com1_port + 7,
     [](Processor& p, u16 port) { return p.machine.uart.read(static_cast<u16>(port - platform::com1_port)); },
     [](Processor& p, u16 port, u8 value) -> Result {
       p.machine.uart.write(static_cast<u16>(port - platform::com1_port), value);
       return std::nullopt;
     }},
    {platform::rtc_index_port, platform::rtc_data_port,
     [](Processor& p, u16 port) { return p.machine.rtc.read(port, p.now()); },
     [](Processor& p, u16 port, u8 value) -> Result {
       p.machine.rtc.write(port, value, p.now());
       return std::nullopt;
     }},
    {nmi_status, nmi_status, [](Processor&, u16) { return static_cast<u8>(~nmi_sources); },
     [](Processor&, u16, u8) -> Result { return std::nullopt; }},
    {platform::pvpanic_port, platform::pvpanic_port, [](Processor&, u16) { return platform::pvpanic_events; },
     write_pvpanic},
    {platform::reset_port, platform::pm1_event_port + platform::pm1_event_bytes - 1,
     [](Processor& p, u16 port) { return p.machine.power.read(port); },
     [](Processor& p, u16 port, u8 value) { return end(p, p.machine.power.write(port, value)); }},
};

const Port* find(u16 port) {
  for (const Port& row : ports)
    if (port >= row.first && port <= row.last) return &row;
  return nullptr;
}

/// PCI's, if there is a bus.
platform::pci::HostBridge* bridge_at(const Processor& processor, u16 port) {
  const bool configuration = port >= platform::pci::address_port && port < platform::pci::data_port + 4;
  return configuration ? processor.machine.pci.get() : nullptr;
}

u32 read_ports(Processor& processor, u16 port, unsigned bytes) {
  if (auto* const bridge = bridge_at(processor, port)) return bridge->read_port(port, bytes);
  u32 value = 0;
  for (unsigned i = 0; i < bytes; ++i) {
    const u16 at = static_cast<u16>(port + i);
    const Port* row = find(at);
    value |= u32{row != nullptr ? row->read(processor, at) : u8{0xff}} << (8 * i);
  }
  return value;
}

Result write_ports(Processor& processor, u16 port, unsigned bytes, u32 value) {
  // A wider access at 0xCF8 is PCI's configuration address, so these two answer to bytes alone.
  if (bytes == 1 && port == keyboard_controller && value == keyboard_pulse_reset)
    return end(processor, PowerEvent::reset);
  if (bytes == 1 && port == reset_control && (value & reset_cpu) != 0) return end(processor, PowerEvent::reset);
  if (auto* const bridge = bridge_at(processor, port)) {
    bridge->write_port(port, value, bytes);
    return std::nullopt;
  }
  Result result;
  for (unsigned i = 0; i < bytes; ++i) {
    const u16 at = static_cast<u16>(port + i);
    if (const Port* row = find(at))
      if (auto happened = row->write(processor, at, static_cast<u8>(value >> (8 * i)))) result = std::move(happened);
  }
  return result;
}

void trace(Processor& processor, const IoQualification& io, u32 value) {
  if (processor.machine.trace.wants().io)
    processor.machine.trace.line(processor.now(), "io", "{} port={:#x} bytes={} value={:#x}", io.in ? "in" : "out",
                                 io.port, io.size, value);
}

/// One element: a repeated instruction exits again for the next, so that interrupts come between elements.
Result string_io(Processor& processor, const vmx::Exit& exit, const IoQualification& io) {
  vmx::GeneralRegs general = processor.vcpu.general();
  const vmx::SystemRegs system = processor.vcpu.system();
  LinearMemory memory = processor.linear(system, general.rflags);
  u8 bytes[15];
  const auto insn = decode(std::span(bytes).first(memory.fetch(linear_rip(general, system), bytes)), code_bits(system));
  if (!insn) return Stop{Ending::crashed, "string I/O whose instruction cannot be fetched"};
  const unsigned address_bits = insn->info.address_width;
  if (io.rep && repeat_count(general, address_bits) == 0) {
    processor.complete(exit, general);
    return std::nullopt;
  }

  Result event;
  if (io.in) {
    if (const auto allowed = memory.probe_store(exit.linear, io.size); !allowed) {
      processor.raise(allowed.error());
      return std::nullopt;
    }
    const u32 value = read_ports(processor, io.port, io.size);
    trace(processor, io, value);
    if (const auto stored = memory.store(exit.linear, value, io.size); !stored) {
      processor.raise(stored.error());
      return std::nullopt;
    }
  } else {
    const auto value = memory.load(exit.linear, io.size);
    if (!value) {
      processor.raise(value.error());
      return std::nullopt;
    }
    trace(processor, io, static_cast<u32>(*value));
    event = write_ports(processor, io.port, io.size, static_cast<u32>(*value));
  }
  step_index(general, io.in ? arch::rdi : arch::rsi, address_bits, io.size);
  if (!io.rep || count_down(general, address_bits)) {
    processor.complete(exit, general);
  } else {
    processor.vcpu.set_general(general);
  }
  return event;
}

}  // namespace

Result io(Processor& processor, const vmx::Exit& exit) {
  const IoQualification io = IoQualification::decode(exit.qualification);
  if (io.string) return string_io(processor, exit, io);
  vmx::GeneralRegs general = processor.vcpu.general();
  u64& rax = general.gpr[arch::rax];
  const u64 mask = (u64{1} << (8 * io.size)) - 1;
  Result event;
  if (io.in) {
    const u32 value = read_ports(processor, io.port, io.size);
    rax = io.size == 4 ? value : (rax & ~mask) | value;
    trace(processor, io, value);
  } else {
    const u32 value = static_cast<u32>(rax & mask);
    trace(processor, io, value);
    event = write_ports(processor, io.port, io.size, value);
  }
  processor.complete(exit, general);
  return event;
}

}  // namespace cloister::hypervisor::exits
