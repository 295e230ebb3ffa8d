#!/bin/sh
# Restarts the machine: through ACPI, or with a triple fault when the kernel's command line has reboot=triple.
echo "TEST restart: about to reset"
reboot -f
