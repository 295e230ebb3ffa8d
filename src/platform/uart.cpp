// Registers and bits are those of the NS16550A data sheet, section 8 ("Registers") and its table II.
#include "platform/uart.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace cloister::platform {
namespace {

enum Register : u16 { data = 0, interrupt_enable = 1, interrupt_id = 2, line_control = 3, modem_control = 4 };
enum MoreRegisters : u16 { line_status = 5, modem_status_register = 6, scratch = 7 };
constexpr u16 fifo_control = interrupt_id;  // written

namespace ier {
constexpr u8 received = 1 << 0, transmitter_empty = 1 << 1, line = 1 << 2, modem = 1 << 3, all = 0xf;
}
namespace iir {
constexpr u8 none = 0x1, modem = 0x0, transmitter_empty = 0x2, received = 0x4, timeout = 0xc, line = 0x6;
constexpr u8 fifos_enabled = 0xc0;
}  // namespace iir
namespace fcr {
constexpr u8 enable = 1 << 0, clear_receiver = 1 << 1, kept = 0xc9;  // enable, DMA mode, trigger level
constexpr std::array<u8, 4> trigger{1, 4, 8, 14};
}  // namespace fcr
namespace lsr {
constexpr u8 ready = 1 << 0, overrun = 1 << 1, transmitter_empty = 1 << 5 | 1 << 6;
}
namespace mcr {
constexpr u8 dtr = 1 << 0, rts = 1 << 1, out1 = 1 << 2, out2 = 1 << 3, loop = 1 << 4, all = 0x1f;
}
namespace msr {
constexpr u8 cts = 1 << 4, dsr = 1 << 5, ring = 1 << 6, dcd = 1 << 7, ring_delta = 1 << 2;
}
constexpr u8 divisor_latch_access = 1 << 7;  // LCR

}  // namespace

Uart16550::Uart16550(Transmit transmit, Irq irq) : transmit_(std::move(transmit)), irq_(std::move(irq)) {}

bool Uart16550::divisor_latched() const { return state_.line_control & divisor_latch_access; }
bool Uart16550::loopback() const { return state_.modem_control & mcr::loop; }

// The modem's lines: a peer that is always there, or in loopback our own outputs.
u8 Uart16550::modem_status() const {
  if (!loopback()) return msr::dcd | msr::dsr | msr::cts;
  u8 lines = 0;
  if (state_.modem_control & mcr::dtr) lines |= msr::dsr;
  if (state_.modem_control & mcr::rts) lines |= msr::cts;
  if (state_.modem_control & mcr::out1) lines |= msr::ring;
  if (state_.modem_control & mcr::out2) lines |= msr::dcd;
  return lines;
}

// The pending interrupt of highest priority (table V). There is no baud rate, so four character times are over at once:
// what is in the FIFO below its trigger level is a timeout.
std::optional<u8> Uart16550::interrupt() const {
  if (state_.interrupt_enable & ier::line && state_.overrun) return iir::line;
  if (state_.interrupt_enable & ier::received && !state_.fifo.empty()) {
    const bool fifos = state_.fifo_control & fcr::enable;
    return !fifos || state_.fifo.size() >= fcr::trigger[state_.fifo_control >> 6] ? iir::received : iir::timeout;
  }
  if (state_.interrupt_enable & ier::transmitter_empty && state_.transmitter_interrupt) return iir::transmitter_empty;
  if (state_.interrupt_enable & ier::modem && state_.modem_deltas) return iir::modem;
  return std::nullopt;
}

// Takes in what waits on the line, and says on the interrupt line whether anything is pending.
void Uart16550::update() {
  const std::size_t room = state_.fifo_control & fcr::enable ? fifo_bytes : 1;
  while (state_.modem_control & mcr::rts && !loopback() && state_.fifo.size() < room && !state_.line.empty()) {
    state_.fifo.push_back(state_.line.front());
    state_.line.pop_front();
  }
  const bool level = interrupt().has_value();
  if (std::exchange(state_.irq_level, level) != level) irq_(level);
}

void Uart16550::clear_receiver() {
  state_.fifo.clear();
  state_.overrun = false;
}

void Uart16550::send(u8 value) {
  if (!loopback()) {
    transmit_(value);
  } else if (!(state_.fifo_control & fcr::enable)) {
    state_.overrun |= !state_.fifo.empty();
    state_.fifo.assign(1, value);  // without FIFO the newest byte stays
  } else if (state_.fifo.size() < fifo_bytes) {
    state_.fifo.push_back(value);
  } else {
    state_.overrun = true;
  }
  state_.transmitter_interrupt = true;  // full and at once empty again
}

// A falling ring indicator is a delta, a rising one is not (TERI).
void Uart16550::write_modem_control(u8 value) {
  const u8 before = modem_status();
  state_.modem_control = value & mcr::all;
  const u8 after = modem_status();
  u8 deltas = static_cast<u8>((before ^ after) >> 4);
  if (after & msr::ring) deltas &= static_cast<u8>(~msr::ring_delta);
  state_.modem_deltas |= deltas;
}

void Uart16550::write_fifo_control(u8 value) {
  if ((value ^ state_.fifo_control) & fcr::enable || value & fcr::clear_receiver) clear_receiver();
  state_.fifo_control = value & fcr::enable ? value & fcr::kept : 0;
}

u8 Uart16550::read(u16 reg) {
  u8 value = 0;
  switch (reg) {
    case data:
      if (divisor_latched()) return static_cast<u8>(state_.divisor);
      if (!state_.fifo.empty()) {
        value = state_.fifo.front();
        state_.fifo.pop_front();
      }
      break;
    case interrupt_enable: return divisor_latched() ? static_cast<u8>(state_.divisor >> 8) : state_.interrupt_enable;
    case interrupt_id:
      value = interrupt().value_or(iir::none);
      if (value == iir::transmitter_empty) state_.transmitter_interrupt = false;
      if (state_.fifo_control & fcr::enable) value |= iir::fifos_enabled;
      break;
    case line_control: return state_.line_control;
    case modem_control: return state_.modem_control;
    case line_status:
      value = lsr::transmitter_empty;
      if (!state_.fifo.empty()) value |= lsr::ready;
      if (std::exchange(state_.overrun, false)) value |= lsr::overrun;
      break;
    case modem_status_register: value = modem_status() | std::exchange(state_.modem_deltas, u8{0}); break;
    case scratch: return state_.scratch;
    default: return 0xff;
  }
  update();
  return value;
}

void Uart16550::write(u16 reg, u8 value) {
  switch (reg) {
    case data:
      if (divisor_latched())
        state_.divisor = static_cast<u16>((state_.divisor & 0xff00) | value);
      else
        send(value);
      break;
    case interrupt_enable:
      if (divisor_latched()) {
        state_.divisor = static_cast<u16>((state_.divisor & 0xff) | value << 8);
      } else {
        // The transmitter is always empty, so enabling its interrupt raises it.
        if (value & ~state_.interrupt_enable & ier::transmitter_empty) state_.transmitter_interrupt = true;
        state_.interrupt_enable = value & ier::all;
      }
      break;
    case fifo_control: write_fifo_control(value); break;
    case line_control: state_.line_control = value; break;
    case modem_control: write_modem_control(value); break;
    case scratch: state_.scratch = value; break;
    default: break;  // the status registers are read only
  }
  update();
}

void Uart16550::receive(std::span<const u8> bytes) {
  state_.line.insert(state_.line.end(), bytes.begin(), bytes.end());
  update();
}

// Master reset (table III): the scratch register and the divisor keep their values, and so does the line.
void Uart16550::reset() {
  state_.interrupt_enable = state_.fifo_control = state_.line_control = state_.modem_control = state_.modem_deltas = 0;
  state_.transmitter_interrupt = false;
  clear_receiver();
  update();
}

}  // namespace cloister::platform
