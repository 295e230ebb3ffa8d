#!/bin/sh
# Halts, which is not a power-off.
echo "TEST halt: about to halt"
halt -f
