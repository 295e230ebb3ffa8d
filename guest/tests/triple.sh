#!/bin/sh
# Ends the machine with a triple fault, which is how Linux restarts under reboot=triple.
echo "TEST triple: about to fault"
reboot -f
