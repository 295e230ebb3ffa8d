// The parts of sse_rows() and sse_integer_rows(), each in the file of its name.
#pragma once

#include "silicon/isa/vector/rows.hpp"

namespace cloister::silicon {

std::span<const Row> sse_float_rows();
std::span<const Row> sse_convert_rows();
std::span<const Row> sse_compare_rows();
std::span<const Row> sse_move_rows();
std::span<const Row> sse_estimate_rows();
std::span<const Row> sse_immediate_rows();
std::span<const Row> sse_shuffle_rows();
std::span<const Row> sse_packed_rows();
std::span<const Row> sse_string_rows();
/// Those of isa/avx that are made here.
std::span<const Row> vex_string_rows();
std::span<const Row> sse_insert_rows();
std::span<const Row> mmx_shared_rows();
std::span<const Row> mmx_shift_rows();

}  // namespace cloister::silicon
