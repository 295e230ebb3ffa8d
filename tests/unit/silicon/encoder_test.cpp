// The encoder's bytes, as Zydis reads them.
#include "silicon/engine/compiler/encoder.hpp"

#include <Zydis/Zydis.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace cloister::silicon {
namespace {

using Emit = std::function<void(Encoder&)>;

std::string disassembled(const std::vector<u8>& code, u64 at) {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  ZydisFormatter formatter;
  ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
  std::string all;
  for (std::size_t done = 0; done < code.size();) {
    ZydisDecodedInstruction info;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data() + done, code.size() - done, &info, operand)))
      return all + "?";
    char text[96];
    ZydisFormatterFormatInstruction(&formatter, &info, operand, info.operand_count_visible, text, sizeof text,
                                    at + done, nullptr);
    all += (all.empty() ? "" : "; ") + std::string(text);
    done += info.length;
  }
  return all;
}

const u8* const origin = reinterpret_cast<const u8*>(0x1000);

std::string text_of(const Emit& emit) {
  Encoder e(origin);
  emit(e);
  return disassembled(e.finish(), reinterpret_cast<u64>(origin));
}

constexpr HostReg rax = 0, rcx = 1, rsp = 4, rbp = 5, rsi = 6, r8 = 8, r12 = 12, r13 = 13, r15 = 15;

struct Expected {
  const char* text;
  Emit emit;
};

const std::vector<Expected> expected{
    {"or ch, 0x10",
     [](Encoder& e) {
       e.op(0x80, 1, rbp, {1, 8, 8}, 0x10, 1);
     }},
    {"xor ah, [rbp+0x08]",
     [](Encoder& e) {
       e.op(0x32, rsp, Address{.base = rbp, .disp = 8}, {1, 8, 8});
     }},
    {"pxor xmm1, xmm12", [](Encoder& e) { e.sse(0x660fef, 1, r12); }},
    {"movups xmm9, [r13+rcx*1]", [](Encoder& e) { e.sse(0x0f10, 9, Address{.base = r13, .index = rcx}); }},
    {"addsd xmm0, [rax]", [](Encoder& e) { e.sse(0xf20f58, 0, Address{.base = rax}); }},
    {"pshufb xmm8, xmm1", [](Encoder& e) { e.sse(0x663800, 8, rcx); }},
    {"pinsrq xmm1, r8, 0x01", [](Encoder& e) { e.sse(0x663a22, 1, r8, true, 1, 1); }},
    {"cvttsd2si r15, xmm3", [](Encoder& e) { e.sse(0xf20f2c, r15, 3, true); }},
    {"mov rcx, r12", [](Encoder& e) { e.mov(rcx, r12); }},
    {"mov r8d, eax", [](Encoder& e) { e.mov(r8, rax, 4); }},
    {"mov rax, [rbp]", [](Encoder& e) { e.mov(rax, Address{.base = rbp}); }},
    {"mov rax, [r13]", [](Encoder& e) { e.mov(rax, Address{.base = r13}); }},
    {"mov rax, [rsp+0x08]", [](Encoder& e) { e.mov(rax, Address{.base = rsp, .disp = 8}); }},
    {"mov rax, [r12-0x80]", [](Encoder& e) { e.mov(rax, Address{.base = r12, .disp = -128}); }},
    {"mov rax, [rcx+0x80]", [](Encoder& e) { e.mov(rax, Address{.base = rcx, .disp = 128}); }},
    {"mov r15, [r13+r12*8+0x12345678]",
     [](Encoder& e) { e.mov(r15, Address{.base = r13, .index = r12, .scale = 3, .disp = 0x1234'5678}); }},
    {"mov eax, [rcx*4+0x10]", [](Encoder& e) { e.mov(rax, Address{.index = rcx, .scale = 2, .disp = 16}, 4); }},
    {"mov [rcx], sil", [](Encoder& e) { e.store({.base = rcx}, rsi, 1); }},
    {"mov [rcx], al", [](Encoder& e) { e.store({.base = rcx}, rax, 1); }},
    {"mov [rcx], r15w", [](Encoder& e) { e.store({.base = rcx}, r15, 2); }},
    {"add sil, al", [](Encoder& e) { e.op(0x00, rax, rsi, Encoder::all(1)); }},
    {"cmp r8, [rsi]", [](Encoder& e) { e.op(0x3b, r8, Address{.base = rsi}); }},
    {"sub ecx, 0xFFFFFFFF", [](Encoder& e) { e.op(0x83, 5, rcx, Encoder::all(4), -1, 1); }},
    {"and cx, 0x1234", [](Encoder& e) { e.op(0x81, 4, rcx, Encoder::all(2), 0x1234, 2); }},
    {"xor r12, 0x12345678", [](Encoder& e) { e.op(0x81, 6, r12, Encoder::all(8), 0x1234'5678, 4); }},
    {"movzx r8d, sil",
     [](Encoder& e) {
       e.op(0x0fb6, r8, rsi, {4, 4, 1});
     }},
    {"movsx rsi, word ptr [rax]",
     [](Encoder& e) {
       e.op(0x0fbf, rsi, Address{.base = rax}, {8, 8, 2});
     }},
    {"setz r12b",
     [](Encoder& e) {
       e.op(0x0f94, 0, r12, {1, 8, 1});
     }},
    {"cmovnz eax, r8d", [](Encoder& e) { e.op(0x0f45, rax, r8, {4}); }},
    {"shl r13w, 0x03", [](Encoder& e) { e.op(0xc1, 4, r13, Encoder::all(2), 3, 1); }},
    {"bswap r12", [](Encoder& e) { e.op_in_opcode(0x0fc8, r12, 8); }},
    {"bswap ecx", [](Encoder& e) { e.op_in_opcode(0x0fc8, rcx, 4); }},
    {"lea r15, [rax+rcx*1]", [](Encoder& e) { e.lea(r15, Address{.base = rax, .index = rcx}); }},
    {"mov ecx, 0xFFFFFFFF", [](Encoder& e) { e.mov_imm(rcx, 0xffff'ffff); }},
    {"mov r8, 0xFFFFFFFFFFFFFFFF", [](Encoder& e) { e.mov_imm(r8, ~u64{0}); }},
    {"mov r8, 0x123456789ABCDEF0", [](Encoder& e) { e.mov_imm(r8, 0x1234'5678'9abc'def0); }},
    {"jmp r15", [](Encoder& e) { e.jmp(Place{r15}); }},
    {"jmp [rsi]", [](Encoder& e) { e.jmp(Place{Address{.base = rsi}}); }},
    {"jmp 0x0000000000000800", [](Encoder& e) { e.jmp(reinterpret_cast<const u8*>(0x800)); }},
    {"call 0x0000000000002000; jnz 0x0000000000001000",
     [](Encoder& e) { e.call(reinterpret_cast<const u8*>(0x2000)), e.jcc(5, origin); }},
    {"ret", [](Encoder& e) { e.ret(); }},
    {"jz 0x000000000000100D; lea r15, [0x0000000000001006]",
     [](Encoder& e) {
       const Label over = e.label(), here = e.label();
       e.jcc(4, over);
       e.bind(here);
       e.lea(r15, here);
       e.bind(over);
     }},
};

TEST(Encoder, WritesWhatZydisReads) {
  for (const Expected& x : expected) EXPECT_EQ(text_of(x.emit), x.text);
}

TEST(Encoder, TakesTheShortestForms) {
  const auto size = [](const Emit& emit) {
    Encoder e(origin);
    emit(e);
    return e.finish().size();
  };
  EXPECT_EQ(size([](Encoder& e) { e.mov_imm(rcx, 1); }), 5u);
  EXPECT_EQ(size([](Encoder& e) { e.mov_imm(rcx, ~u64{0}); }), 7u);
  EXPECT_EQ(size([](Encoder& e) { e.mov(rax, Address{.base = rcx}); }), 3u);
  EXPECT_EQ(size([](Encoder& e) { e.mov(rax, Address{.base = rcx, .disp = -1}); }), 4u);
  EXPECT_EQ(size([](Encoder& e) { e.mov(rax, Address{.base = rcx}, 4); }), 2u);
}

}  // namespace
}  // namespace cloister::silicon
