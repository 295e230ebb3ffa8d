// What is read is checked as far as arithmetic on it depends on it; whose frames they are is another question.
#include "protocol/epc_frames.hpp"

namespace cloister::toolstack {

namespace {
constexpr u64 frames_end = u64{1} << 40;  // 52 physical bits
}

nlohmann::json frames_json(std::span<const vmx::EpcSection> frames) {
  nlohmann::json list = nlohmann::json::array();
  for (const vmx::EpcSection& row : frames) list.push_back({row.first.value, row.pages});
  return list;
}

tl::expected<EpcFrames, std::string> read_frames(const nlohmann::json& list) {
  const auto wrong = [] { return tl::unexpected(std::string("'frames': expected ascending rows of frames")); };
  if (!list.is_array() || list.size() > most_epc_rows) return wrong();
  EpcFrames frames;
  u64 end = 0;
  for (const nlohmann::json& row : list) {
    if (!row.is_array() || row.size() != 2 || !row[0].is_number_unsigned() || !row[1].is_number_unsigned())
      return wrong();
    const u64 first = row[0].get<u64>(), pages = row[1].get<u64>();
    if (pages == 0 || first < end || first >= frames_end || pages > frames_end - first) return wrong();
    frames.push_back({arch::Mfn{first}, pages});
    end = first + pages;
  }
  return frames;
}

}  // namespace cloister::toolstack
