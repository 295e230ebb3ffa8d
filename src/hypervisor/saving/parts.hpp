// The parts of a domain that are saved, in the order of their records: what a device remembers is its own to say
// (state(), set_state()), and one that is new needs a line here.
#pragma once

#include <tl/expected.hpp>

#include "hypervisor/machine.hpp"
#include "hypervisor/saving/state.hpp"
#include "stream/record.hpp"

namespace cloister::hypervisor {

using Loaded = tl::expected<void, std::string>;

// What is no device has its state in the same form.

struct MachineTime {
  Machine& machine;
  TimeState state() const { return {.tsc = machine.now()}; }
  void set_state(const TimeState& saved) const { machine.time.resume(saved.tsc); }
};

struct WholeMachine {
  Machine& machine;
  MachineState state() const;
  void set_state(const MachineState& saved) const;

 private:
  /// for_each_part() has, by a name that the compiler does not follow.
  void has_lock() const CLOISTER_ASSERT_CAPABILITY(machine.lock) {}
};

/// The enclaves are lost. What the guest has given back is given back again.
struct EpcWithoutEnclaves {
  Machine& machine;
  EpcState state() const;
  Loaded set_state(const EpcState& saved) const;
};

struct OneProcessor {
  Processor& processor;
  ProcessorState state() const;
  static bool can_be(const ProcessorState& saved);
  Loaded set_state(const ProcessorState& saved) const;
};

struct AvxOfProcessor {
  Processor& processor;
  AvxState state() const { return {.upper = processor.vcpu.upper_halves()}; }
  void set_state(const AvxState& saved) const { processor.vcpu.set_upper_halves(saved.upper); }
};

struct PairsOfInterface {
  platform::virtio::Net& interface;
  PairsState state() const { return {.pairs = interface.pairs()}; }
  Loaded set_state(const PairsState& saved) const {
    if (interface.set_pairs(saved.pairs)) return {};
    return tl::unexpected(std::string("network interface: it cannot use so many queues"));
  }
};

inline constexpr u64 avx_component = 4;
/// XCR0's bits that the domain's CPUID offers.
inline u64 offered_xcr0(const DomainSpec& spec) {
  const auto leaf = spec.cpuid.get(arch::leaf::xsave, 0);
  return u64{leaf.edx} << 32 | leaf.eax;
}

/// visit(kind, part) for each until one answers an error.
template <class Visit>
auto for_each_part(Machine& machine, Visit visit) CLOISTER_REQUIRES(machine.lock) {
  using stream::Kind;
  auto done = visit(Kind::time, MachineTime{machine});
  const auto also = [&](Kind kind, auto&& part) {
    if (done) done = visit(kind, part);
  };
  for (const auto& processor : machine.processors) {
    also(Kind::processor, OneProcessor{*processor});
    if ((offered_xcr0(machine.spec) & avx_component) != 0) also(Kind::avx, AvxOfProcessor{*processor});
    also(Kind::apic, processor->local_apic);
  }
  also(Kind::ioapic, machine.ioapic);
  also(Kind::uart, machine.uart);
  also(Kind::power, machine.power);
  also(Kind::rtc, machine.rtc);
  if (machine.pci != nullptr) also(Kind::pci, *machine.pci);
  for (const auto& disk : machine.disks) also(Kind::disk, *disk);
  for (const auto& interface : machine.interfaces) {
    also(Kind::interface, *interface);
    if (interface->wire().lanes() > 1) also(Kind::pairs, PairsOfInterface{*interface});
  }
  if (machine.virtio_console != nullptr) also(Kind::console, *machine.virtio_console);
  if (machine.rng != nullptr) also(Kind::rng, *machine.rng);
  if (machine.vsock != nullptr) also(Kind::vsock, *machine.vsock);
  also(Kind::machine, WholeMachine{machine});
  also(Kind::epc, EpcWithoutEnclaves{machine});
  return done;
}

}  // namespace cloister::hypervisor
