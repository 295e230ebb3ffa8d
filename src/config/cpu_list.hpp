// Which of the host's processors a domain may run on, as the key `cpus` says it (xl.cfg(5)): "all", or parts with
// commas between them, each a number, a range, or nodes, that are in or, with ^ before them, out.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"

namespace cloister::toolstack {

struct CpuPart {
  bool out = false, nodes = false;
  u32 first = 0, last = 0;
  bool operator==(const CpuPart&) const = default;
};
/// Empty: all.
using CpuList = std::vector<CpuPart>;

/// The error says what was expected.
tl::expected<CpuList, std::string> read_cpu_list(std::string_view text);
std::string to_text(const CpuList& list);

/// Of a domain. Both empty: it may run anywhere.
struct CpuPlaces {
  CpuList all{};                   ///< each processor's
  std::vector<CpuList> of_vcpu{};  ///< the first ones'; the others may run anywhere
  bool operator==(const CpuPlaces&) const = default;
};

}  // namespace cloister::toolstack
