// What can be seen of a domain's processors while it runs, as one run had it and as another has it: the two are of the
// same domain under the deterministic clock, so whatever differs is a difference of what runs its code.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmx/vcpu.hpp"

namespace cloister::lockstep {

/// All values that are looked at, in the order in which they are compared.
enum class Seen : u8 {
  processor,
  instructions,
  exit,
  qualification,
  linear,
  physical,
  instruction_length,
  enclave,
  interruption,
  vectoring,
  rip,
  rflags,
  gpr,
  system = gpr + 16,  ///< this and what follows: hashes; 0 where nobody looked
  fpu,
  memory,
  count,
};

/// A processor as it comes back from run().
struct Sight {
  std::array<u64, static_cast<std::size_t>(Seen::count)> values{};
  u64& operator[](Seen what) { return values[static_cast<std::size_t>(what)]; }
  bool operator==(const Sight&) const = default;
};

Sight sight_of(u32 processor, const vmx::Vcpu& vcpu, const vmx::Exit& exit);
/// Adds what is hashed of the processor.
void look_closely(Sight& sight, const vmx::Vcpu& vcpu);

/// A line for each value that differs; empty: none does.
std::string differences(const Sight& first, const Sight& second);

/// A good mixture of the bytes, and no more.
u64 hash(std::span<const std::byte> bytes);

class Sights {
 public:
  /// Of the first run they are kept, of the second each is held against the first's.
  void add(const Sight& sight);
  void begin_second() { second_ = 0; }
  /// Where the second run first was another than the first; nullopt: nowhere so far.
  const std::optional<std::string>& difference() const { return difference_; }
  /// The same at the second run's end.
  std::optional<std::string> difference_at_end() const;
  std::size_t size() const { return first_.size(); }

 private:
  std::vector<Sight> first_;
  std::optional<std::size_t> second_;  ///< how many of the second run's have come; none: it is the first
  std::optional<std::string> difference_;
};

}  // namespace cloister::lockstep
