// Instructions that always exit: reason, qualification, length, and that nothing of the instruction is done (SDM vol.
// 3C, 26.1.2 and 28.2; vol. 3D, table C-1).
#include "guest.hpp"

namespace cloister::vmx {
namespace {

using Exits = OneProcessor;

/// Qualification of an I/O instruction (SDM vol. 3C, table 28-5).
constexpr u64 io(u16 port, u64 rest) { return (u64{port} << 16) | rest; }
constexpr u64 byte = 0, word = 1, dword = 3, in = 1 << 3, string = 1 << 4, rep = 1 << 5, immediate = 1 << 6;

struct Row {
  const char* name;
  std::vector<u8> bytes;
  unsigned reason;  ///< SDM vol. 3D, table C-1
  u64 qualification = 0;
  u64 linear = 0;
};
constexpr u16 port = 0x3f8;
constexpr u64 source = data + 0x10, destination = data + 0x20;

TEST_P(Exits, AnInstructionThatExitsIsNotDone) {
  const Row rows[] = {
      {"cpuid", {0x0f, 0xa2}, 10},
      {"hlt", {0xf4}, 12},
      {"invd", {0x0f, 0x08}, 13},
      {"vmcall", {0x0f, 0x01, 0xc1}, 18},
      // Table 28-3: the register's number, the direction (bit 4), the general register (bits 11:8).
      {"mov cr8, rax", {0x44, 0x0f, 0x22, 0xc0}, 28, 0x008},
      {"mov r9, cr8", {0x45, 0x0f, 0x20, 0xc1}, 28, 0x918},
      {"in al, 0x60", {0xe4, 0x60}, 30, io(0x60, byte | in | immediate)},
      {"in eax, 0x60", {0xe5, 0x60}, 30, io(0x60, dword | in | immediate)},
      {"in al, dx", {0xec}, 30, io(port, byte | in)},
      {"in ax, dx", {0x66, 0xed}, 30, io(port, word | in)},
      {"in eax, dx", {0xed}, 30, io(port, dword | in)},
      {"out 0x80, al", {0xe6, 0x80}, 30, io(0x80, byte | immediate)},
      {"out dx, al", {0xee}, 30, io(port, byte)},
      {"out dx, ax", {0x66, 0xef}, 30, io(port, word)},
      {"out dx, eax", {0xef}, 30, io(port, dword)},
      {"insb", {0x6c}, 30, io(port, byte | in | string), destination},
      {"rep insd", {0xf3, 0x6d}, 30, io(port, dword | in | string | rep), destination},
      {"outsw", {0x66, 0x6f}, 30, io(port, word | string), source},
      {"rep outsb", {0xf3, 0x6e}, 30, io(port, byte | string | rep), source},
      {"rdmsr", {0x0f, 0x32}, 31},
      {"wrmsr", {0x0f, 0x30}, 32},
      {"wbinvd", {0x0f, 0x09}, 54},
      {"xsetbv", {0x0f, 0x01, 0xd1}, 55},
  };
  GeneralRegs before;
  for (std::size_t i = 0; i < before.gpr.size(); ++i) before.gpr[i] = 0x100 + i;
  before.gpr[arch::rsp] = stack;
  before.gpr[arch::rax] = 9;  // what CR8 takes
  before.gpr[arch::rdx] = port;
  before.gpr[arch::rcx] = arch::msr::lstar;
  before.gpr[arch::rsi] = source;
  before.gpr[arch::rdi] = destination;
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    std::vector<u8> program{0x90};  // nop
    program.insert(program.end(), row.bytes.begin(), row.bytes.end());
    program.insert(program.end(), {0x90, 0xf4});
    guest_.put_bytes(code, program);
    Exit exit;
    for (int again = 0; again < 2; ++again) {
      exit = again == 0 ? run_at(code, before) : resume();
      EXPECT_EQ(static_cast<unsigned>(exit.reason), row.reason) << vmx::name_of(exit.reason);
      EXPECT_EQ(exit.qualification, row.qualification);
      EXPECT_EQ(exit.linear.value, row.linear);
      EXPECT_EQ(exit.instruction_length, row.bytes.size());
      EXPECT_FALSE(exit.enclave);
      EXPECT_EQ(exit.vectoring, std::nullopt);
      EXPECT_EQ(rip(), code + 1);
      EXPECT_EQ(vcpu_->general().gpr, before.gpr);
    }
    complete(exit);
    expect_halt_at(resume(), code + row.bytes.size() + 2);
  }
}

TEST_P(Exits, ARepeatedStringOfNothingDoesNot) {
  GeneralRegs regs;
  regs.gpr[arch::rsi] = source;
  expect_halt_at(run({0xf3, 0x6e, 0xf4}, regs), code + 2);  // rep outsb; hlt
}

TEST_P(Exits, AStringsAddressIsTheLinearOne) {
  SystemRegs system = long_mode();
  system.seg[arch::seg_fs].base = 0x1000;
  vcpu_->set_system(system);
  GeneralRegs regs;
  regs.gpr[arch::rsi] = source;
  const Exit exit = run({0x64, 0x6e, 0xf4}, regs);  // outsb fs:
  EXPECT_EQ(exit.reason, ExitReason::io);
  EXPECT_EQ(exit.linear.value, source + 0x1000);
  EXPECT_EQ(exit.instruction_length, 2u);
}

TEST_P(Exits, PrivilegeComesFirst) {
  const std::vector<u8> privileged[] = {
      {0xf4}, {0x0f, 0x08}, {0x0f, 0x09}, {0x0f, 0x30}, {0x0f, 0x32}, {0x0f, 0x01, 0xd1}, {0x44, 0x0f, 0x22, 0xc0},
      {0xec}};
  intercept({arch::vector::gp});
  vcpu_->set_system(user_mode());
  for (const auto& bytes : privileged) {
    guest_.put_bytes(code, bytes);
    const Exit exit = run_at(code);
    EXPECT_EQ(exit.reason, ExitReason::exception_or_nmi) << vmx::name_of(exit.reason);
    EXPECT_EQ(exit.interruption, (Event{arch::vector::gp, EventType::exception, true, 0, 0}));
    EXPECT_EQ(rip(), code);
  }
  EXPECT_EQ(run({0x0f, 0xa2}).reason, ExitReason::cpuid) << "anybody's";
}

TEST_P(Exits, InRealMode) {
  vcpu_->set_system(real_mode());
  GeneralRegs regs;
  regs.gpr[arch::rdx] = port;
  const Exit exit = run({0x66, 0xef, 0xf4}, regs);  // out dx, eax
  EXPECT_EQ(exit.reason, ExitReason::io);
  EXPECT_EQ(exit.qualification, io(port, dword));
  EXPECT_EQ(exit.instruction_length, 2u);
  complete(exit);
  expect_halt_at(resume(), code + 2);
}

TEST_P(Exits, ATaskSwitch) {
  vcpu_->set_system(protected_mode());
  const Exit exit = run({0xea, 0, 0, 0, 0, tss_selector, 0});  // jmp tss:0
  EXPECT_EQ(static_cast<unsigned>(exit.reason), 9u);
  EXPECT_EQ(exit.qualification, tss_selector | (u64{2} << 30)) << "table 28-2: the selector, and that it was a JMP";
  EXPECT_EQ(rip(), code);
}

TEST_P(Exits, ATripleFault) {
  SystemRegs system = long_mode();
  system.idtr.limit = 0;
  vcpu_->set_system(system);
  const Exit exit = run({0x0f, 0x0b});  // ud2
  EXPECT_EQ(static_cast<unsigned>(exit.reason), 2u);
  EXPECT_EQ(exit.qualification, 0u);
}

/// CPUID exits for every leaf, also where the implementation was told the answers.
TEST_P(Exits, CpuidAfterItsAnswersWereTold) {
  const CpuidEntry entries[] = {{0, 0, {1, 2, 3, 4}}, {7, 0, {5, 6, 7, 8}}};
  vcpu_->set_cpuid(entries);
  for (const u32 leaf : {0u, 1u, 7u, 0x4000'0000u}) {
    GeneralRegs regs;
    regs.gpr[arch::rax] = leaf;
    EXPECT_EQ(run({0x0f, 0xa2, 0xf4}, regs).reason, ExitReason::cpuid);
    EXPECT_EQ(reg(arch::rax), leaf);
  }
}

CLOISTER_EACH_IMPLEMENTATION(Exits);

// ---- second-level translation (SDM vol. 3C, table 28-7)

class SecondLevel : public OneProcessor {
 protected:
  static void expect_violation(const Exit& exit, EptQualification expected, u64 physical, u64 linear_address) {
    EXPECT_EQ(static_cast<unsigned>(exit.reason), 48u) << vmx::name_of(exit.reason);
    const auto q = EptQualification::decode(exit.qualification);
    EXPECT_EQ(q.read, expected.read);
    EXPECT_EQ(q.write, expected.write);
    EXPECT_EQ(q.fetch, expected.fetch);
    EXPECT_EQ(q.linear_valid, expected.linear_valid);
    EXPECT_EQ(q.translated, expected.translated);
    EXPECT_EQ(exit.physical.value, physical);
    EXPECT_EQ(exit.linear.value, linear_address);
  }
  static constexpr u64 linear = 0x5'0000;  ///< paging takes it to `nowhere`
  static constexpr EptQualification read{true, false, false, true, true}, write{false, true, false, true, true},
      fetch{false, false, true, true, true}, walk{true, false, false, true, false};

  void SetUp() override { guest_.map(linear, nowhere | arch::pte::p | arch::pte::rw); }
  GeneralRegs at(u64 address) {
    GeneralRegs regs;
    regs.gpr[arch::rdi] = address;
    regs.gpr[arch::rax] = 0x1234;
    return regs;
  }
};

TEST_P(SecondLevel, AReadMisses) {
  expect_violation(run({0x90, 0x48, 0x8b, 0x07, 0xf4}, at(linear + 8)), read, nowhere + 8, linear + 8);
  EXPECT_EQ(rip(), code + 1) << "the instruction's";
  EXPECT_EQ(reg(arch::rax), 0x1234u);
}

TEST_P(SecondLevel, AWriteMisses) {
  expect_violation(run({0x48, 0x89, 0x07, 0xf4}, at(linear + 0xff8)), write, nowhere + 0xff8, linear + 0xff8);
  EXPECT_EQ(rip(), code);
}

TEST_P(SecondLevel, AFetchMisses) {
  expect_violation(run_at(linear + 0x10), fetch, nowhere + 0x10, linear + 0x10);
  EXPECT_EQ(rip(), linear + 0x10);
}

TEST_P(SecondLevel, AWalkMisses) {
  SystemRegs system = long_mode();
  system.cr3 = nowhere;
  vcpu_->set_system(system);
  expect_violation(run_at(code), walk, nowhere, code);
}

TEST_P(SecondLevel, PagingsOwnFaultsComeFirst) {
  intercept({arch::vector::pf});
  guest_.map(linear, nowhere);  // not present
  const Exit exit = run({0x48, 0x8b, 0x07}, at(linear));
  EXPECT_EQ(exit.reason, ExitReason::exception_or_nmi);
  EXPECT_EQ(exit.qualification, linear);
}

TEST_P(SecondLevel, GoesOnWhereMemoryHasCome) {
  EXPECT_EQ(run({0x48, 0x89, 0x07, 0xf4}, at(linear)).reason, ExitReason::ept_violation);
  ASSERT_TRUE(guest_.memory().map_ram(Gpa{nowhere}, arch::page_size));
  expect_halt_at(resume(), code + 3);
  EXPECT_EQ(guest_.get<u64>(nowhere), 0x1234u);
}

CLOISTER_EACH_IMPLEMENTATION(SecondLevel);

}  // namespace
}  // namespace cloister::vmx
