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

std::string engine_line(Engine engine, const vmx::Execution& e) {
  std::string text = fmt::format("engine: {}", name_of(engine));
  if (engine != Engine::compiler) return text;
  const auto all = static_cast<double>(e.translated + e.by_handler + e.interpreted);
  const auto share = [all](u64 part) { return all > 0 ? 100 * static_cast<double>(part) / all : 0.0; };
  return text + fmt::format(
                    ", {} blocks in {} KiB of code, {} flushes; of the instructions {:.1f} % translated, "
                    "{:.1f} % by handlers, {:.1f} % interpreted",
                    e.blocks, e.code_bytes / 1024, e.flushes, share(e.translated), share(e.by_handler),
                    share(e.interpreted));
}

std::string sgx_line(const Events& events) {
  std::string text = "SGX:";
  for (const Line& line : lines)
    text += fmt::format("{}{} {}", text.ends_with(':') ? " " : ", ", line.count(events), line.name);
  return text;
}

}  // namespace cloister::toolstack
