// Runs forms in both worlds.
#pragma once

#include <string>

#include "oracle/cpu/forms.hpp"
#include "oracle/cpu/inputs.hpp"
#include "oracle/cpu/native.hpp"
#include "oracle/cpu/software.hpp"

namespace cloister::oracle {

struct FormResult {
  unsigned cases = 0;      ///< compared
  unsigned completed = 0;  ///< of these, without a fault
  unsigned mismatches = 0;
  std::string report;  ///< the first mismatches
};

class Oracle {
 public:
  explicit Oracle(u64 seed);
  /// Compares `cases` cases of the form, or stops after three mismatches.
  FormResult run(const Form& form, unsigned cases);

 private:
  bool next_instruction(const Form& form, Random& random, Instruction& out);
  void place(const Instruction& instruction);
  void compare(const Instruction& instruction, const State& before, FormResult& result);
  std::vector<std::string> memory_differences(const Instruction& instruction, const State& before,
                                              const Outcome& native);

  u64 seed_;
  Native native_;
  Software software_;
  Sandbox sandbox_;
  std::vector<u8> before_;  ///< the data before the case, for reports
};

}  // namespace cloister::oracle
