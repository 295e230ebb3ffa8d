#!/bin/sh
# What Linux found of vector instructions, and a program that is made of them (tests/guest/vectors.c); then an
# enclave whose YMM registers are in use (tests/guest/vector_enclave). The test brings both.
. /tests/lib
echo "FLAGS $(sed -n 's/^flags[^:]*: //p' /proc/cpuinfo | head -n 1)"
/tests/vector-program
check_equal status $? 0
/tests/vector-enclave
check_equal enclave $? 0
