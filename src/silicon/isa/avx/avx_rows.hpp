// The parts of avx_rows(), each in the file of its name.
#pragma once

#include <span>

#include "silicon/isa/avx/avx.hpp"

namespace cloister::silicon {

std::span<const AvxRow> avx_float_rows();
std::span<const AvxRow> avx_packed_rows();
std::span<const AvxRow> avx_convert_rows();
std::span<const AvxRow> avx_fused_rows();
std::span<const AvxRow> avx_immediate_rows();
std::span<const AvxRow> avx_element_rows();
std::span<const AvxRow> avx_move_rows();
std::span<const AvxRow> avx_test_rows();

// Instructions with handlers of their own.
std::span<const Row> avx_masked_rows();
std::span<const Row> avx_gather_rows();
std::span<const Row> avx_state_rows();

}  // namespace cloister::silicon
