// The tables of VEX-encoded vector instructions, put together, and found by mnemonic.
#include "silicon/isa/avx/avx_rows.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "silicon/isa/avx/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"

namespace cloister::silicon {
namespace {

std::array<std::span<const AvxRow>, 8> tables() {
  return {avx_float_rows(), avx_packed_rows(),    avx_convert_rows(), avx_fused_rows(),
          avx_move_rows(),  avx_immediate_rows(), avx_element_rows(), avx_test_rows()};
}

using ByMnemonic = std::array<std::array<const AvxRow*, 3>, ZYDIS_MNEMONIC_MAX_VALUE + 1>;

const ByMnemonic& by_mnemonic() {
  static const ByMnemonic all = [] {
    ByMnemonic table{};
    for (const std::span<const AvxRow> rows : tables()) {
      for (const AvxRow& row : rows) {
        auto& of = table[row.mnemonic];
        *std::ranges::find(of, nullptr) = &row;
      }
    }
    return table;
  }();
  return all;
}

bool is_of(const Insn& insn, AvxForm form) {
  const bool immediate = insn.is_imm(insn.visible() - 1), number = insn.is_reg(0) && !is_vector(insn, 0);
  switch (form) {
    case AvxForm::immediate: return immediate;
    case AvxForm::no_immediate: return !immediate;
    case AvxForm::to_number: return number;
    case AvxForm::not_to_number: return !number;
    case AvxForm::from_memory: return insn.has_memory;
    case AvxForm::dword: return insn.bits(number ? 0 : 2) == 32;
    case AvxForm::qword: return insn.bits(number ? 0 : 2) == 64;
    case AvxForm::three: return insn.visible() == 3;
    case AvxForm::not_three: return insn.visible() != 3;
    default: return true;
  }
}

Selected select_row(const Insn& insn, Op& op) {
  for (const AvxRow* const row : by_mnemonic()[insn.info.mnemonic]) {
    if (row != nullptr && is_of(insn, row->form)) return select_avx(insn, op, *row);
  }
  return {};
}

}  // namespace

std::span<const Row> avx_rows() {
  static const std::vector<Row> all = [] {
    std::vector<Row> v;
    const ByMnemonic& table = by_mnemonic();
    for (unsigned m = 0; m < table.size(); ++m) {
      if (table[m][0] != nullptr) v.push_back({static_cast<ZydisMnemonic>(m), select_row});
    }
    for (const auto rows : {avx_masked_rows(), avx_gather_rows(), vex_string_rows(), avx_state_rows()}) {
      v.insert(v.end(), rows.begin(), rows.end());
    }
    return v;
  }();
  return all;
}

}  // namespace cloister::silicon
