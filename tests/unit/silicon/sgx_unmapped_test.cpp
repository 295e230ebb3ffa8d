// Enclaves whose pages the hypervisor maps and unmaps one by one: what misses a page leaves the enclave, and goes on
// when the page is there (SDM vol. 3C, 28.2.1; vol. 3D, 37.2 and 39.3); and a hypervisor that evicts behind their
// backs.
#include <atomic>
#include <bit>
#include <thread>

#include "sgx_bench.hpp"
#include "silicon/mmu/mode_change.hpp"
#include "silicon/sgx/entry/entry.hpp"

namespace cloister::silicon {
namespace {

using arch::EnclsLeaf;
using arch::page_size;
using arch::PageType;
using arch::SgxError;

class SgxUnmapped : public SgxBench {
 protected:
  static constexpr u32 owner = 0, va = 1, tcs = 2, ssa = 3, code = 5, data = 6, other = 7, spare = 8;
  static constexpr u64 rwx = 7, rw = 3, aep = 0x1234;

  SgxUnmapped() {
    EXPECT_TRUE(memory_.unmap(arch::Gpa{epc}, pages * page_size));
    EXPECT_TRUE(memory_.reserve_epc(arch::Gpa{epc}, pages));
    make_secs(owner);
    make_va(va);
    make_child(tcs, owner, PageType::tcs, 0);
    the_tcs() = {.state = 0,
                 .flags = 0,
                 .ossa = at(ssa) - epc,
                 .cssa = 0,
                 .nssa = 2,
                 .oentry = at(code) - epc,
                 .aep = 0,
                 .ofsbase = 0,
                 .ogsbase = 0,
                 .fslimit = 0xfff,
                 .gslimit = 0xfff,
                 .reserved = {}};
    for (u32 i = 0; i < 2; ++i) make_child(ssa + i, owner, PageType::reg, rw);
    make_child(code, owner, PageType::reg, rwx, 0x90);
    make_child(data, owner, PageType::reg, rw);
    for (const u32 page : {tcs, ssa, ssa + 1, code, data}) map(page, page);
    cpu.cr0 = arch::cr0::pe | arch::cr0::ne;
    cpu.cr4 = arch::cr4::osfxsr | arch::cr4::osxmmexcpt;
    cpu.efer = arch::efer::lme | arch::efer::lma;
    cpu.seg[arch::seg_cs].attributes = 0xb | attr::s | attr::dpl | attr::present | attr::l;
    cpu.cpl = 3;
    update_mode(cpu);
  }
  arch::Tcs& the_tcs() { return *reinterpret_cast<arch::Tcs*>(bytes(tcs)); }
  arch::Gprsgx& gprs() { return gprsgx_of(package, ssa); }
  void map(u32 place, u32 frame) { ASSERT_TRUE(memory_.map_epc(arch::Gpa{at(place)}, first + frame)); }
  void unmap(u32 place) { ASSERT_TRUE(memory_.unmap_epc(arch::Gpa{at(place)})); }
  /// A page of the EPC becomes this place's too, as if it had been loaded there.
  void put_at(u32 frame, u32 place, u64 rights = rwx) {
    make_child(frame, owner, PageType::reg, rights);
    entry(frame).enclave_address = at(place);
  }
  template <std::size_t n>
  void fill(u32 frame, const std::array<u8, n>& what, u64 offset = 0) {
    std::memcpy(bytes(frame) + offset, what.data(), n);
  }

  Seen enter() { return call(eenter, at(tcs), aep); }
  Seen resume() { return call(eresume, at(tcs), aep); }
  Exit run(u64 budget = 1000) { return vcpu_.run(budget); }
  /// The enclave has been left for want of a page of its own.
  void expect_miss(const Exit& exit, u32 place, u64 qualification) {
    EXPECT_EQ(exit.reason, ExitReason::ept_violation) << name_of(exit.reason);
    EXPECT_TRUE(exit.enclave);
    EXPECT_EQ(exit.physical, arch::Gpa{at(place)}) << "the page alone";
    EXPECT_EQ(exit.linear, arch::Gva{at(place)});
    EXPECT_EQ(exit.qualification, qualification);
    EXPECT_EQ(exit.instruction_length, 0);
    EXPECT_EQ(cpu.rip, aep);
    EXPECT_EQ(the_tcs().cssa, 1u);
    EXPECT_EQ(the_tcs().state, 0u);
  }
  static constexpr u64 read = 0x181, written = 0x182, fetched = 0x184;

  /// 1: incl data(%rip); jmp 1b, at the page's start
  static constexpr std::array<u8, 8> counts{0xff, 0x05, 0xfa, 0x0f, 0, 0, 0xeb, 0xf8};
  /// movl $VALUE, %eax; 1: jmp 1b
  static std::array<u8, 7> answers(u8 value) { return {0xb8, value, 0, 0, 0, 0xeb, 0xfe}; }
};

TEST_F(SgxUnmapped, DataIsMissedAndFound) {
  fill(code, counts);
  unmap(data);
  ASSERT_TRUE(enter().ok());
  for (u32 turn = 0; turn < 3; ++turn) {
    expect_miss(run(), data, written);
    EXPECT_EQ(gprs().rip, at(code));
    // Another page each time.
    const u32 frame = turn == 0 ? data : spare + turn;
    if (turn != 0) put_at(frame, data, rw);
    map(data, frame);
    ASSERT_TRUE(resume().ok());
    EXPECT_EQ(run(9).reason, ExitReason::preemption_timer);
    EXPECT_GT(*bytes(frame), 0u);
    unmap(data);
    ASSERT_TRUE(resume().ok());
  }
}

TEST_F(SgxUnmapped, CodeIsMissedAndFound) {
  fill(code, answers(1));
  ASSERT_TRUE(enter().ok());
  EXPECT_EQ(run().reason, ExitReason::preemption_timer);
  unmap(code);
  ASSERT_TRUE(resume().ok());
  expect_miss(run(), code, fetched);
  map(code, code);
  ASSERT_TRUE(resume().ok());
  EXPECT_EQ(run().reason, ExitReason::preemption_timer);
  EXPECT_EQ(gprs().rax, 1u);
}

/// What was decoded of one page is not executed of another that has been mapped in its place, nor after both came back.
TEST_F(SgxUnmapped, CodeIsThePagesThatIsMapped) {
  fill(code, answers(1));
  put_at(spare, code);
  fill(spare, answers(2));
  const auto visit = [&] {
    the_tcs().cssa = 0;
    EXPECT_TRUE(enter().ok());
    EXPECT_EQ(run().reason, ExitReason::preemption_timer);
    return gprs().rax;
  };
  for (int turn = 0; turn < 3; ++turn) {
    EXPECT_EQ(visit(), 1u);
    unmap(code);
    map(code, spare);
    EXPECT_EQ(visit(), 2u);
    unmap(code);
    map(code, code);
  }
}

/// A branch goes to what is mapped, though the branch itself is the same: blocks are linked.
TEST_F(SgxUnmapped, ABranchLeadsIntoThePageThatIsMapped) {
  // 0: incl %eax; jmp 0x40; 0x40: cmpl $9, %eax; jne 0; 1: jmp 1b — the other page has 0x80 for %eax at 0x40
  fill<4>(code, {0xff, 0xc0, 0xeb, 0x3c});
  fill<7>(code, {0x83, 0xf8, 9, 0x75, 0xbb, 0xeb, 0xfe}, 0x40);
  put_at(spare, code);
  fill<4>(spare, {0xff, 0xc0, 0xeb, 0x3c});
  fill<7>(spare, {0xb8, 0x80, 0, 0, 0, 0xeb, 0xfe}, 0x40);
  const auto visit = [&] {
    the_tcs().cssa = 0;
    EXPECT_TRUE(enter().ok());
    cpu.gpr[arch::rax] = 0;
    EXPECT_EQ(run().reason, ExitReason::preemption_timer);
    return gprs().rax;
  };
  for (int turn = 0; turn < 3; ++turn) {
    EXPECT_EQ(visit(), 9u);
    unmap(code);
    map(code, spare);
    EXPECT_EQ(visit(), 0x80u);
    unmap(code);
    map(code, code);
  }
}

TEST_F(SgxUnmapped, AnInstructionsSecondPageIsMissedAndIsTheOneThatIsMapped) {
  // movl $VALUE, %eax over the end of the page; 1: jmp 1b in the next one, which is data's place.
  fill<3>(code, {0xe9, 0xf9, 0x0f});  // jmp to the page's end less 2
  fill<2>(code, {0, 0}, 3);
  fill<2>(code, {0xb8, 7}, page_size - 2);
  const std::array<u8, 5> rest{0, 0, 0, 0xeb, 0xfe};
  std::array<u32, 2> frames{spare, spare + 1};
  for (const u32 frame : frames) {
    put_at(frame, data);
    fill(frame, rest);
    bytes(frame)[0] = static_cast<u8>(frame);
  }
  unmap(data);
  ASSERT_TRUE(enter().ok());
  for (int turn = 0; turn < 4; ++turn) {
    expect_miss(run(), data, fetched);
    EXPECT_EQ(gprs().rip, at(code) + page_size - 2);
    map(data, frames[turn % 2]);
    ASSERT_TRUE(resume().ok());
    EXPECT_EQ(run().reason, ExitReason::preemption_timer);
    EXPECT_EQ(gprs().rax, 7u | frames[turn % 2] << 8);
    unmap(data);
    the_tcs().cssa = 0;
    ASSERT_TRUE(enter().ok());
  }
}

/// What an entry needs: it has not happened, and is repeated.
TEST_F(SgxUnmapped, AnEntryMissesItsPages) {
  fill(code, answers(1));
  const auto expect_not_entered = [&](const Seen& seen, u32 place, u64 qualification) {
    ASSERT_TRUE(seen.exit) << seen;
    EXPECT_EQ(seen.exit->reason, ExitReason::ept_violation);
    EXPECT_EQ(seen.exit->physical, arch::Gpa{at(place)});
    EXPECT_EQ(seen.exit->qualification, qualification);
    EXPECT_FALSE(cpu.enclave.active);
    EXPECT_EQ(the_tcs().state, 0u);
    const MutexLock guard(package.mutex());
    EXPECT_FALSE(threads_active(entry(owner)));
  };
  for (const auto& [place, qualification] : {std::pair{tcs, read}, {ssa, written}}) {
    unmap(place);
    vcpu_.run(0);  // an entry of VMX, which forgets
    expect_not_entered(enter(), place, qualification);
    map(place, place);
    ASSERT_TRUE(enter().ok());
    EXPECT_EQ(run().reason, ExitReason::preemption_timer);
    unmap(place);
    vcpu_.run(0);
    expect_not_entered(resume(), place, qualification);
    EXPECT_EQ(the_tcs().cssa, 1u);
    map(place, place);
    ASSERT_TRUE(resume().ok());
    EXPECT_TRUE(call(eexit, 0x1000, 0).ok());
  }
}

/// A leaf of ENCLU inside: nothing has happened, and it is repeated.
TEST_F(SgxUnmapped, AnOperandInsideIsMissedAndFound) {
  make_child(other, owner, PageType::reg, rw);
  entry(other).pending = true;
  const arch::Secinfo secinfo{flags_of(PageType::reg, rw | arch::secinfo_flags::pending), {}};
  std::memcpy(bytes(data), &secinfo, sizeof secinfo);
  ASSERT_TRUE(enter().ok());
  const Seen seen = call(eaccept, at(data), at(other));
  ASSERT_TRUE(seen.exit) << seen;
  EXPECT_EQ(seen.exit->reason, ExitReason::ept_violation);
  EXPECT_EQ(seen.exit->physical, arch::Gpa{at(other)});
  EXPECT_TRUE(entry(other).pending);
  map(other, other);
  EXPECT_TRUE(call(eaccept, at(data), at(other)).ok());
  EXPECT_FALSE(entry(other).pending);
}

/// The dirty flag of a page inside, which a processor writes to inline.
TEST_F(SgxUnmapped, StoresInsideAreDirty) {
  fill(code, counts);
  memory_.set_accessed_dirty(true);
  ASSERT_TRUE(enter().ok());
  for (int turn = 0; turn < 3; ++turn) {
    EXPECT_EQ(run(100).reason, ExitReason::preemption_timer);
    EXPECT_TRUE(memory_.take_dirty(arch::Gpa{at(data)}, 1)[0]) << turn;
    EXPECT_FALSE(memory_.take_dirty(arch::Gpa{at(data)}, 1)[0]);
    EXPECT_FALSE(memory_.take_dirty(arch::Gpa{at(code)}, 1)[0]);
    EXPECT_TRUE(memory_.take_accessed(arch::Gpa{at(code)}, 1)[0]) << "each entry forgets";
    ASSERT_TRUE(resume().ok());
  }
}

/// A hypervisor that pages by the door alone, on a thread beside the processor's. Nobody but it knows where a page is.
class SgxEvicted : public SgxUnmapped {
 protected:
  static constexpr Mfn frame_of(u32 index) { return first + index; }
  EnclsResult root(EnclsLeaf leaf, const vmx::LeafOperands& operands) { return package_.encls(leaf, operands); }
  /// Runs in the enclave until `over_`; waits where the page is missed.
  void stay_inside() {
    for (bool inside = true; inside && !over_;) {
      const Exit exit = vcpu_.run(u64{1} << 40);
      if (exit.reason == ExitReason::ept_violation) {
        EXPECT_EQ(exit.physical, arch::Gpa{at(data)});
        wanted_ = true;
        wanted_.wait(true);
      } else {
        EXPECT_EQ(exit.reason, ExitReason::external_interrupt) << name_of(exit.reason);
      }
      inside = over_ || resume().ok();
      EXPECT_TRUE(inside) << "no way back";
    }
    gone_ = true;
  }
  /// The thread is outside, and waits for the page; false: it has ended.
  bool missed() {
    while (!wanted_ && !gone_) {
      vcpu_.kick();
      std::this_thread::yield();
    }
    return !gone_;
  }
  void answer() {
    wanted_ = false;
    wanted_.notify_all();
  }
  u32 count() { return __atomic_load_n(reinterpret_cast<const u32*>(bytes(frame_)), __ATOMIC_RELAXED); }
  /// Takes the page away from under the thread, and brings it back in the other frame.
  void move_page(u32 slot_index) {
    const vmx::VersionSlot slot{frame_of(va), slot_index};
    info_ = {0, image_, std::as_writable_bytes(std::span(&pcmd_, 1)), std::nullopt};
    while (count() == counted_ && !gone_) std::this_thread::yield();
    EXPECT_TRUE(memory_.unmap_epc(arch::Gpa{at(data)}));
    EXPECT_EQ(root(EnclsLeaf::eblock, {.page = frame_of(frame_)}).rax, 0u);
    EXPECT_EQ(root(EnclsLeaf::etrack, {.page = frame_of(owner)}).rax, 0u) << "each cycle is complete by now";
    const auto evict = [&] {
      return root(EnclsLeaf::ewb, {.page = frame_of(frame_), .pageinfo = &info_, .version = slot});
    };
    if (!missed()) return;
    const u32 counted = count();
    EXPECT_GT(counted, counted_);
    EXPECT_EQ(evict().rax, 0u) << "nobody is left from before the cycle";
    EXPECT_EQ(info_.linaddr, at(data));
    std::memset(bytes(frame_), 0xee, page_size);
    frame_ = frame_ == data ? spare : data;
    info_.secs = frame_of(owner);
    EXPECT_EQ(root(EnclsLeaf::eldu, {.page = frame_of(frame_), .pageinfo = &info_, .version = slot}).rax, 0u);
    EXPECT_EQ(count(), counted);
    counted_ = counted;
    map(data, frame_);
    answer();
  }

  u32 frame_ = data, counted_ = 0;
  std::atomic<bool> over_ = false, wanted_ = false, gone_ = false;
  alignas(4096) std::array<std::byte, page_size> image_{};
  alignas(128) arch::Pcmd pcmd_{};
  vmx::PageinfoOperand info_;
};

TEST_F(SgxEvicted, NoCountIsLostUnderARunningThread) {
  constexpr u32 trips = 300;
  fill(code, counts);
  ASSERT_TRUE(enter().ok());
  std::thread processor([this] { stay_inside(); });
  for (u32 trip = 0; trip < trips && !HasFailure(); ++trip) move_page(trip % 512);
  over_ = true;
  answer();
  while (!gone_) {
    vcpu_.kick();
    std::this_thread::yield();
  }
  processor.join();
  EXPECT_GE(counted_, trips);
}

}  // namespace
}  // namespace cloister::silicon
