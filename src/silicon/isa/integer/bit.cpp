// bit_rows(): the rows of the bit instructions in one table.
#include "silicon/isa/integer/bit.hpp"

#include <vector>

#include "silicon/isa/integer/rows.hpp"

namespace cloister::silicon {

std::span<const Row> bit_rows() {
  static const std::vector<Row> all = [] {
    std::vector<Row> rows;
    for (const auto part : {bit_test_rows(), bit_count_rows()}) rows.insert(rows.end(), part.begin(), part.end());
    return rows;
  }();
  return all;
}

}  // namespace cloister::silicon
