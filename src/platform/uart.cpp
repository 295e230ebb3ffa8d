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
constexpr std::size_t fifo_bytes = 16;

}  // namespace

Uart16550::Uart16550(Transmit transmit, Irq irq) : transmit_(std::move(transmit)), irq_(std::move(irq)) {}

bool Uart16550::divisor_latched() const { return line_control_ & divisor_latch_access; }
bool Uart16550::loopback() const { return modem_control_ & mcr::loop; }

// The modem's lines: a peer that is always there, or in loopback our own outputs.
u8 Uart16550::modem_status() const {
  if (!loopback()) return msr::dcd | msr::dsr | msr::cts;
  u8 lines = 0;
  if (modem_control_ & mcr::dtr) lines |= msr::dsr;
  if (modem_control_ & mcr::rts) lines |= msr::cts;
  if (modem_control_ & mcr::out1) lines |= msr::ring;
  if (modem_control_ & mcr::out2) lines |= msr::dcd;
  return lines;
}

// The pending interrupt of highest priority (table V). There is no baud rate, so four character times are over at once:
// what is in the FIFO below its trigger level is a timeout.
std::optional<u8> Uart16550::interrupt() const {
  if (interrupt_enable_ & ier::line && overrun_) return iir::line;
  if (interrupt_enable_ & ier::received && !fifo_.empty()) {
    const bool fifos = fifo_control_ & fcr::enable;
    return !fifos || fifo_.size() >= fcr::trigger[fifo_control_ >> 6] ? iir::received : iir::timeout;
  }
  if (interrupt_enable_ & ier::transmitter_empty && transmitter_interrupt_) return iir::transmitter_empty;
  if (interrupt_enable_ & ier::modem && modem_deltas_) return iir::modem;
  return std::nullopt;
}

// Takes in what waits on the line, and says on the interrupt line whether anything is pending.
void Uart16550::update() {
  const std::size_t room = fifo_control_ & fcr::enable ? fifo_bytes : 1;
  while (modem_control_ & mcr::rts && !loopback() && fifo_.size() < room && !line_.empty()) {
    fifo_.push_back(line_.front());
    line_.pop_front();
  }
  const bool level = interrupt().has_value();
  if (std::exchange(irq_level_, level) != level) irq_(level);
}

void Uart16550::clear_receiver() {
  fifo_.clear();
  overrun_ = false;
}

void Uart16550::send(u8 value) {
  if (!loopback()) {
    transmit_(value);
  } else if (!(fifo_control_ & fcr::enable)) {
    overrun_ |= !fifo_.empty();
    fifo_.assign(1, value);  // without FIFO the newest byte stays
  } else if (fifo_.size() < fifo_bytes) {
    fifo_.push_back(value);
  } else {
    overrun_ = true;
  }
  transmitter_interrupt_ = true;  // full and at once empty again
}

// A falling ring indicator is a delta, a rising one is not (TERI).
void Uart16550::write_modem_control(u8 value) {
  const u8 before = modem_status();
  modem_control_ = value & mcr::all;
  const u8 after = modem_status();
  u8 deltas = static_cast<u8>((before ^ after) >> 4);
  if (after & msr::ring) deltas &= static_cast<u8>(~msr::ring_delta);
  modem_deltas_ |= deltas;
}

void Uart16550::write_fifo_control(u8 value) {
  if ((value ^ fifo_control_) & fcr::enable || value & fcr::clear_receiver) clear_receiver();
  fifo_control_ = value & fcr::enable ? value & fcr::kept : 0;
}

u8 Uart16550::read(u16 reg) {
  u8 value = 0;
  switch (reg) {
    case data:
      if (divisor_latched()) return static_cast<u8>(divisor_);
      if (!fifo_.empty()) {
        value = fifo_.front();
        fifo_.pop_front();
      }
      break;
    case interrupt_enable: return divisor_latched() ? static_cast<u8>(divisor_ >> 8) : interrupt_enable_;
    case interrupt_id:
      value = interrupt().value_or(iir::none);
      if (value == iir::transmitter_empty) transmitter_interrupt_ = false;
      if (fifo_control_ & fcr::enable) value |= iir::fifos_enabled;
      break;
    case line_control: return line_control_;
    case modem_control: return modem_control_;
    case line_status:
      value = lsr::transmitter_empty;
      if (!fifo_.empty()) value |= lsr::ready;
      if (std::exchange(overrun_, false)) value |= lsr::overrun;
      break;
    case modem_status_register: value = modem_status() | std::exchange(modem_deltas_, u8{0}); break;
    case scratch: return scratch_;
    default: return 0xff;
  }
  update();
  return value;
}

void Uart16550::write(u16 reg, u8 value) {
  switch (reg) {
    case data:
      if (divisor_latched())
        divisor_ = static_cast<u16>((divisor_ & 0xff00) | value);
      else
        send(value);
      break;
    case interrupt_enable:
      if (divisor_latched()) {
        divisor_ = static_cast<u16>((divisor_ & 0xff) | value << 8);
      } else {
        // The transmitter is always empty, so enabling its interrupt raises it.
        if (value & ~interrupt_enable_ & ier::transmitter_empty) transmitter_interrupt_ = true;
        interrupt_enable_ = value & ier::all;
      }
      break;
    case fifo_control: write_fifo_control(value); break;
    case line_control: line_control_ = value; break;
    case modem_control: write_modem_control(value); break;
    case scratch: scratch_ = value; break;
    default: break;  // the status registers are read only
  }
  update();
}

void Uart16550::receive(std::span<const u8> bytes) {
  line_.insert(line_.end(), bytes.begin(), bytes.end());
  update();
}

// Master reset (table III): the scratch register and the divisor keep their values, and so does the line.
void Uart16550::reset() {
  interrupt_enable_ = fifo_control_ = line_control_ = modem_control_ = modem_deltas_ = 0;
  transmitter_interrupt_ = false;
  clear_receiver();
  update();
}

}  // namespace cloister::platform
