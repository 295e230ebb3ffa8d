// Enclaves and several processors: what an entry holds on to, and what a processor may still have of a page that
// another one has changed or evicted (SDM vol. 3D, EENTER, ERESUME, 36.5.1, 37.2 and 37.3).
#include <algorithm>
#include <atomic>
#include <bit>
#include <thread>

#include "sgx_bench.hpp"
#include "silicon/mmu/access.hpp"
#include "silicon/mmu/mode_change.hpp"
#include "silicon/sgx/entry/entry.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;
using arch::SgxError;

class SgxEntryThreads : public SgxBench {
 protected:
  static constexpr u32 owner = 0, va = 1, tcs = 2, ssa = 3, frames = 2, code = 5, data = 6, stranger = 8;
  static constexpr u64 info = ram, pcmd = ram + 0x100, image = ram + 0x1000;
  static constexpr u64 rwx = 7, rw = 3;

  SgxEntryThreads() {
    make_secs(owner);
    make_va(va);
    make_child(tcs, owner, PageType::tcs, 0);
    the_tcs() = {.state = 0,
                 .flags = 0,
                 .ossa = offset(ssa),
                 .cssa = 0,
                 .nssa = frames,
                 .oentry = offset(code),
                 .aep = 0,
                 .ofsbase = 0,
                 .ogsbase = 0,
                 .fslimit = 0xfff,
                 .gslimit = 0xfff,
                 .reserved = {}};
    for (u32 i = 0; i < frames; ++i) make_child(ssa + i, owner, PageType::reg, rw);
    make_child(code, owner, PageType::reg, rwx, 0x90);
    make_child(data, owner, PageType::reg, rw);
  }
  static constexpr u64 offset(u32 page) { return at(page) - epc; }
  arch::Tcs& the_tcs() { return *reinterpret_cast<arch::Tcs*>(bytes(tcs)); }
  arch::Gprsgx& gprs(u32 frame) { return gprsgx_of(package, ssa + frame); }

  /// A processor that runs 64-bit code at CPL 3, and may enter.
  struct Processor {
    Vcpu vcpu;
    Cpu& cpu;
    explicit Processor(SgxEntryThreads& bench)
        : vcpu(bench.package_, bench.memory_, Vcpu::Config{.clock = ClockMode::deterministic}), cpu(vcpu.impl().cpu()) {
      cpu.cr0 = arch::cr0::pe | arch::cr0::ne;
      cpu.cr4 = arch::cr4::osfxsr | arch::cr4::osxmmexcpt;
      cpu.efer = arch::efer::lme | arch::efer::lma;
      cpu.seg[arch::seg_cs].attributes = 0xb | attr::s | attr::dpl | attr::present | attr::l;
      cpu.cpl = 3;
      update_mode(cpu);
    }
    void leave_asynchronously() { asynchronous_exit(cpu, cpu.mmu->package(), nullptr, 0); }
  };
  Seen enter(Processor& p) { return call_on(p.cpu, eenter, at(tcs), 0); }
  Seen resume(Processor& p) { return call_on(p.cpu, eresume, at(tcs), 0); }
  Seen exit(Processor& p) { return call_on(p.cpu, eexit, 0x1000, 0); }

  Seen evict(u32 page) {
    put(info, arch::Pageinfo{0, image, pcmd, 0});
    return call(ewb, info, at(page), at(va));
  }
  Seen load_back(u32 page) {
    put(info, arch::Pageinfo{at(page), image, pcmd, at(owner)});
    return call(eldu, info, at(page), at(va));
  }
  /// Repeats the leaf while another thread is in its way; false if that one has failed.
  template <class F>
  static bool insist(F&& leaf) {
    while (!leaf().ok()) {
      if (HasFailure()) return false;
      std::this_thread::yield();
    }
    return true;
  }
  bool nobody_inside() {
    const MutexLock guard(package.mutex());
    return !threads_active(entry(owner));
  }
};

// An entry that does not succeed is never seen to be one: whoever looks at TCS.STATE meanwhile (EDBGRD) finds no thread
// inside. Here a frame's page has no frame of the machine's, as where a hypervisor has evicted it.
TEST_F(SgxEntryThreads, AnEntryThatExitsIsNeverSeen) {
  constexpr int tries = 20'000;
  ASSERT_TRUE(memory_.unmap(arch::Gpa{epc}, pages * arch::page_size));
  ASSERT_TRUE(memory_.map_epc(arch::Gpa{epc}, first, ssa));
  ASSERT_TRUE(memory_.map_epc(arch::Gpa{at(ssa + 1)}, first + (ssa + 1), pages - ssa - 1));
  secs(owner).architectural.attributes.flags |= arch::attributes::debug;
  std::atomic<bool> done = false;
  u64 seen = 0;
  std::thread looking([&] {
    while (!done) {
      if (call(edbgrd, 0, at(tcs)).ok()) seen |= cpu.gpr[arch::rbx];
    }
  });
  Processor p(*this);
  for (int i = 0; i < tries; ++i) {
    const Seen left = enter(p);
    ASSERT_TRUE(left.exit && left.exit->reason == ExitReason::ept_violation) << left;
  }
  done = true;
  looking.join();
  EXPECT_EQ(seen, 0u);
  EXPECT_TRUE(nobody_inside());
}

// EENTER's and ERESUME's last checks: a TCS that is in use is #GP(0), and nothing of its frames comes out.
TEST_F(SgxEntryThreads, AResumeOnATcsInUseLoadsNothing) {
  the_tcs().cssa = 1;
  the_tcs().state = 1;
  std::memset(bytes(ssa), 0x5a, 512);
  constexpr u32 mxcsr = 0x1f80;
  std::memcpy(bytes(ssa) + 24, &mxcsr, sizeof mxcsr);
  bytes(ssa)[512] = 3;  // XSTATE_BV
  gprs(0).rip = at(code);
  Processor p(*this);
  const Xmm before = p.cpu.fpu.xmm[7];
  const u64 rsp = p.cpu.gpr[arch::rsp];
  EXPECT_TRUE(resume(p).gp());
  EXPECT_EQ(p.cpu.fpu.xmm[7].byte, before.byte);
  EXPECT_EQ(p.cpu.gpr[arch::rsp], rsp);
  EXPECT_EQ(the_tcs().cssa, 1u);
  EXPECT_EQ(the_tcs().state, 1u);
  EXPECT_TRUE(nobody_inside());

  the_tcs().state = 0;
  EXPECT_TRUE(resume(p).ok());
  EXPECT_EQ(p.cpu.fpu.xmm[7].byte[0], 0x5a);
}

TEST_F(SgxEntryThreads, AnEntryThatFaultsLeavesNoThreadInside) {
  Processor p(*this);
  entry(ssa).blocked = true;
  EXPECT_TRUE(enter(p).pf(at(ssa)));
  EXPECT_EQ(the_tcs().state, 0u);
  EXPECT_TRUE(nobody_inside());
  EXPECT_TRUE(call(eremove, 0, at(data)).ok()) << "no SGX_ENCLAVE_ACT";
}

// 36.5.1: EWB succeeds only when no thread can have a translation of the page; a frame that an entry has found is one.
TEST_F(SgxEntryThreads, AnExitNeverWritesToAnEvictedFrame) {
  constexpr int trips = 4000;
  make_secs(stranger, 78);
  std::atomic<bool> over = false;
  std::thread visitor([&] {
    Processor p(*this);
    while (!over) {
      if (!enter(p).ok()) {
        std::this_thread::yield();
        continue;
      }
      p.cpu.gpr[arch::r8] = 0x1111'1111;
      p.leave_asynchronously();
      EXPECT_EQ(p.cpu.gpr[arch::r8], 0u);
      while (!resume(p).ok() && !over) std::this_thread::yield();
      if (!p.cpu.enclave.active) return;
      EXPECT_EQ(p.cpu.gpr[arch::r8], 0x1111'1111u);
      exit(p);
    }
  });
  for (int trip = 0; trip < trips; ++trip) {
    const u64 page = at(ssa);
    while (!call(eblock, 0, page).ok()) std::this_thread::yield();
    for (;;) {
      (void)call(etrack, 0, at(owner));
      const Seen seen = evict(ssa);
      if (seen.ok()) break;
      ASSERT_TRUE(seen.zf(SgxError::not_tracked) || seen.gp()) << seen;
      std::this_thread::yield();
    }
    // Until it comes back, the page belongs to somebody else.
    put(info, arch::Pageinfo{at(ssa), 0, 0, at(stranger)});
    ASSERT_TRUE(call(eaug, info, page).ok());
    std::this_thread::yield();
    const u8* const theirs = bytes(ssa);
    ASSERT_EQ(std::count(theirs, theirs + arch::page_size, 0), static_cast<long>(arch::page_size));
    ASSERT_TRUE(call(eremove, 0, page).ok());
    ASSERT_TRUE(load_back(ssa).ok());
  }
  over = true;
  visitor.join();
}

// A TCS serves one thread at a time, and the frame that an entry is given is the one that CSSA names.
TEST_F(SgxEntryThreads, ATcsGivesEachEntryItsOwnFrame) {
  constexpr int visits = 20000;
  std::array<u64, frames> last{};  // in R8 when the frame was filled; whoever is inside owns it
  std::atomic<u64> next_tag = 1;
  const auto visit = [&] {
    Processor p(*this);
    const auto frame = [&] { return p.cpu.enclave.gpr_page - ssa; };
    for (int i = 0; i < visits; ++i) {
      if (!insist([&] { return enter(p); })) return;
      ASSERT_EQ(frame(), p.cpu.gpr[arch::rax]) << "RAX is CSSA";
      last[frame()] = p.cpu.gpr[arch::r8] = next_tag++;
      p.leave_asynchronously();
      if (!insist([&] { return resume(p); })) return;
      ASSERT_EQ(p.cpu.gpr[arch::r8], last[frame()]);
      ASSERT_TRUE(exit(p).ok());
    }
  };
  std::thread first_visitor(visit), second_visitor(visit);
  first_visitor.join();
  second_visitor.join();
  EXPECT_EQ(the_tcs().cssa, 0u);
  EXPECT_EQ(the_tcs().state, 0u);
  EXPECT_TRUE(nobody_inside());
}

// 36.5.1 and table 35-1: translations die with the exit, so an access after the next entry asks the EPCM again.
TEST_F(SgxEntryThreads, ATranslationDoesNotOutliveTheStay) {
  Processor p(*this);
  const Op op{};
  u64 value = 0;
  const auto read = [&] { return load(p.cpu, &op, at(data), value); };
  ASSERT_TRUE(enter(p).ok());
  ASSERT_TRUE(read() && store(p.cpu, &op, at(data), u64{1}));
  ASSERT_TRUE(call(eblock, 0, at(data)).ok());
  EXPECT_TRUE(read()) << "until the thread leaves, what it has cached holds";
  ASSERT_TRUE(call(etrack, 0, at(owner)).ok());
  EXPECT_TRUE(evict(data).zf(SgxError::not_tracked));
  p.leave_asynchronously();
  EXPECT_TRUE(evict(data).ok());

  ASSERT_TRUE(resume(p).ok());
  EXPECT_FALSE(read());
  EXPECT_EQ(p.cpu.fault.vector, arch::vector::pf);
  EXPECT_NE(p.cpu.fault.error & arch::pfec::sgx, 0u);
  EXPECT_FALSE(store(p.cpu, &op, at(data), u64{2}));
  ASSERT_TRUE(load_back(data).ok());
  EXPECT_TRUE(read());
  EXPECT_EQ(value, 1u);
}

/// mov $VALUE, %eax; 1: jmp 1b
std::array<u8, 8> counts_as(u8 value) { return {0xb8, value, 0, 0, 0, 0xeb, 0xfe, 0x90}; }

// Cached code is of the bytes that the page had: what another processor loads or writes there runs at the next visit.
TEST_F(SgxEntryThreads, CodeIsWhatThePageHolds) {
  Processor p(*this);
  const auto visit = [&] {
    EXPECT_TRUE(enter(p).ok());
    EXPECT_EQ(p.vcpu.run(1000).reason, ExitReason::preemption_timer);
    the_tcs().cssa = 0;
    return gprs(0).rax;
  };
  const auto fill = [&](u8 value) { std::memcpy(bytes(code), counts_as(value).data(), counts_as(value).size()); };
  fill(1);
  EXPECT_EQ(visit(), 1u);

  const u64 written = std::bit_cast<u64>(counts_as(2));
  ASSERT_TRUE(call(edbgwr, written, at(code)).ok());
  EXPECT_EQ(visit(), 2u);

  ASSERT_TRUE(call(eblock, 0, at(code)).ok());
  ASSERT_TRUE(call(etrack, 0, at(owner)).ok());
  ASSERT_TRUE(evict(code).ok());
  make_child(code, owner, PageType::reg, rwx);
  ASSERT_TRUE(call(edbgwr, std::bit_cast<u64>(counts_as(3)), at(code)).ok());
  EXPECT_EQ(visit(), 3u);
  ASSERT_TRUE(call(eremove, 0, at(code)).ok());
  ASSERT_TRUE(load_back(code).ok());
  EXPECT_EQ(visit(), 2u);
}

// The same while the thread is inside: it runs what another processor writes, sooner or later.
TEST_F(SgxEntryThreads, CodeThatIsRunningIsReplaced) {
  Processor p(*this);
  // 1: incl data(%rip); jmp 1b becomes 1: incl data(%rip); ud2
  constexpr std::array<u8, 8> turns{0xff, 0x05, 0xfa, 0x0f, 0, 0, 0xeb, 0xf8},
      ends{0xff, 0x05, 0xfa, 0x0f, 0, 0, 0x0f, 0x0b};
  std::memcpy(bytes(code), turns.data(), turns.size());
  Controls controls;
  controls.exception_bitmap = 1u << arch::vector::ud;
  p.vcpu.set_controls(controls);
  ASSERT_TRUE(enter(p).ok());
  Exit last;
  std::thread runner([&] { last = p.vcpu.run(u64{1} << 33); });
  const u32* const turned = reinterpret_cast<const u32*>(bytes(data));
  while (__atomic_load_n(turned, __ATOMIC_RELAXED) < 1000) std::this_thread::yield();
  EXPECT_TRUE(call(edbgwr, std::bit_cast<u64>(ends), at(code)).ok());
  runner.join();
  EXPECT_EQ(last.reason, ExitReason::exception_or_nmi);
  EXPECT_TRUE(last.enclave);
}

}  // namespace
}  // namespace cloister::silicon
