// EPC that is mapped page by page while processors run (SDM vol. 3C, 29.3.3.2 and 29.4.3; vmx/memory.hpp).
#include <atomic>
#include <thread>

#include "guest.hpp"

namespace cloister::vmx {
namespace {

using arch::EnclsLeaf;
using arch::page_size;
namespace v = arch::vector;

constexpr Mfn first{0x8'0000};
constexpr u64 pages = 8;
constexpr Gpa page(u64 index) { return Gpa{epc_base + index * page_size}; }

class EpcPages : public OneProcessor {
 protected:
  EpcPages() : OneProcessor({.epc = {{first, 16}}, .root_secret = {1}, .boot = 1}) {}
  void SetUp() override {
    CLOISTER_NEEDS(*package_, epc_paging);
    ASSERT_TRUE(guest_.memory().reserve_epc(Gpa{epc_base}, pages));
  }
  GuestMemory& memory() { return guest_.memory(); }
  std::optional<MapError> map(Gpa at, Mfn frame) {
    const auto result = memory().map_epc(at, frame);
    return result ? std::nullopt : std::optional(result.error());
  }
  /// mov rbx, [rdi] and the like, from or to an address.
  Exit at(std::initializer_list<u8> bytes, u64 address) {
    GeneralRegs regs;
    regs.gpr[arch::rdi] = address;
    return run(bytes, regs);
  }
  Exit load(u64 address) { return at({0x48, 0x8b, 0x1f, 0xf4}, address); }
  Exit store(u64 address) { return at({0x48, 0x89, 0x07, 0xf4}, address); }
  Exit encls(EnclsLeaf leaf, u64 rbx, u64 rcx) {
    GeneralRegs regs;
    regs.gpr[arch::rax] = static_cast<u64>(leaf);
    regs.gpr[arch::rbx] = rbx;
    regs.gpr[arch::rcx] = rcx;
    return run({0x0f, 0x01, 0xcf, 0xf4}, regs);
  }
  Exit epa(Gpa where) { return encls(EnclsLeaf::epa, 3, where.value); }
  static void expect_violation(const Exit& exit, u64 physical, u64 linear, u64 qualification) {
    EXPECT_EQ(exit.reason, ExitReason::ept_violation) << vmx::name_of(exit.reason);
    EXPECT_EQ(exit.physical, Gpa{physical});
    EXPECT_EQ(exit.linear, Gva{linear});
    EXPECT_EQ(exit.qualification, qualification);
    EXPECT_FALSE(exit.enclave);
  }
  static constexpr u64 linear_valid = 0x80, translated = 0x180;  ///< bits of the qualification
};

TEST_P(EpcPages, AreMappedOneByOne) {
  EXPECT_EQ(map(page(0), first), std::nullopt);
  EXPECT_EQ(map(page(0), first), MapError::overlap);
  EXPECT_EQ(map(page(1) + 1, first), MapError::misaligned);
  for (const Gpa other : {Gpa{data}, page(pages), Gpa{nowhere}, Gpa{epc_base - page_size}}) {
    EXPECT_EQ(map(other, first), MapError::not_epc) << std::hex << other.value;
    EXPECT_EQ(memory().unmap_epc(other), std::nullopt);
  }
  EXPECT_EQ(memory().unmap_epc(page(0) + 1), std::nullopt);
  EXPECT_EQ(memory().unmap_epc(page(0)), first);
  EXPECT_EQ(memory().unmap_epc(page(0)), std::nullopt);
  EXPECT_EQ(map(page(0), first + 1), std::nullopt);
  EXPECT_EQ(memory().unmap_epc(page(0)), first + 1);
}

/// A page of a range that was mapped as a whole goes, and another frame comes, and the others stay what they were.
TEST_P(EpcPages, LeaveARangeOneByOneAndComeBack) {
  constexpr Gpa range{nowhere}, second{nowhere + page_size};
  ASSERT_TRUE(memory().map_epc(range, first + 8, 2));
  EXPECT_EQ(map(range, first), MapError::overlap);
  memory().set_accessed_dirty(true);
  expect_halt_at(load(range.value), code + 3);
  EXPECT_EQ(memory().unmap_epc(range), first + 8);
  EXPECT_EQ(memory().unmap_epc(range), std::nullopt);
  expect_violation(load(range.value), range.value, range.value, 1 | translated);
  expect_halt_at(load(second.value), code + 3);
  EXPECT_EQ(map(range, first + 3), std::nullopt);
  EXPECT_EQ(map(range, first + 3), MapError::overlap);
  EXPECT_EQ(memory().take_accessed(range, 2), (std::vector<bool>{false, true}));
  expect_halt_at(load(range.value), code + 3);
  EXPECT_EQ(memory().take_accessed(range, 2), (std::vector<bool>{true, false}));
  expect_halt_at(epa(range), code + 3);
  EXPECT_EQ(package_->encls(EnclsLeaf::epa, {.page = first + 3}).fault, v::pf) << "it is the other frame";
  EXPECT_FALSE(package_->encls(EnclsLeaf::epa, {.page = first + 8}).fault);
  EXPECT_EQ(memory().unmap_epc(range), first + 3);
  EXPECT_TRUE(memory().unmap(range, 2 * page_size));
  EXPECT_EQ(memory().unmap_epc(second), std::nullopt);
}

TEST_P(EpcPages, ARangeIsASlot) {
  const auto error_of = [](const tl::expected<void, MapError>& result) {
    return result ? std::nullopt : std::optional(result.error());
  };
  EXPECT_EQ(error_of(memory().reserve_epc(page(1), 1)), MapError::overlap);
  EXPECT_EQ(error_of(memory().map_epc(page(1), first, 1)), MapError::overlap);
  EXPECT_EQ(error_of(memory().map_ram(page(pages - 1), page_size)), MapError::overlap);
  EXPECT_EQ(error_of(memory().reserve_epc(Gpa{nowhere + 1}, 1)), MapError::misaligned);
  EXPECT_TRUE(error_of(memory().reserve_epc(Gpa{nowhere}, 0)));
  EXPECT_TRUE(error_of(memory().reserve_epc(Gpa{nowhere}, u64{1} << 60)));
  EXPECT_EQ(error_of(memory().unmap(page(0), page_size)), MapError::partial);
  EXPECT_EQ(map(page(0), first), std::nullopt);
  EXPECT_EQ(error_of(memory().unmap(page(0), pages * page_size)), std::nullopt);
  EXPECT_EQ(map(page(0), first), MapError::not_epc);
  EXPECT_EQ(error_of(memory().reserve_epc(page(0), pages)), std::nullopt);
  EXPECT_EQ(memory().unmap_epc(page(0)), std::nullopt) << "nothing is mapped in a new range";
}

/// Outside an enclave a mapped page is the abort page, and one that is not mapped an exit, which a map answers.
TEST_P(EpcPages, AnAccessToWhatIsNotMappedExits) {
  const u64 address = page(3).value + 8;
  for (int turn = 0; turn < 3; ++turn) {
    expect_violation(load(address), address, address, 1 | translated);
    expect_violation(store(address), address, address, 2 | translated);
    expect_violation(run_at(address), address, address, 4 | translated);
    EXPECT_EQ(rip(), address);
    expect_violation(load(address), address, address, 1 | translated);
    EXPECT_EQ(rip(), code);
    ASSERT_EQ(map(page(3), first + 3), std::nullopt);
    expect_halt_at(resume(), code + 3);
    EXPECT_EQ(reg(arch::rbx), ~u64{0});
    expect_halt_at(store(address), code + 3);
    expect_halt_at(load(address), code + 3);
    EXPECT_EQ(memory().unmap_epc(page(3)), first + 3);
  }
}

/// Code on the abort page is undefined, as long as it is mapped.
TEST_P(EpcPages, AFetchFromWhatIsUnmappedExits) {
  intercept({v::ud});
  for (int turn = 0; turn < 3; ++turn) {
    ASSERT_EQ(map(page(1), first), std::nullopt);
    EXPECT_EQ(run_at(page(1).value).reason, ExitReason::exception_or_nmi);
    ASSERT_EQ(memory().unmap_epc(page(1)), first);
    expect_violation(run_at(page(1).value), page(1).value, page(1).value, 4 | translated);
  }
}

TEST_P(EpcPages, APageWalkExits) {
  intercept({v::pf});
  const u64 linear = 0x20'0000, directory = tables + 2 * page_size;
  guest_.put<u64>(directory + 8, page(2).value | 7);
  expect_violation(load(linear), page(2).value, linear, 1 | linear_valid);
  ASSERT_EQ(map(page(2), first), std::nullopt);
  const Exit exit = resume();
  EXPECT_EQ(exit.reason, ExitReason::exception_or_nmi) << "an entry of the abort page has reserved bits";
  EXPECT_EQ(exit.interruption.error, arch::pfec::p | arch::pfec::rsvd);
  memory().set_accessed_dirty(true);
  ASSERT_EQ(memory().unmap_epc(page(2)), first);
  expect_violation(load(linear), page(2).value, linear, 3 | linear_valid);
}

/// The event is the exit's, and is injected again.
TEST_P(EpcPages, AnEventsDeliveryExits) {
  const u64 top = page(5).value + 0x100;
  GeneralRegs regs = vcpu_->general();
  regs.gpr[arch::rsp] = top;
  vcpu_->set_general(regs);
  const Event event{.vector = 0x30, .type = EventType::external};
  vcpu_->inject(event);
  const Exit exit = resume();
  expect_violation(exit, top - 8, top - 8, 2 | translated);
  EXPECT_EQ(exit.vectoring, event);
  EXPECT_EQ(reg(arch::rsp), top);
  ASSERT_EQ(map(page(5), first), std::nullopt);
  vcpu_->inject(*exit.vectoring);
  expect_halt_at(resume(), handler_of(0x30));
}

TEST_P(EpcPages, AnOperandOfALeafExits) {
  expect_violation(epa(page(0)), page(0).value, page(0).value, 2 | translated);
  EXPECT_EQ(rip(), code);
  ASSERT_EQ(map(page(0), first), std::nullopt);
  expect_halt_at(resume(), code + 3);
  expect_halt_at(encls(EnclsLeaf::eremove, 0, page(0).value), code + 3);

  // A memory operand.
  guest_.put(data, arch::Pageinfo{0, page(1).value, data + 0x40, 0});
  guest_.put(data + 0x40, arch::Secinfo{});
  intercept({v::gp});
  expect_violation(encls(EnclsLeaf::ecreate, data, page(0).value), page(1).value, page(1).value, 1 | translated);
  ASSERT_EQ(map(page(1), first + 1), std::nullopt);
  EXPECT_EQ(resume().interruption.vector, v::gp) << "a SECS of ones";
}

/// What a leaf remembers of its operands is forgotten with the page.
TEST_P(EpcPages, AnOperandIsTheFrameThatIsMapped) {
  intercept({v::pf});
  for (u64 turn = 0; turn < 4; ++turn) {
    ASSERT_EQ(map(page(0), first + turn), std::nullopt);
    expect_halt_at(epa(page(0)), code + 3);
    EXPECT_EQ(epa(page(0)).reason, ExitReason::exception_or_nmi) << "it is not free any more";
    EXPECT_EQ(memory().unmap_epc(page(0)), first + turn);
  }
  for (u64 frame = 0; frame < 4; ++frame) {
    EXPECT_EQ(package_->encls(EnclsLeaf::epa, {.page = first + frame}).fault, v::pf);
  }
  EXPECT_EQ(package_->encls(EnclsLeaf::epa, {.page = first + 4}).fault, std::nullopt);
}

/// Two processors use all pages, which a third thread unmaps; each is mapped again by who misses it.
TEST_P(EpcPages, ComeAndGoWhileProcessorsRun) {
  constexpr u64 turns = 300;
  // 1: mov eax, EREMOVE; mov rcx, rdi; encls; mov rdx, [rdi]; add rdi, 4096; cmp rdi, rsi; jb 1b
  // mov rdi, r8; jmp 1b
  guest_.put_bytes(code, std::initializer_list<u8>{0xb8, 3,    0,    0,    0,    0x48, 0x89, 0xf9, 0x0f, 0x01, 0xcf,
                                                   0x48, 0x8b, 0x17, 0x48, 0x81, 0xc7, 0,    0x10, 0,    0,    0x48,
                                                   0x39, 0xf7, 0x72, 0xe6, 0x4c, 0x89, 0xc7, 0xeb, 0xe1});
  intercept({v::gp, v::pf});
  const auto other = guest_.processor();
  Controls controls;
  controls.exception_bitmap = 1u << v::gp | 1u << v::pf;
  other->set_controls(controls);
  std::atomic<bool> over = false, failed = false;
  std::atomic<u64> misses = 0;
  const auto use = [&](Vcpu& vcpu) {
    GeneralRegs regs = vcpu.general();
    regs.rip = code;
    regs.gpr[arch::rdi] = regs.gpr[arch::r8] = epc_base;
    regs.gpr[arch::rsi] = page(pages).value;
    vcpu.set_general(regs);
    while (!over) {
      const Exit exit = vcpu.run(u64{1} << 40);
      if (exit.reason == ExitReason::ept_violation) {
        const Gpa missed{arch::page_base(exit.physical.value)};
        (void)memory().map_epc(missed, first + (missed.value - epc_base) / page_size);
        ++misses;
        continue;
      }
      // #GP: the other processor has the page at the moment.
      const bool busy = exit.reason == ExitReason::exception_or_nmi && exit.interruption.vector == v::gp;
      if (busy || exit.reason == ExitReason::external_interrupt) continue;
      ADD_FAILURE() << vmx::name_of(exit.reason);
      failed = true;
      return;
    }
  };
  std::thread one([&] { use(*vcpu_); }), two([&] { use(*other); });
  u64 unmapped = 0;
  for (u64 turn = 0; turn < turns; ++turn) {
    const Gpa victim = page(turn * 5 % pages);
    const u64 before = misses;
    if (const auto frame = memory().unmap_epc(victim)) {
      EXPECT_EQ(*frame, first + (victim.value - epc_base) / page_size);
      ++unmapped;
    }
    vcpu_->kick();
    other->kick();
    // Somebody comes to the page again.
    while (misses == before && !failed) std::this_thread::yield();
  }
  over = true;
  vcpu_->kick();
  other->kick();
  one.join();
  two.join();
  EXPECT_GT(unmapped, pages);
}

CLOISTER_EACH_IMPLEMENTATION(EpcPages);

}  // namespace
}  // namespace cloister::vmx
