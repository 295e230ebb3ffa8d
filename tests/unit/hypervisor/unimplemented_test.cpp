// What is not implemented is told of where the domain's CPUID offers it; elsewhere #UD is what the guest asked for.
#include <gtest/gtest.h>

#include "guests.hpp"
#include "silicon/silicon.hpp"

asm(R"(
  .pushsection .rodata
  .code32

  .global guest_vector, guest_vector_end
  .balign 16
  guest_vector:
    vpaddd %zmm0, %zmm1, %zmm2    # a triple fault: there is no IDT
  guest_vector_end:

  .code64
  .popsection
)");

namespace cloister::hypervisor {
namespace {

CLOISTER_GUEST(vector)

/// The names that are told of after the guest has ended.
std::vector<std::string> told(DomainSpec spec) {
  silicon::Package package({});
  auto domain = Domain::create(package, std::move(spec), {});
  EXPECT_TRUE(domain);
  const Outcome outcome = (*domain)->run({});
  EXPECT_EQ(outcome.ending, Ending::crashed);
  std::vector<std::string> names;
  for (const silicon::Unimplemented& u : outcome.unimplemented) {
    EXPECT_EQ(u.count, 1u);
    EXPECT_EQ(u.first_rip, guest_base);
    names.push_back(u.what);
  }
  return names;
}

TEST(Unimplemented, IsToldOfWhereItIsOffered) {
  DomainSpec spec = spec_of(vector());
  auto leaf7 = spec.cpuid.get(7, 0);
  leaf7.ebx |= 1u << 16;  // AVX-512
  spec.cpuid.set(7, 0, leaf7);
  EXPECT_EQ(told(std::move(spec)), std::vector<std::string>{"vpaddd"});
}

TEST(Unimplemented, IsNotToldOfElsewhere) { EXPECT_EQ(told(spec_of(vector())), std::vector<std::string>{}); }

}  // namespace
}  // namespace cloister::hypervisor
