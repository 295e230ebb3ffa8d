#!/bin/sh
# What Linux found of vector instructions, and a program that is made of them (tests/guest/vectors.c, which the test brings).
. /tests/lib
echo "FLAGS $(sed -n 's/^flags[^:]*: //p' /proc/cpuinfo | head -n 1)"
/tests/vector-program
check_equal status $? 0
