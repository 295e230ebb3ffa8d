// The check lists of the SGX leaves as data, and the walk that tests them.
//
// A table is one leaf: how it is made ready to succeed, and its rows in the order of the manual (SDM vol. 3D, 38.3 to
// 38.5, the leaf's Operation). Each row violates one condition, runs the leaf, and compares what software sees with
// what the manual says; nothing else may have changed. Then each two neighbours with different results are violated
// together: the first one's result must be seen. Rows of `state` are successes, with the change of state they make.
//
// The name of a row is the name of the check in the silicon that it is for (silicon/sgx/check.hpp), so that
// scripts/sgx-checks can switch the check off and see the row fail; or LEAF:NAME for what is no check. A row that is
// not tested here says why: the unit test that does, or the CPUID bit without which no guest gets there. The walk
// prints a line for each row before its cases,
//
//   ROW LEAF | NAME | condition | result | where it is tested
//
// from which the report in docs/sgx-checks.md is made.
#pragma once

#include "../payload.hpp"
#include "machine.hpp"

namespace sgx {

/// Whose linear address a #PF reports.
enum class Operand : u8 { rbx, rcx, rdx, secs, chosen };

/// What software sees of a leaf.
struct Result {
  u64 vector = vec::done;
  u64 error = 0;
  Operand at = Operand::rcx;
  bool code = false;  ///< RAX and the flags are set; else they are as before
  u64 rax = 0, flags = 0;
  const char* answer = nullptr;  ///< of a leaf that is no instruction
};
inline constexpr Result gp{vec::gp}, ud{vec::ud}, nm{vec::nm}, done{}, ok{.code = true};
/// ZF = 1, the code in RAX.
constexpr Result zf(u64 error_code) { return {.code = true, .rax = error_code, .flags = flag::zf}; }
constexpr Result cf(u64 error_code) { return {.code = true, .rax = error_code, .flags = flag::cf}; }
constexpr Result answers(const char* error) { return {.answer = error}; }
/// #PF with the SGX bit. By ENCLS, or by ENCLU (a user access).
constexpr Result pf_write(Operand at) { return {.vector = vec::pf, .error = 0x8003, .at = at}; }
constexpr Result pf_read(Operand at) { return {.vector = vec::pf, .error = 0x8001, .at = at}; }
constexpr Result pf_user_write(Operand at) { return {.vector = vec::pf, .error = 0x8007, .at = at}; }
constexpr Result pf_user_read(Operand at) { return {.vector = vec::pf, .error = 0x8005, .at = at}; }

/// A feature bit whose absence keeps guests from a row.
struct Bit {
  u32 leaf, subleaf;
  char reg;
  unsigned bit;
  const char* name;
};
inline constexpr Bit cet_ss{7, 0, 'c', 7, "CPUID.7.0:ECX[7] (CET_SS) is 0"},
    cet_ibt{7, 0, 'd', 20, "CPUID.7.0:EDX[20] (CET_IBT) is 0"}, rtm{7, 0, 'b', 11, "CPUID.7.0:EBX[11] (RTM) is 0"},
    avx{0x12, 1, 'c', 2, "CPUID.12.1:ECX[2] (XFRM beyond SSE) is 0"}, smx{1, 0, 'c', 6, "CPUID.1:ECX[6] (SMX) is 0"};

struct Row {
  const char* name;
  const char* condition;
  Result result;
  void (*arrange)() = nullptr;  ///< violates the condition, when all is ready
  void (*plan)() = nullptr;     ///< the same before the enclave is built: changes `the_plan`
  void (*verify)() = nullptr;   ///< after a success
  const char* unit = nullptr;   ///< tested by this unit test (a GoogleTest filter), and why not here
  const char* why = nullptr;
  const Bit* bit = nullptr;  ///< excluded by this
  bool alone = false;        ///< not to be combined with its neighbour
};

constexpr Row row(const char* name, const char* condition, Result result, void (*arrange)()) {
  return {.name = name, .condition = condition, .result = result, .arrange = arrange};
}
constexpr Row planned(const char* name, const char* condition, Result result, void (*plan)(),
                      void (*arrange)() = nullptr) {
  return {.name = name, .condition = condition, .result = result, .arrange = arrange, .plan = plan};
}
constexpr Row state(const char* name, const char* what, Result result, void (*arrange)(), void (*verify)(),
                    void (*plan)() = nullptr) {
  return {.name = name, .condition = what, .result = result, .arrange = arrange, .plan = plan, .verify = verify};
}
constexpr Row unit(const char* name, const char* condition, Result result, const char* test, const char* why) {
  return {.name = name, .condition = condition, .result = result, .unit = test, .why = why};
}
constexpr Row excluded(const char* name, const char* condition, Result result, const Bit& bit) {
  return {.name = name, .condition = condition, .result = result, .bit = &bit};
}
/// What the manual allows and this processor never does.
constexpr Row never(const char* name, const char* condition, Result result, const char* why) {
  return {.name = name, .condition = condition, .result = result, .why = why};
}
/// The row, kept apart from the one after it.
constexpr Row alone(Row r) {
  r.alone = true;
  return r;
}

/// Why a row is a unit test's.
inline constexpr const char *lock = "another leaf holds the page for too short a time",
                            *package = "another leaf has the package for too short a time",
                            *vmx = "needs VMX controls, which a domain's guest does not have",
                            *unreachable = "no leaf makes such a page",
                            *no_mode = "the payload's mode has no such state";

struct Table {
  const char* leaf;
  void (*prepare)();  ///< builds `the_plan` and sets `call`
  const Row* rows;
  unsigned count;
};
template <unsigned n>
constexpr Table table(const char* leaf, void (*prepare)(), const Row (&rows)[n]) {
  return {leaf, prepare, rows, n};
}

void walk(const Table& leaf);
/// The address that Operand::chosen means.
void choose(u64 linear);

}  // namespace sgx
