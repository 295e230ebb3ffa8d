// What this host's processor really executes: asked by CPUID and by trying, since hypervisors hide bits of what runs,
// show bits of what does not, and leave out segments that processors have.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "arch/cpuid.hpp"
#include "oracle/cpu/forms.hpp"
#include "oracle/cpu/native.hpp"

namespace cloister::oracle {

class Host {
 public:
  /// Runs probes; the sandbox's code page is INT3s before and after.
  explicit Host(Native& native);

  /// Why the form cannot be compared here, or nullopt.
  std::optional<std::string> lacks(const Form& form) const;
  /// Why no 32-bit code can be compared here, or nullopt.
  const std::optional<std::string>& lacks_code32() const { return lacks_code32_; }
  /// Takes user descriptors out of the software processor's table that the host's has not either.
  void correct(std::array<u64, 8>& descriptors) const;
  /// A line for each answer that is not "CPUID says so, and it runs".
  const std::string& peculiarities() const { return peculiarities_; }

  /// The bit says something that can be tried.
  static bool can_try(const arch::CpuidBit& bit);

 private:
  struct Answer {
    bool cpuid = false, runs = false;
  };
  Answer ask(Native& native, const arch::CpuidBit& bit) const;

  std::map<arch::CpuidBit, Answer> answers_;
  std::optional<std::string> lacks_code32_;
  std::string peculiarities_;
};

}  // namespace cloister::oracle
