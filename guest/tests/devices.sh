#!/bin/sh
# A disk and an interface on a bridge, both at work: who connects to port 7000 has back what it sends, and vda is written at
# random, as blocks.sh says, until somebody ends the machine.
. /tests/lib
load_network
ip addr add 10.99.0.2/24 dev eth0
ip link set eth0 up
nc -ll -p 7000 -e /bin/cat &
echo "TEST devices: listens"
exec /tests/blocks
