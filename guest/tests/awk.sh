#!/bin/sh
# Floating point as awk does it: sums and products that must round as IEEE 754 says, formatting.
. /tests/lib
check_equal sum "$(awk 'BEGIN { for (i = 0; i < 20000; i++) s += 0.1; printf "%.17g", s }')" 1999.9999999992765
check_equal harmonic "$(awk 'BEGIN { for (i = 1; i <= 5000; i++) s += 1 / i; printf "%.17g", s }')" 9.0945088529844043
check_equal modulo "$(awk 'BEGIN { printf "%d %.1f", 1234567 % 89, 5.5 % 2 }')" "48 1.5"
check_equal huge "$(awk 'BEGIN { printf "%g %g", 1e308 * 10, -1e308 * 10 }')" "inf -inf"
check_equal product "$(awk 'BEGIN { p = 1; for (i = 1; i <= 40; i++) p *= i / 3; printf "%.17g", p }')" 6.7111180678201384e+28
check_equal columns "$(awk 'BEGIN { for (i = 0; i < 1000; i++) print i, i / 8 }' | awk '{ s += $1 * $2 } END { printf "%.3f", s }')" 41604187.500
