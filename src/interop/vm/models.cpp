// libvirt 9.0's cpu_map and QEMU 7.2's `-cpu help` know the models that descriptions become; Sapphire Rapids' own model
// came with libvirt 9.2 and QEMU 8.0, and Icelake-Client left QEMU with version 7.1.
#include "interop/vm/models.hpp"

#include <algorithm>

namespace cloister::toolstack::vm {

namespace {

constexpr ModelRow rows[] = {
    // Its dump is of before IBRS, and its processor has no TSX.
    {"skylake-client", "Skylake-Client-noTSX-IBRS", "spec-ctrl", ""},
    {"kabylake-client", "Skylake-Client-noTSX-IBRS", "", ""},
    // Westmere is the nearest with no AVX.
    {"gemini-lake", "Westmere-IBRS", "", ""},
    // libvirt's cpu_map gives Coffee Lake's signature to this model.
    {"coffeelake-client", "Skylake-Client-IBRS", "", ""},
    // libvirt 9.0 has MPX in these, which no such processor has.
    {"icelake-client", "Icelake-Server-noTSX", "clwb la57 mpx", ""},
    {"icelake-server", "Icelake-Server", "mpx", ""},
    {"sapphire-rapids", "Icelake-Server", "mpx", ""},

    {"coffeelake-client", "Skylake-Client", "", "spec-ctrl"},
    {"coffeelake-client", "Skylake-Client-noTSX-IBRS", "", "hle rtm"},
    {"icelake-server", "Icelake-Server-noTSX", "mpx", "hle rtm"},
    {"icelake-client", "Icelake-Client", "", ""},
    {"icelake-client", "Icelake-Client-noTSX", "", ""},
    {"sapphire-rapids", "SapphireRapids", "", ""},
};

}  // namespace

std::span<const ModelRow> model_rows() { return rows; }

const ModelRow* row_of_silicon(std::string_view silicon) {
  const auto* const found = std::ranges::find(rows, silicon, &ModelRow::silicon);
  return found == std::end(rows) ? nullptr : found;
}

}  // namespace cloister::toolstack::vm
