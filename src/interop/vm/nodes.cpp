#include "interop/vm/nodes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <numeric>

namespace cloister::toolstack::vm {

namespace {

std::optional<u32> number_below(std::string_view text, u32 end) {
  u32 number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || stop != text.data() + text.size() || number >= end) return std::nullopt;
  return number;
}

}  // namespace

std::optional<std::vector<u32>> read_runs(std::string_view text, u32 end) {
  std::vector<bool> chosen(end);
  while (true) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view run = text.substr(0, comma);
    const bool without = run.starts_with('^');
    if (without) run.remove_prefix(1);
    const std::size_t dash = std::min(run.find('-'), run.size());
    const auto first = number_below(run.substr(0, dash), end);
    const auto last = dash == run.size() ? first : number_below(run.substr(dash + 1), end);
    if (!first || !last || *last < *first) return std::nullopt;
    std::fill(chosen.begin() + *first, chosen.begin() + *last + 1, !without);
    if (comma == text.size()) break;
    text.remove_prefix(comma + 1);
  }
  std::vector<u32> numbers;
  for (u32 number = 0; number < end; ++number) {
    if (chosen[number]) numbers.push_back(number);
  }
  return numbers;
}

std::vector<std::string> runs_of(const std::vector<u32>& nodes) {
  std::vector<std::string> runs;
  for (std::size_t i = 0; i < nodes.size();) {
    std::size_t end = i + 1;
    while (end < nodes.size() && nodes[end] == nodes[end - 1] + 1) ++end;
    runs.push_back(end == i + 1 ? fmt::format("{}", nodes[i]) : fmt::format("{}-{}", nodes[i], nodes[end - 1]));
    i = end;
  }
  return runs;
}

std::vector<GuestNode> guest_nodes(const Vm& vm) {
  if (!vm.nodes.empty()) return vm.nodes;
  u32 highest = 0;
  for (const Epc& epc : vm.epc) highest = std::max(highest, epc.guest_node.value_or(0));
  const u64 count = highest + 1;
  const u64 unit = vm.memory_kib >= count * 1024 ? 1024 : 1;
  std::vector<GuestNode> nodes(count, {.kib = vm.memory_kib / unit / count * unit, .cpus = {}});
  nodes.front().kib = vm.memory_kib - nodes.back().kib * (count - 1);
  nodes.front().cpus.resize(vm.vcpus);
  std::iota(nodes.front().cpus.begin(), nodes.front().cpus.end(), 0);
  return nodes;
}

bool names_nodes(const Vm& vm) {
  return !vm.nodes.empty() || std::ranges::any_of(vm.epc, [](const Epc& epc) { return epc.guest_node.has_value(); });
}

u64 epc_kib(const Vm& vm) {
  u64 sum = 0;
  for (const Epc& epc : vm.epc) sum += epc.kib;
  return sum;
}

}  // namespace cloister::toolstack::vm
