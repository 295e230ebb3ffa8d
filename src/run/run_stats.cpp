// Counts come from the diagnostics door, since the domain's package was made: restarts go on counting.
#include "run/run_stats.hpp"

#include <fmt/format.h>

namespace cloister::toolstack {

namespace {

using arch::EnclsLeaf;
using arch::EncluLeaf;
using vmx::diagnostics::Events;

struct Line {
  const char* name;
  u64 (*count)(const Events&);
};

template <EnclsLeaf leaf>
u64 encls(const Events& e) {
  return e.encls[static_cast<std::size_t>(leaf)];
}
template <EncluLeaf leaf>
u64 enclu(const Events& e) {
  return e.enclu[static_cast<std::size_t>(leaf)];
}

constexpr Line lines[] = {
    {"EENTER", enclu<EncluLeaf::eenter>}, {"AEX", [](const Events& e) { return e.asynchronous_exits; }},
    {"EADD", encls<EnclsLeaf::eadd>},     {"EAUG", encls<EnclsLeaf::eaug>},
    {"EWB", encls<EnclsLeaf::ewb>},       {"ELDU", encls<EnclsLeaf::eldu>},
};

}  // namespace

std::string speed_line(u64 instructions, std::chrono::duration<double> time) {
  const double seconds = time.count();
  return fmt::format("{} guest instructions in {:.3f} s, {:.1f} million a second", instructions, seconds,
                     seconds > 0 ? static_cast<double>(instructions) / seconds / 1e6 : 0.0);
}

std::string sgx_line(const Events& events) {
  std::string text = "SGX:";
  for (const Line& line : lines)
    text += fmt::format("{}{} {}", text.ends_with(':') ? " " : ", ", line.count(events), line.name);
  return text;
}

}  // namespace cloister::toolstack
