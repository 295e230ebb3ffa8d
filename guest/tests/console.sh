#!/bin/sh
# What is typed at the console reaches a program.
stty -echo
echo "TEST console: ready"
read -r line
echo "TEST console: read '$line'"
