// Runs forms in both worlds.
#pragma once

#include <string>

#include "oracle/cpu/fault_order.hpp"
#include "oracle/cpu/forms.hpp"
#include "oracle/cpu/host.hpp"
#include "oracle/cpu/inputs.hpp"
#include "oracle/cpu/native.hpp"
#include "oracle/cpu/software.hpp"

namespace cloister::oracle {

struct FormResult {
  unsigned cases = 0;      ///< compared
  unsigned completed = 0;  ///< of these, without a fault
  unsigned mismatches = 0;
  unsigned unsteady = 0;   ///< of the cases: the host ended one otherwise than ours, and the same case again as ours
  unsigned by_vendor = 0;  ///< of the cases: the host ended it as processors of its maker do, not as Intel's
  std::array<unsigned, 2>
      faulted_first{};  ///< by Operand: whose fault the host reported where ours reported the other's
  std::string report;   ///< the first mismatches
};

class Oracle {
 public:
  explicit Oracle(u64 seed);
  /// Compares `cases` cases of the form, or stops after three mismatches.
  FormResult run(const Form& form, unsigned cases);
  const Host& host() const { return host_; }

 private:
  bool next_instruction(const Form& form, Random& random, Instruction& out);
  void place(const Instruction& instruction);
  /// Takes the host's fault for ours where only the order of two operands tells them apart; whose the host reported.
  std::optional<Operand> settle_order(const Instruction& instruction, const Outcome& ours, Outcome& native);
  struct Compared {
    std::vector<std::string> differences;
    bool completed = false, by_vendor = false;
    std::optional<Operand> faulted_first;
  };
  /// The host's run, from memory as it was, against ours, which has run.
  Compared run_native(const Instruction& instruction, const State& before, const Outcome& ours);
  void compare(const Instruction& instruction, const State& before, FormResult& result);
  std::vector<std::string> memory_differences(const Instruction& instruction, const State& before,
                                              const Outcome& native);

  u64 seed_;
  Native native_;
  Host host_;
  Software software_;
  Sandbox sandbox_;
  std::vector<u8> before_;  ///< the data before the case, for reports
};

}  // namespace cloister::oracle
