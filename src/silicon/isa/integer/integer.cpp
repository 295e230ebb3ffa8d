// integer_rows(): the rows of the general-purpose instructions in one table (SDM vol. 1, 5.1).
#include "silicon/isa/integer/integer.hpp"

#include <vector>

#include "silicon/isa/integer/rows.hpp"

namespace cloister::silicon {

std::span<const Row> integer_rows() {
  static const std::vector<Row> all = [] {
    std::vector<Row> rows;
    for (const auto part :
         {alu_rows(), move_rows(), condition_rows(), muldiv_rows(), shift_rows(), atomic_rows(), hint_rows()}) {
      rows.insert(rows.end(), part.begin(), part.end());
    }
    return rows;
  }();
  return all;
}

}  // namespace cloister::silicon
