// The host's instructions as rows' functions: operands are loaded to registers 0 to 3 from their places in AvxValues,
// and the result, in register 0, is stored.
//
// 32 bytes are loaded and stored as two halves, since halves are what was written before, and will be read after.
#pragma once

#include "silicon/isa/avx/avx.hpp"

namespace cloister::silicon {

static_assert(offsetof(AvxValues, first) == 32 && offsetof(AvxValues, second) == 64 &&
              offsetof(AvxValues, third) == 96 && offsetof(AvxValues, number) == 128 &&
              offsetof(AvxValues, immediate) == 136 && offsetof(AvxValues, flags) == 144);

#define CLOISTER_AVX_LOAD_x(at, n) "vmovaps " #at "(%[v]), %%xmm" #n "\n\t"
#define CLOISTER_AVX_LOAD_y(at, n) \
  CLOISTER_AVX_LOAD_x(at, n) "vinsertf128 $1, " #at "+16(%[v]), %%ymm" #n ", %%ymm" #n "\n\t"
#define CLOISTER_AVX_STORE_x "\n\tvmovaps %%xmm0, (%[v])"
#define CLOISTER_AVX_STORE_y "\n\tvmovaps %%xmm0, (%[v])\n\tvextractf128 $1, %%ymm0, 16(%[v])\n\tvzeroupper"
#define CLOISTER_AVX_END_x ""
#define CLOISTER_AVX_END_y "\n\tvzeroupper"

#define CLOISTER_AVX_RESULT(w) CLOISTER_AVX_LOAD_##w(0, 0)
#define CLOISTER_AVX_FIRST(w) CLOISTER_AVX_LOAD_##w(32, 1)
#define CLOISTER_AVX_SECOND(w) CLOISTER_AVX_LOAD_##w(64, 2)
#define CLOISTER_AVX_THIRD(w) CLOISTER_AVX_LOAD_##w(96, 3)

#define CLOISTER_AVX_FUNCTION(name, ...)                                                               \
  static void name(AvxValues& v) {                                                                     \
    asm volatile(__VA_ARGS__ : : [v] "r"(&v) : "xmm0", "xmm1", "xmm2", "xmm3", "rax", "cc", "memory"); \
  }

/// Both widths of a function. `code(w)` is the instruction's text for registers of the kind x or y.
#define CLOISTER_AVX_BOTH(Name, code)                           \
  struct Name {                                                 \
    CLOISTER_AVX_FUNCTION(narrow, code(x) CLOISTER_AVX_STORE_x) \
    CLOISTER_AVX_FUNCTION(wide, code(y) CLOISTER_AVX_STORE_y)   \
  };

#define CLOISTER_AVX_REG(w, n) "%%" #w "mm" #n

// result = f(first, second)
#define CLOISTER_AVX_THREE(w, text) \
  CLOISTER_AVX_FIRST(w) CLOISTER_AVX_SECOND(w) text " %%" #w "mm2, %%" #w "mm1, %%" #w "mm0"
// result = f(second)
#define CLOISTER_AVX_TWO(w, text) CLOISTER_AVX_SECOND(w) text " %%" #w "mm2, %%" #w "mm0"
// result = f(result, first, second)
#define CLOISTER_AVX_FUSED(w, text) \
  CLOISTER_AVX_RESULT(w)            \
  CLOISTER_AVX_FIRST(w) CLOISTER_AVX_SECOND(w) text " %%" #w "mm2, %%" #w "mm1, %%" #w "mm0"
// result = f(first, second, third)
#define CLOISTER_AVX_FOUR(w, text) \
  CLOISTER_AVX_FIRST(w)            \
  CLOISTER_AVX_SECOND(w) CLOISTER_AVX_THIRD(w) text " %%" #w "mm3, %%" #w "mm2, %%" #w "mm1, %%" #w "mm0"

/// Rows' functions of one width or two, of a shape above.
#define CLOISTER_AVX_NARROW_OP(Name, shape, text)                      \
  struct Name {                                                        \
    CLOISTER_AVX_FUNCTION(narrow, shape(x, text) CLOISTER_AVX_STORE_x) \
    [[maybe_unused]] static constexpr AvxRun wide = nullptr;           \
  };
#define CLOISTER_AVX_WIDE_OP(Name, shape, text)                      \
  struct Name {                                                      \
    [[maybe_unused]] static constexpr AvxRun narrow = nullptr;       \
    CLOISTER_AVX_FUNCTION(wide, shape(y, text) CLOISTER_AVX_STORE_y) \
  };
#define CLOISTER_AVX_OP(Name, shape, text)                             \
  struct Name {                                                        \
    CLOISTER_AVX_FUNCTION(narrow, shape(x, text) CLOISTER_AVX_STORE_x) \
    CLOISTER_AVX_FUNCTION(wide, shape(y, text) CLOISTER_AVX_STORE_y)   \
  };

/// The host has an immediate as a constant: one copy of the instruction for each of `count` values, 16 bytes each, and
/// a jump to the one that is asked for. `operands` follow the immediate.
#define CLOISTER_AVX_CHOOSE(text, count, operands)    \
  "movzbl 136(%[v]), %%eax\n\t"                       \
  "and $" #count                                      \
  "-1, %%eax\n\t"                                     \
  "shl $4, %%eax\n\t"                                 \
  "lea 1f(%%rip), %%rdx\n\t"                          \
  "add %%rdx, %%rax\n\t"                              \
  "jmp *%%rax\n\t"                                    \
  ".balign 16\n"                                      \
  "1:\n\t"                                            \
  ".set .Lcloister_imm, 0\n\t"                        \
  ".rept " #count                                     \
  "\n\t"                                              \
  ".balign 16\n\t" text " $.Lcloister_imm, " operands \
  "\n\t"                                              \
  "jmp 2f\n\t"                                        \
  ".set .Lcloister_imm, .Lcloister_imm+1\n\t"         \
  ".endr\n"                                           \
  "2:"

#define CLOISTER_AVX_CHOSEN(name, ...)                                                                        \
  static void name(AvxValues& v) {                                                                            \
    asm volatile(__VA_ARGS__ : : [v] "r"(&v) : "xmm0", "xmm1", "xmm2", "xmm3", "rax", "rdx", "cc", "memory"); \
  }

// result = f(first, second, immediate); f(second, immediate)
#define CLOISTER_AVX_THREE_IMM(w, text, count) \
  CLOISTER_AVX_FIRST(w) CLOISTER_AVX_SECOND(w) CLOISTER_AVX_CHOOSE(text, count, "%%" #w "mm2, %%" #w "mm1, %%" #w "mm0")
#define CLOISTER_AVX_TWO_IMM(w, text, count) \
  CLOISTER_AVX_SECOND(w) CLOISTER_AVX_CHOOSE(text, count, "%%" #w "mm2, %%" #w "mm0")

#define CLOISTER_AVX_IMM_OP(Name, shape, text, count)                       \
  struct Name {                                                             \
    CLOISTER_AVX_CHOSEN(narrow, shape(x, text, count) CLOISTER_AVX_STORE_x) \
    CLOISTER_AVX_CHOSEN(wide, shape(y, text, count) CLOISTER_AVX_STORE_y)   \
  };
#define CLOISTER_AVX_NARROW_IMM_OP(Name, shape, text, count)                \
  struct Name {                                                             \
    CLOISTER_AVX_CHOSEN(narrow, shape(x, text, count) CLOISTER_AVX_STORE_x) \
    [[maybe_unused]] static constexpr AvxRun wide = nullptr;                \
  };
#define CLOISTER_AVX_WIDE_IMM_OP(Name, shape, text, count)                \
  struct Name {                                                           \
    [[maybe_unused]] static constexpr AvxRun narrow = nullptr;            \
    CLOISTER_AVX_CHOSEN(wide, shape(y, text, count) CLOISTER_AVX_STORE_y) \
  };

}  // namespace cloister::silicon
