// x87 operations on the host: one instruction on copies of the operands, under the guest's own control word.
//
// The host does what its masks say, so results, flags, C1 and the wrapped results of unmasked overflow and underflow
// are the processor's own. FNSTSW, FNCLEX and FNINIT do not wait, so an exception that the guest has unmasked never
// reaches the host's kernel. The host's x87 state is left as FNINIT leaves it, which is what its ABI wants.
#pragma once

#include "silicon/state/fpu_state.hpp"

namespace cloister::silicon {

struct X87Result {
  Float80 value{};
  u16 status = 0;    ///< exception flags and condition codes
  Float80 second{};  ///< of instructions with two results: what becomes ST(0)
};

/// `a` is ST(0) or the destination; `b` points to the other operand: a Float80, or the bytes in memory.
using X87Operation = X87Result (*)(const Float80& a, const void* b, u16 control);

#define CLOISTER_HOST_X87_CLOBBERS "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"

#define CLOISTER_X87_BODY(operands, code, store)                                                            \
  X87Result r;                                                                                              \
  asm volatile("fnclex\n\t" operands "fldcw %[cw]\n\t" code "\n\tfnstsw %[sw]\n\tfnclex\n\t" store "fninit" \
               : [sw] "=m"(r.status)                                                                        \
               : [a] "r"(&a), [b] "r"(b), [cw] "m"(control), [r] "r"(&r.value), [r2] "r"(&r.second)         \
               : CLOISTER_HOST_X87_CLOBBERS);                                                               \
  return r;

/// op ST(0), ST(1), with ST(0) = a and ST(1) = *b.
#define CLOISTER_X87_TWO(name, code)                                              \
  inline X87Result name(const Float80& a, const void* b, u16 control) {           \
    CLOISTER_X87_BODY("fldt (%[b])\n\tfldt (%[a])\n\t", code, "fstpt (%[r])\n\t") \
  }
/// op ST(0), or op ST(0), memory, with ST(0) = a and memory = (%[b]).
#define CLOISTER_X87_ONE(name, code)                                    \
  inline X87Result name(const Float80& a, const void* b, u16 control) { \
    CLOISTER_X87_BODY("fldt (%[a])\n\t", code, "fstpt (%[r])\n\t")      \
  }
/// A load: ST(0) becomes a value that does not depend on the stack.
#define CLOISTER_X87_LOAD(name, code)                                   \
  inline X87Result name(const Float80& a, const void* b, u16 control) { \
    CLOISTER_X87_BODY("", code, "fstpt (%[r])\n\t")                     \
  }
/// FXTRACT: ST(0) is replaced, and then a second result is pushed.
#define CLOISTER_X87_PAIR(name, code)                                               \
  inline X87Result name(const Float80& a, const void* b, u16 control) {             \
    CLOISTER_X87_BODY("fldt (%[a])\n\t", code, "fstpt (%[r2])\n\tfstpt (%[r])\n\t") \
  }

struct X87Stored {
  std::array<u8, 16> bytes{};
  u16 status = 0;
};
using X87Store = X87Stored (*)(const Float80& a, u16 control);

/// A store of ST(0) = a to (%[to]).
#define CLOISTER_X87_STORE(name, code)                                                        \
  inline X87Stored name(const Float80& a, u16 control) {                                      \
    X87Stored r;                                                                              \
    asm volatile("fnclex\n\tfldt (%[a])\n\tfldcw %[cw]\n\t" code "\n\tfnstsw %[sw]\n\tfninit" \
                 : [sw] "=m"(r.status)                                                        \
                 : [a] "r"(&a), [cw] "m"(control), [to] "r"(r.bytes.data())                   \
                 : CLOISTER_HOST_X87_CLOBBERS);                                               \
    return r;                                                                                 \
  }

}  // namespace cloister::silicon
