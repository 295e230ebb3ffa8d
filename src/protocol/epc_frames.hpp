// Rows of machine frames in packets of the control protocol: [[first,pages],…], so short that a thousand fit.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "vmx/package.hpp"

namespace cloister::toolstack {

using EpcFrames = std::vector<vmx::EpcSection>;

/// In one packet.
inline constexpr std::size_t most_epc_rows = 1000;
/// That are given back in answer to one.
inline constexpr u64 most_epc_pages = 64;

nlohmann::json frames_json(std::span<const vmx::EpcSection> frames);
/// Ascending and disjoint, or an error.
tl::expected<EpcFrames, std::string> read_frames(const nlohmann::json& list);

}  // namespace cloister::toolstack
