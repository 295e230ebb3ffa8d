// Instructions on device memory: what each does to registers, flags and the operand, by its page of SDM vol. 2.
#include "hypervisor/exits/mmio_decode.hpp"

#include <gtest/gtest.h>

#include <initializer_list>
#include <map>
#include <vector>

#include "silicon/silicon.hpp"

namespace cloister::hypervisor {
namespace {

using arch::Gva;
using silicon::GeneralRegs;
namespace f = arch::rflags;

/// Records accesses; unwritten bytes are zero.
class FakeMemory final : public OperandMemory {
 public:
  tl::expected<u64, Fault> load(Gva from, unsigned bytes) override {
    loads.push_back({from.value, bytes});
    return values[from.value];
  }
  tl::expected<void, Fault> store(Gva to, u64 value, unsigned bytes) override {
    stores.push_back({to.value, bytes});
    values[to.value] = bytes == 8 ? value : value & ((u64{1} << (8 * bytes)) - 1);
    return {};
  }
  tl::expected<void, Fault> probe_store(Gva to, unsigned) override {
    if (to.value == read_only) return tl::unexpected(Fault{arch::vector::pf, arch::pfec::wr, to.value});
    return {};
  }
  struct Access {
    u64 address;
    unsigned bytes;
    bool operator==(const Access&) const = default;
  };
  std::map<u64, u64> values;
  std::vector<Access> loads, stores;
  u64 read_only = ~u64{0};
};

class Emulate : public testing::Test {
 protected:
  Emulate() {
    system.cr0 = arch::cr0::pe;
    system.efer = arch::efer::lma;
    system.seg[arch::seg_cs].attributes = 1u << 13;  // 64-bit code
    general.gpr[arch::rbx] = device;
  }
  using Result = tl::expected<Progress, std::variant<Fault, NotEmulated>>;
  Result run(std::initializer_list<u8> bytes) {
    const std::vector<u8> code(bytes);
    const auto insn = decode(code, code_bits(system));
    EXPECT_TRUE(insn) << "the test's bytes do not decode";
    EXPECT_EQ(insn->info.length, code.size());
    return emulate(*insn, general, system, memory);
  }
  void complete(std::initializer_list<u8> bytes) {
    const auto result = run(bytes);
    ASSERT_TRUE(result);
    EXPECT_EQ(*result, Progress::complete);
  }

  static constexpr u64 device = 0xffff'c000'fee0'0000;
  GeneralRegs general;
  silicon::SystemRegs system;
  FakeMemory memory;
};

TEST_F(Emulate, LoadOf32BitsClearsTheUpperHalf) {
  memory.values[device + 0x30] = 0x5'0014;
  general.gpr[arch::rax] = ~u64{0};
  complete({0x8b, 0x43, 0x30});  // mov eax, [rbx+0x30]
  EXPECT_EQ(general.gpr[arch::rax], 0x5'0014u);
  EXPECT_EQ(memory.loads, (std::vector<FakeMemory::Access>{{device + 0x30, 4}}));
}

TEST_F(Emulate, LoadOf8And16BitsKeepsTheRest) {
  memory.values[device] = 0xaa;
  general.gpr[arch::rcx] = 0x1111'2222'3333'4444;
  complete({0x8a, 0x2b});  // mov ch, [rbx]
  EXPECT_EQ(general.gpr[arch::rcx], 0x1111'2222'3333'aa44);
  memory.values[device] = 0xbbcc;
  complete({0x66, 0x8b, 0x0b});  // mov cx, [rbx]
  EXPECT_EQ(general.gpr[arch::rcx], 0x1111'2222'3333'bbcc);
}

TEST_F(Emulate, StoreOfRegisterAndImmediate) {
  general.gpr[arch::rdx] = 0x1234'5678'9abc'def0;
  complete({0x89, 0x93, 0xb0, 0x00, 0x00, 0x00});  // mov [rbx+0xb0], edx
  EXPECT_EQ(memory.values[device + 0xb0], 0x9abc'def0u);
  complete({0x48, 0xc7, 0x03, 0xff, 0xff, 0xff, 0xff});  // mov qword [rbx], -1
  EXPECT_EQ(memory.values[device], ~u64{0}) << "the immediate is sign-extended";
  EXPECT_TRUE(memory.loads.empty()) << "a store does not read the device";
}

TEST_F(Emulate, AddressesHaveBaseIndexScaleAndSegment) {
  general.gpr[arch::rsi] = 2;
  system.seg[arch::seg_gs].base = 0x1'0000;
  system.seg[arch::seg_ds].base = 0x5555;  // 64-bit code has no DS base
  complete({0x8b, 0x44, 0xb3, 0x08});      // mov eax, [rbx+rsi*4+8]
  complete({0x65, 0x8b, 0x03});            // mov eax, gs:[rbx]
  general.rip = 0x1000;
  complete({0x8b, 0x05, 0x10, 0x00, 0x00, 0x00});  // mov eax, [rip+0x10]
  EXPECT_EQ(memory.loads, (std::vector<FakeMemory::Access>{{device + 16, 4}, {device + 0x1'0000, 4}, {0x1016, 4}}));
}

TEST_F(Emulate, ThirtyTwoBitCodeWrapsAndAddsSegmentBases) {
  system.efer = 0;
  system.seg[arch::seg_cs].attributes = 1u << 14;
  system.seg[arch::seg_ds].base = 0x100;
  general.gpr[arch::rbx] = 0xffff'ffff'fee0'0000;
  complete({0x8b, 0x43, 0x20});  // mov eax, [ebx+0x20]
  EXPECT_EQ(memory.loads, (std::vector<FakeMemory::Access>{{0xfee0'0120, 4}}));
}

TEST_F(Emulate, ExtendingLoads) {
  memory.values[device] = 0x80;
  complete({0x0f, 0xb6, 0x03});  // movzx eax, byte [rbx]
  EXPECT_EQ(general.gpr[arch::rax], 0x80u);
  complete({0x48, 0x0f, 0xbe, 0x03});  // movsx rax, byte [rbx]
  EXPECT_EQ(general.gpr[arch::rax], 0xffff'ffff'ffff'ff80u);
  complete({0x0f, 0xbe, 0x03});  // movsx eax, byte [rbx]
  EXPECT_EQ(general.gpr[arch::rax], 0xffff'ff80u);
  memory.values[device] = 0x8000'0000;
  complete({0x48, 0x63, 0x03});  // movsxd rax, dword [rbx]
  EXPECT_EQ(general.gpr[arch::rax], 0xffff'ffff'8000'0000u);
}

TEST_F(Emulate, ReadModifyWriteAndItsFlags) {
  memory.values[device] = 0xf0f0;
  general.rflags = f::fixed1 | f::cf | f::of;
  complete({0x81, 0x23, 0xff, 0x00, 0x00, 0x00});  // and dword [rbx], 0xff
  EXPECT_EQ(memory.values[device], 0xf0u);
  EXPECT_EQ(general.rflags, f::fixed1 | f::pf) << "AND clears CF and OF; 0xf0 has even parity";

  memory.values[device] = 0x7fff'ffff;
  complete({0x83, 0x03, 0x01});  // add dword [rbx], 1
  EXPECT_EQ(memory.values[device], 0x8000'0000u);
  EXPECT_EQ(general.rflags, f::fixed1 | f::of | f::sf | f::af | f::pf);

  memory.values[device] = 0;
  complete({0x83, 0x2b, 0x01});  // sub dword [rbx], 1
  EXPECT_EQ(memory.values[device], 0xffff'ffffu);
  EXPECT_EQ(general.rflags, f::fixed1 | f::cf | f::sf | f::af | f::pf);
}

TEST_F(Emulate, ComparisonsDoNotWrite) {
  memory.values[device] = 5;
  complete({0x83, 0x3b, 0x05});  // cmp dword [rbx], 5
  EXPECT_EQ(general.rflags, f::fixed1 | f::zf | f::pf);
  complete({0xf7, 0x03, 0x02, 0x00, 0x00, 0x00});  // test dword [rbx], 2
  EXPECT_EQ(general.rflags, f::fixed1 | f::zf | f::pf);
  complete({0x3b, 0x03});  // cmp eax, [rbx]
  EXPECT_EQ(general.rflags, f::fixed1 | f::cf | f::sf | f::af) << "0 - 5 = 0xfffffffb";
  EXPECT_TRUE(memory.stores.empty());
}

TEST_F(Emulate, BitOffsetsInRegistersReachBeyondTheOperand) {
  memory.values[device + 8] = 1u << 3;
  general.gpr[arch::rax] = 67;   // dword 2, bit 3
  complete({0x0f, 0xab, 0x03});  // bts [rbx], eax
  EXPECT_EQ(memory.stores, (std::vector<FakeMemory::Access>{{device + 8, 4}}));
  EXPECT_EQ(general.rflags & f::cf, f::cf);
  general.gpr[arch::rax] = static_cast<u64>(-1);  // the dword below, bit 31
  complete({0x0f, 0xa3, 0x03});                   // bt [rbx], eax
  EXPECT_EQ(memory.loads.back(), (FakeMemory::Access{device - 4, 4}));
  EXPECT_EQ(general.rflags & f::cf, 0u);
  memory.values[device] = 0xff;
  complete({0x0f, 0xba, 0x33, 0x21});  // btr dword [rbx], 33: an immediate is taken modulo 32
  EXPECT_EQ(memory.values[device], 0xfdu);
}

TEST_F(Emulate, ExchangeSwaps) {
  memory.values[device] = 7;
  general.gpr[arch::rdx] = 9;
  complete({0x87, 0x13});  // xchg [rbx], edx
  EXPECT_EQ(memory.values[device], 9u);
  EXPECT_EQ(general.gpr[arch::rdx], 7u);
}

TEST_F(Emulate, StringMovesOneElementAtATime) {
  general.gpr[arch::rsi] = device;
  general.gpr[arch::rdi] = 0x2000;
  general.gpr[arch::rcx] = 2;
  memory.values[device] = 0x11;
  memory.values[device + 4] = 0x22;
  auto result = run({0xf3, 0xa5});  // rep movsd
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, Progress::again);
  EXPECT_EQ(general.gpr[arch::rcx], 1u);
  EXPECT_EQ(general.gpr[arch::rsi], device + 4);
  EXPECT_EQ(general.gpr[arch::rdi], 0x2004u);
  EXPECT_EQ(memory.values[0x2000], 0x11u);
  complete({0xf3, 0xa5});
  EXPECT_EQ(memory.values[0x2004], 0x22u);
  EXPECT_EQ(general.gpr[arch::rcx], 0u);
  memory.stores.clear();
  complete({0xf3, 0xa5});
  EXPECT_TRUE(memory.stores.empty()) << "a count of zero moves nothing";
}

TEST_F(Emulate, StosGoesDownWithDirectionFlag) {
  general.rflags |= f::df;
  general.gpr[arch::rdi] = device + 8;
  general.gpr[arch::rax] = 0x1234'5678;
  complete({0x66, 0xab});  // stosw
  EXPECT_EQ(memory.values[device + 8], 0x5678u);
  EXPECT_EQ(general.gpr[arch::rdi], device + 6);
}

TEST_F(Emulate, AFaultingStoreComesBeforeTheDeviceIsRead) {
  general.gpr[arch::rsi] = device;
  general.gpr[arch::rdi] = memory.read_only = 0x2000;
  const GeneralRegs before = general;
  const auto result = run({0xa5});  // movsd
  ASSERT_FALSE(result);
  EXPECT_EQ(std::get<Fault>(result.error()), (Fault{arch::vector::pf, arch::pfec::wr, 0x2000}));
  EXPECT_TRUE(memory.loads.empty());
  EXPECT_EQ(general.gpr, before.gpr);
}

TEST_F(Emulate, WhatIsNotInTheTableIsSaid) {
  for (const auto& bytes : {std::initializer_list<u8>{0xf3, 0x0f, 0x10, 0x03},  // movss xmm0, [rbx]
                            std::initializer_list<u8>{0xff, 0x33},              // push qword [rbx]
                            std::initializer_list<u8>{0xf2, 0x0f, 0x10, 0x03},  // movsd xmm0, [rbx]
                            std::initializer_list<u8>{0x0f, 0xc7, 0x0b}}) {     // cmpxchg8b [rbx]
    const auto result = run(bytes);
    ASSERT_FALSE(result);
    EXPECT_TRUE(std::holds_alternative<NotEmulated>(result.error()));
  }
}

}  // namespace
}  // namespace cloister::hypervisor
