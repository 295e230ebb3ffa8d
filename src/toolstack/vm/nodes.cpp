#include "toolstack/vm/nodes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace cloister::toolstack::vm {

namespace {

std::optional<u32> node_number(std::string_view text) {
  u32 node = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), node);
  if (error != std::errc() || stop != text.data() + text.size() || node >= most_host_nodes) return std::nullopt;
  return node;
}

}  // namespace

std::optional<std::vector<u32>> read_nodes(std::string_view text) {
  std::set<u32> nodes;
  while (true) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view run = text.substr(0, comma);
    const bool without = run.starts_with('^');
    if (without) run.remove_prefix(1);
    const std::size_t dash = std::min(run.find('-'), run.size());
    const auto first = node_number(run.substr(0, dash));
    const auto last = dash == run.size() ? first : node_number(run.substr(dash + 1));
    if (!first || !last || *last < *first) return std::nullopt;
    for (u32 node = *first; node <= *last; ++node) {
      if (without) {
        nodes.erase(node);
      } else {
        nodes.insert(node);
      }
    }
    if (comma == text.size()) break;
    text.remove_prefix(comma + 1);
  }
  return std::vector<u32>(nodes.begin(), nodes.end());
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
  u32 highest = 0;
  for (const Epc& epc : vm.epc) highest = std::max(highest, epc.guest_node.value_or(0));
  const u64 count = highest + 1;
  const u64 unit = vm.memory_kib >= count * 1024 ? 1024 : 1;
  std::vector<GuestNode> nodes(count, {.kib = vm.memory_kib / unit / count * unit, .vcpus = 0});
  nodes.front().kib = vm.memory_kib - nodes.back().kib * (count - 1);
  nodes.front().vcpus = vm.vcpus;
  return nodes;
}

bool names_nodes(const Vm& vm) {
  return std::ranges::any_of(vm.epc, [](const Epc& epc) { return epc.guest_node.has_value(); });
}

u64 epc_kib(const Vm& vm) {
  u64 sum = 0;
  for (const Epc& epc : vm.epc) sum += epc.kib;
  return sum;
}

}  // namespace cloister::toolstack::vm
