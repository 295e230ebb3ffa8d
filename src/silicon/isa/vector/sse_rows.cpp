// The tables of SSE instructions, put together.
#include "silicon/isa/vector/sse_rows.hpp"

#include <initializer_list>
#include <vector>

#include "silicon/isa/vector/rows.hpp"

namespace cloister::silicon {
namespace {

std::vector<Row> join(std::initializer_list<std::span<const Row>> parts) {
  std::vector<Row> all;
  for (const std::span<const Row> part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace

std::span<const Row> sse_rows() {
  static const std::vector<Row> all =
      join({sse_move_rows(), sse_float_rows(), sse_compare_rows(), sse_convert_rows(), sse_estimate_rows()});
  return all;
}

std::span<const Row> sse_integer_rows() {
  static const std::vector<Row> all = join({mmx_shared_rows(), mmx_shift_rows(), sse_packed_rows(), sse_shuffle_rows(),
                                            sse_immediate_rows(), sse_insert_rows(), sse_string_rows()});
  return all;
}

}  // namespace cloister::silicon
