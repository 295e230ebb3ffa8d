// Random programs of all instructions that the dispatcher knows.
#pragma once

#include <string>
#include <vector>

#include "oracle/cpu/forms.hpp"
#include "oracle/cpu/state.hpp"

namespace cloister::programs {

namespace sandbox = oracle::sandbox;
using oracle::Random;

/// All forms, by family: of each as many are taken, however many it has, and of the common ones more.
class Forms {
 public:
  Forms();
  const oracle::Form& any(Random& random) const;

 private:
  std::vector<std::vector<oracle::Form>> families_;
  std::vector<std::size_t> lists_;  ///< of them, common ones several times
};

struct Program {
  std::vector<std::byte> code;
  std::vector<u64> starts;  ///< of its instructions, linear, and behind the last
  std::string text;

  u64 end() const { return starts.back(); }
  /// Where it goes on after what happened at `rip`.
  u64 after(u64 rip) const;
};

/// 3 to 40 instructions at sandbox::instruction, whose branches mostly lead to each other.
Program make_program(const Forms& forms, Random& random);

/// Near a border of the data's pages, or between them.
u64 data_address(Random& random);

}  // namespace cloister::programs
