// The records of a saved domain (hypervisor/saving/): a golden file for each, so that none changes unseen, and every
// device has one. CLOISTER_WRITE_REPORT=1 writes them anew; one that has changed is another version
// (stream/record.hpp).
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include "hypervisor/boot.hpp"
#include "hypervisor/saving/enclaves.hpp"
#include "hypervisor/saving/parts.hpp"
#include "silicon/silicon.hpp"
#include "unit/filled.hpp"
#include "unit/hypervisor/guests.hpp"
#include "unit/platform/disk_in_memory.hpp"
#include "unit/platform/peers_in_memory.hpp"
#include "unit/platform/wire_in_memory.hpp"

namespace cloister::hypervisor {
namespace {

using platform::virtio::DiskInMemory;

/// Lines of 32 bytes.
std::string hex(std::span<const u8> bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    text += fmt::format("{:02x}", bytes[i]);
    if (i % 32 == 31 || i + 1 == bytes.size()) text += '\n';
  }
  return text;
}

template <class State>
void expect_golden(stream::Kind kind) {
  const auto value = tests::filled<State>();
  const std::vector<u8> bytes = stream::encode(value);
  const auto back = stream::decode<State>(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(stream::encode(*back), bytes) << "a field that does not come back";

  const stream::KindRow& row = stream::row_of(kind);
  EXPECT_LE(bytes.size(), row.most_bytes);
  const std::string path =
      fmt::format("{}/tests/unit/hypervisor/golden/{}-{}.hex", CLOISTER_SOURCE_DIR, row.name, row.version);
  if (std::getenv("CLOISTER_WRITE_REPORT") != nullptr) std::ofstream(path) << hex(bytes);
  std::ostringstream golden;
  golden << std::ifstream(path).rdbuf();
  EXPECT_EQ(hex(bytes), golden.str()) << path;
}

TEST(SavedDomainState, EveryRecordHasItsGoldenFile) {
  expect_golden<DomainShape>(stream::Kind::domain);
  silicon::Package package({});
  DomainSpec spec = spec_of({});
  ASSERT_TRUE(platform::add_pci(spec.map, 40));
  spec.disks.push_back({.storage = std::make_shared<DiskInMemory>(1 << 20), .id = "disk"});
  spec.interfaces.push_back({.wire = std::make_shared<platform::virtio::WireInMemory>(2)});
  spec.virtio_console = true;
  spec.rng = true;
  spec.cpuid.set(arch::leaf::xsave, 0, {7, 832, 832, 0});
  spec.vsock.peers = std::make_shared<platform::virtio::PeersInMemory>();
  Machine machine(package, std::move(spec));
  const MutexLock held(machine.lock);
  std::set<stream::Kind> seen;
  const Loaded done = for_each_part(machine, [&seen](stream::Kind kind, auto&& part) -> Loaded {
    expect_golden<std::remove_cvref_t<decltype(part.state())>>(kind);
    EXPECT_TRUE(seen.insert(kind).second);
    return {};
  });
  EXPECT_TRUE(done);
  // What comes of enclaves is no part, either (saving/enclaves.hpp).
  expect_golden<EpcMapState>(stream::Kind::epc_map);
  expect_golden<EpcPageState>(stream::Kind::epc_page);
  expect_golden<VaPageState>(stream::Kind::va_page);
  expect_golden<RootState>(stream::Kind::root);
  EXPECT_EQ(seen.size() + 12, stream::kinds.size())
      << "domain, ram, still, all-but-root and end are no parts, and config's three are the daemon's";
}

/// A device of the platform that remembers something says so by its State.
TEST(SavedDomainState, EveryDeviceIsAPart) {
  const std::string parts = [] {
    std::ostringstream text;
    text << std::ifstream(CLOISTER_SOURCE_DIR "/src/hypervisor/machine.hpp").rdbuf();
    return text.str();
  }();
  // The machine's members of the platform's types; each is a line of for_each_part() or is named here.
  std::set<std::string> members;
  for (std::size_t at = parts.find("  platform::"); at != std::string::npos; at = parts.find("  platform::", at + 1)) {
    const std::size_t name = parts.find(' ', at + 2);
    const std::size_t end = parts.find_first_of(";(", name);
    if (parts[end] == ';') members.insert(parts.substr(name + 1, end - name - 1));
  }
  EXPECT_EQ(members, (std::set<std::string>{"ioapic", "uart", "power", "rtc"}))
      << "a new device needs a line in saving/parts.hpp";
}

TEST(SavedDomainState, EveryMsrIsInOneOfTheRecords) {
  const std::vector<u32> kept = MsrFile::in_silicon();
  const std::set<u32> silicon(kept.begin(), kept.end());
  // What the guest reaches without an exit is the silicon's.
  for (const u32 index : MsrFile::passthrough()) {
    const bool in_system = index == arch::msr::efer || index == arch::msr::fs_base || index == arch::msr::gs_base;
    EXPECT_NE(silicon.contains(index), in_system) << index;
  }
  for (const u32 index : {arch::msr::tsc_adjust, arch::msr::sgxlepubkeyhash0, arch::msr::sgxlepubkeyhash3})
    EXPECT_TRUE(silicon.contains(index)) << index;
}

/// A processor's state goes through another one and back, field by field.
TEST(SavedDomainState, AProcessorTakesAllThatItGave) {
  silicon::Package package({});
  Machine from(package, spec_of({})), to(package, spec_of({}));
  const MutexLock held(from.lock), also(to.lock);
  Processor& processor = from.bootstrap();
  const OneProcessor one{processor}, other{to.bootstrap()};
  vmx::SystemRegs system = processor.vcpu.system();
  system.cr2 = 0x1234'5000;
  system.dr[2] = 0x77;
  processor.vcpu.set_system(system);
  vmx::GeneralRegs general;
  for (std::size_t i = 0; i < general.gpr.size(); ++i) general.gpr[i] = 0x1111 * (i + 1);
  general.rip = 0x4567;
  processor.vcpu.set_general(general);
  processor.vcpu.write_msr(arch::msr::lstar, 0x5678);
  processor.vcpu.set_interruptibility({.sti = true, .nmi = true, .pending_debug = 1});
  processor.vcpu.set_drawn(12);
  processor.event = vmx::Event{.vector = 14, .type = vmx::EventType::exception, .has_error = true, .error = 2};
  processor.halted = processor.nmi_waiting = processor.init_wanted = true;
  processor.startup_page = 0x9a;
  const ProcessorState state = one.state();
  EXPECT_NE(stream::encode(state), stream::encode(other.state()));
  const Loaded loaded = other.set_state(state);
  ASSERT_TRUE(loaded) << loaded.error();
  EXPECT_EQ(stream::encode(state), stream::encode(other.state()));
}

/// Of a domain whose CPUID has it; a stream of one without it has no such record.
TEST(SavedDomainState, TheUpperHalvesOfVectorsAreARecordOfTheirOwn) {
  silicon::Package package({});
  const auto kinds_of = [&package](u32 components) {
    DomainSpec spec = spec_of({});
    spec.cpuid.set(arch::leaf::xsave, 0, {components, 832, 832, 0});
    Machine machine(package, std::move(spec));
    const MutexLock held(machine.lock);
    vmx::UpperHalves halves;
    for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<u8>(i);
    const AvxOfProcessor one{machine.bootstrap()};
    one.set_state({halves});
    EXPECT_EQ(one.state().upper, halves);
    std::set<stream::Kind> kinds;
    const Loaded done = for_each_part(machine, [&kinds](stream::Kind kind, auto&&) -> Loaded {
      kinds.insert(kind);
      return {};
    });
    EXPECT_TRUE(done);
    return kinds;
  };
  EXPECT_TRUE(kinds_of(7).contains(stream::Kind::avx));
  EXPECT_FALSE(kinds_of(3).contains(stream::Kind::avx));
}

TEST(SavedDomainState, OfAProcessorThatCannotBe) {
  silicon::Package package({});
  Machine machine(package, spec_of({}));
  const MutexLock held(machine.lock);
  const OneProcessor one{machine.bootstrap()};
  ProcessorState state = one.state();
  state.silicon_msrs[0x9999] = 1;
  EXPECT_EQ(one.set_state(state).error(), "MSR 0x9999 cannot be 0x1 here");
  state = one.state();
  state.hypervisor_msrs[arch::msr::lstar] = 1;
  EXPECT_EQ(one.set_state(state).error(), "MSR 0xc0000082 is none that is kept");
  state = one.state();
  state.drawn = ~u64{0};
  EXPECT_NE(one.set_state(state).error().find("random numbers drawn"), std::string::npos);
  state = one.state();
  state.system.xcr0 = 0x6;
  EXPECT_EQ(one.set_state(state).error(), "XCR0 cannot be 0x6 here");
  state.system.xcr0 = 0x7;
  EXPECT_EQ(one.set_state(state).error(), "XCR0 cannot be 0x7 here") << "a domain without AVX";

  const ProcessorState sound = one.state();
  EXPECT_TRUE(OneProcessor::can_be(sound));
  const auto cannot_be = [&sound](auto change) {
    ProcessorState changed = sound;
    change(changed.system);
    return !OneProcessor::can_be(changed);
  };
  EXPECT_TRUE(cannot_be([](vmx::SystemRegs& s) { s.cr0 |= arch::cr0::pg; })) << "without protection";
  EXPECT_TRUE(cannot_be([](vmx::SystemRegs& s) { s.efer |= arch::efer::lma; })) << "without paging";
  EXPECT_TRUE(cannot_be([](vmx::SystemRegs& s) { s.cr4 |= arch::cr4::pcide; })) << "without long mode";
  EXPECT_TRUE(cannot_be([](vmx::SystemRegs& s) {
    s.cr0 |= arch::cr0::pg | arch::cr0::pe;
    s.efer |= arch::efer::lme | arch::efer::lma;
  })) << "without PAE";
  EXPECT_TRUE(cannot_be([](vmx::SystemRegs& s) { s.dr7 |= u64{1} << 32; }));
  EXPECT_TRUE(cannot_be([](vmx::SystemRegs& s) { s.efer |= 2; }));
  EXPECT_TRUE(cannot_be([](vmx::SystemRegs& s) { s.cr8 = 16; }));
}

/// Whatever a stream says of a processor that can be: it runs, to an exit. Under the sanitizers, too.
TEST(SavedDomainState, AnyProcessorThatCanBeRuns) {
  silicon::Package package({});
  Machine machine(package, spec_of({}));
  ASSERT_TRUE(lay_out(machine));
  const MutexLock held(machine.lock);
  const OneProcessor one{machine.bootstrap()};
  const ProcessorState after_power_up = one.state();
  set_flat_entry(machine.bootstrap().vcpu, 0x1000);
  const ProcessorState protected_mode = one.state();
  ProcessorState long_mode = protected_mode;
  long_mode.system.cr0 |= arch::cr0::pg | arch::cr0::ne;
  long_mode.system.cr4 |= arch::cr4::pae | arch::cr4::osfxsr;
  long_mode.system.efer |= arch::efer::lme | arch::efer::lma;
  long_mode.system.cr3 = 0x2000;
  std::mt19937_64 random(1);
  u64 ran = 0;
  for (const auto& sound :
       {stream::encode(after_power_up), stream::encode(protected_mode), stream::encode(long_mode)}) {
    for (int i = 0; i < 2000; ++i) {
      std::vector<u8> bytes = sound;
      for (u64 changes = random() % 6; changes-- > 0;) bytes[random() % bytes.size()] = static_cast<u8>(random());
      const auto state = stream::decode<ProcessorState>(bytes);
      if (!state || !OneProcessor::can_be(*state) || state->drawn > 1000 || !one.set_state(*state)) continue;
      if (state->event) machine.bootstrap().vcpu.inject(*state->event);
      machine.bootstrap().vcpu.run(100);
      ++ran;
    }
  }
  EXPECT_GT(ran, 2000u);
}

/// A machine of its own package, with 256 pages of EPC.
struct WithEpc {
  explicit WithEpc(EpcPaging paging) : package({.epc = {{arch::Mfn{500}, 256}}}), machine(package, spec(paging)) {
    machine.epc = {{arch::Mfn{500}, 256}};
    const auto laid_out = lay_out(machine);
    EXPECT_TRUE(laid_out) << laid_out.error();
  }
  static DomainSpec spec(EpcPaging paging) {
    DomainSpec spec = spec_of({});
    spec.map = *platform::make_memory_map(u64{16} << 20, u64{1} << 20, 40);
    spec.epc_paging = paging;
    return spec;
  }
  arch::Gpa page(u64 number) const { return machine.epc_pages.address_of(EpcPage{number}); }

  silicon::Package package;
  Machine machine;
};

TEST(SavedDomainState, WhatTheGuestGaveBackIsGivenAgain) {
  for (const EpcPaging paging : {EpcPaging::none, EpcPaging::trap, EpcPaging::oss}) {
    WithEpc from(paging), to(paging);
    const MutexLock held(from.machine.lock), also(to.machine.lock);
    const std::array given{from.page(3), from.page(200)};
    ASSERT_EQ(from.machine.give_epc(given)->pages, 2u);
    from.machine.set_epc_target(77);
    const EpcWithoutEnclaves one{from.machine}, other{to.machine};
    const EpcState state = one.state();
    EXPECT_EQ(state, (EpcState{.target = 77, .given = {given[0].value, given[1].value}}));
    const Loaded loaded = other.set_state(state);
    ASSERT_TRUE(loaded) << loaded.error();
    EXPECT_EQ(other.state(), state);
    EXPECT_EQ(to.machine.balloon.given, 2u);
    EXPECT_EQ(other.set_state(state).error(),
              fmt::format("{:#x} is no page of EPC that can be given back", given[0].value));
  }
}

}  // namespace
}  // namespace cloister::hypervisor
