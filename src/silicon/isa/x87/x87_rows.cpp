// The table of x87 instructions, put together.
#include <vector>

#include "silicon/isa/x87/x87_select.hpp"

namespace cloister::silicon {

std::span<const Row> x87_rows() {
  static const std::vector<Row> all = [] {
    std::vector<Row> rows;
    for (const std::span<const Row> part : {x87_arith_rows(), x87_compare_rows(), x87_load_rows(), x87_store_rows(),
                                            x87_stack_rows(), x87_transcendental_rows(), x87_env_rows()}) {
      rows.insert(rows.end(), part.begin(), part.end());
    }
    return rows;
  }();
  return all;
}

}  // namespace cloister::silicon
