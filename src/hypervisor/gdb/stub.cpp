// An empty answer means "not supported"; E01 a malformed command, E14 (EFAULT) memory that is not there.
#include "hypervisor/gdb/stub.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace cloister::hypervisor::gdb {
namespace {

constexpr std::size_t packet_size = 0x4000;
constexpr u8 sigint = 2;
const std::string ok = "OK", malformed = "E01", no_memory = "E14", unsupported;

}  // namespace

std::string Stub::receive(std::string_view bytes) {
  reader_.feed(bytes);
  std::string answer;
  while (const auto received = reader_.next()) {
    switch (received->kind) {
      case Received::Kind::ack: break;
      case Received::Kind::nack: answer += last_; break;
      case Received::Kind::bad_checksum:
        if (acknowledge_) answer += '-';
        break;
      case Received::Kind::interrupt:
        if (state_ == RunState::running || state_ == RunState::stepping) answer += stopped(sigint, false);
        break;
      case Received::Kind::packet: {
        if (acknowledge_) answer += '+';
        const RunState before = state_;
        const std::string reply = command(received->payload);
        const bool resumed =
            before == RunState::stopped && (state_ == RunState::running || state_ == RunState::stepping);
        if (resumed || state_ == RunState::killed) break;
        last_ = frame(reply);
        answer += last_;
        break;
      }
    }
  }
  return answer;
}

std::string Stub::stopped(u8 signal, bool breakpoint) {
  state_ = RunState::stopped;
  signal_ = signal;
  at_breakpoint_ = breakpoint;
  last_ = frame(stop_reply());
  return last_;
}

std::string Stub::ended(u8 status) {
  state_ = RunState::killed;
  return frame(fmt::format("W{:02x}", status));
}

std::string Stub::stop_reply() const {
  return fmt::format("T{:02x}{}thread:1;", signal_, at_breakpoint_ && knows_swbreak_ ? "swbreak:;" : "");
}

std::string Stub::command(std::string_view packet) {
  if (packet.empty()) return unsupported;
  const char letter = packet.front();
  const std::string_view rest = packet.substr(1);
  switch (letter) {
    case '?': return stop_reply();
    case 'g': return read_registers();
    case 'G': return write_registers(rest);
    case 'p': return read_register(rest);
    case 'P': return write_register(rest);
    case 'm': return read_memory(rest);
    case 'M': return write_memory(rest, false);
    case 'X': return write_memory(rest, true);
    case 'Z': return breakpoint(rest, true);
    case 'z': return breakpoint(rest, false);
    case 'c': return resume(RunState::running, rest);
    case 's': return resume(RunState::stepping, rest);
    case 'H':
    case 'T': return ok;
    case 'D': state_ = RunState::detached; return ok;
    case 'k': state_ = RunState::killed; return {};
    case 'q':
    case 'Q':
    case 'v': return query(packet);
    default: return unsupported;
  }
}

std::string Stub::query(std::string_view packet) {
  if (take(packet, "qSupported")) {
    knows_swbreak_ = packet.find("swbreak+") != std::string_view::npos;
    return fmt::format("PacketSize={:x};qXfer:features:read+;swbreak+;vContSupported+;QStartNoAckMode+", packet_size);
  }
  if (take(packet, "qXfer:features:read:target.xml:")) return features(packet);
  if (packet == "qAttached") return "1";
  if (packet == "qC") return "QC1";
  if (packet == "qfThreadInfo") return "m1";
  if (packet == "qsThreadInfo") return "l";
  if (packet == "QStartNoAckMode") {
    acknowledge_ = false;
    return ok;
  }
  if (packet == "vCont?") return "vCont;c;C;s;S";
  if (take(packet, "vCont;")) {
    // One thread: the first action is its action. A signal number means nothing to a processor.
    const bool step = take(packet, 's') || take(packet, 'S');
    if (!step && !take(packet, 'c') && !take(packet, 'C')) return malformed;
    return resume(step ? RunState::stepping : RunState::running, "");
  }
  if (take(packet, "vKill")) {
    state_ = RunState::killed;
    return ok;
  }
  return unsupported;
}

std::string Stub::features(std::string_view rest) const {
  const auto offset = take_number(rest);
  if (!offset || !take(rest, ',')) return malformed;
  const auto length = take_number(rest);
  if (!length || *offset > description_.size()) return malformed;
  const std::string part = description_.substr(*offset, std::min<u64>(*length, packet_size / 2));
  return (*offset + part.size() == description_.size() ? 'l' : 'm') + part;
}

std::string Stub::read_registers() {
  std::string answer;
  for (unsigned n = 0; n < target_.register_count(); ++n) answer += to_hex(target_.read_register(n));
  return answer;
}

/// Registers that cannot be written keep their values: GDB sends all of them to change one.
std::string Stub::write_registers(std::string_view digits) {
  const auto bytes = from_hex(digits);
  if (!bytes) return malformed;
  std::span<const u8> rest = *bytes;
  for (unsigned n = 0; n < target_.register_count() && !rest.empty(); ++n) {
    const std::size_t size = target_.read_register(n).size();
    if (rest.size() < size) return malformed;
    target_.write_register(n, rest.first(size));
    rest = rest.subspan(size);
  }
  return ok;
}

std::string Stub::read_register(std::string_view rest) {
  const auto n = take_number(rest);
  if (!n || *n >= target_.register_count()) return malformed;
  return to_hex(target_.read_register(static_cast<unsigned>(*n)));
}

std::string Stub::write_register(std::string_view rest) {
  const auto n = take_number(rest);
  if (!n || *n >= target_.register_count() || !take(rest, '=')) return malformed;
  const auto bytes = from_hex(rest);
  return bytes && target_.write_register(static_cast<unsigned>(*n), *bytes) ? ok : malformed;
}

std::string Stub::read_memory(std::string_view rest) {
  const auto address = take_number(rest);
  if (!address || !take(rest, ',')) return malformed;
  const auto length = take_number(rest);
  if (!length) return malformed;
  std::vector<u8> bytes(std::min<u64>(*length, packet_size / 2));
  const std::size_t got = target_.read_memory(*address, bytes);
  return got == 0 && !bytes.empty() ? no_memory : to_hex(std::span(bytes).first(got));
}

std::string Stub::write_memory(std::string_view rest, bool binary) {
  const auto address = take_number(rest);
  if (!address || !take(rest, ',')) return malformed;
  const auto length = take_number(rest);
  if (!length || !take(rest, ':')) return malformed;
  const auto bytes = binary ? std::vector<u8>(rest.begin(), rest.end()) : from_hex(rest);
  if (!bytes || bytes->size() != *length) return malformed;
  return target_.write_memory(*address, *bytes) == bytes->size() ? ok : no_memory;
}

/// Kinds 0 (software) and 1 (hardware) are the same here; watchpoints are not supported.
std::string Stub::breakpoint(std::string_view rest, bool insert) {
  if (!take(rest, '0') && !take(rest, '1')) return unsupported;
  if (!take(rest, ',')) return malformed;
  const auto address = take_number(rest);
  if (!address) return malformed;
  return (insert ? target_.insert_breakpoint(*address) : target_.remove_breakpoint(*address)) ? ok : no_memory;
}

std::string Stub::resume(RunState how, std::string_view address) {
  if (const auto rip = take_number(address)) {
    constexpr unsigned rip_number = 16;

    target_.write_register(rip_number, std::span(reinterpret_cast<const u8*>(&*rip), sizeof *rip));
  }
  state_ = how;
  at_breakpoint_ = false;
  return {};
}

}  // namespace cloister::hypervisor::gdb
