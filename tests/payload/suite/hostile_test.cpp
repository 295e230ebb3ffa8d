// Hostile payloads run in a child process each. However the guest fares, the process must end as a domain ends: powered
// off, reset, halted, crashed with a report, or out of time; never by a signal of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "machine.hpp"
#include "silicon/silicon.hpp"

namespace cloister::payload {
namespace {

struct Hostile {
  const char* name;
  u64 epc_mib;
};

void PrintTo(const Hostile& h, std::ostream* out) { *out << h.name << " epc " << h.epc_mib; }

class HostileGuest : public testing::TestWithParam<Hostile> {};

TEST_P(HostileGuest, NeverTakesTheProcessDown) {
  const int status =
      run_in_child(GetParam().name, {.epc_mib = GetParam().epc_mib, .timeout = std::chrono::seconds(60)});
  EXPECT_THAT(status, testing::AnyOf(0, 3, 4, 5, 124));
}

INSTANTIATE_TEST_SUITE_P(Payloads, HostileGuest,
                         testing::Values(Hostile{"hostile_registers", 0}, Hostile{"hostile_registers", 64},
                                         Hostile{"hostile_memory", 0}, Hostile{"hostile_memory", 64},
                                         Hostile{"hostile_devices", 64}, Hostile{"hostile_page_tables", 0},
                                         Hostile{"hostile_page_tables", 64}, Hostile{"hostile_code", 64},
                                         Hostile{"hostile_kernel_code", 64}, Hostile{"hostile_tables", 0}),
                         [](const auto& tested) {
                           return std::string(tested.param.name) + (tested.param.epc_mib ? "_with_epc" : "");
                         });

// A guest in which no instruction ever retires still leaves the host its timeout, in both clocks.
TEST(EndlessFaults, EndByTheHostsTimeout) {
  for (const auto clock : {silicon::ClockMode::deterministic, silicon::ClockMode::host}) {
    EXPECT_EQ(run_in_child("hostile_endless", {.timeout = std::chrono::seconds(1), .clock = clock}), 124);
  }
}

}  // namespace
}  // namespace cloister::payload
