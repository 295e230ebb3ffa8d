// The parts that bit_rows() is made of.
#pragma once

#include "silicon/isa/integer/rows.hpp"

namespace cloister::silicon {

std::span<const Row> bit_test_rows();   ///< bit_string.cpp: BT BTS BTR BTC
std::span<const Row> bit_count_rows();  ///< bit_count.cpp: BSF … PEXT, CRC32, ADCX, ADOX

}  // namespace cloister::silicon
