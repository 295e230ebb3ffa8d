#!/bin/sh
# A console on the PCI bus, by the kernel's own driver, also after it was unbound and bound again; the serial port is heard
# while nobody drives it.
. /tests/lib
listen() {
  stty -echo <"/dev/$1"
  echo "TEST console: $1 listens"
  read -r line <"/dev/$1"
  echo "TEST console: $1 read '$line'"
}
listen ttyS0
for driver in virtio/virtio_ring virtio/virtio virtio/virtio_pci_legacy_dev virtio/virtio_pci_modern_dev virtio/virtio_pci \
  char/virtio_console; do
  insmod "/lib/modules/$(uname -r)/kernel/drivers/$driver.ko"
  check_equal "${driver##*/}" $? 0
done
[ -e /dev/hvc0 ] || sleep 1
listen hvc0
for n in $(seq 200); do echo "hvc0 prints $n"; done >/dev/hvc0
driver=/sys/bus/virtio/drivers/virtio_console
device=$(basename $driver/virtio[0-9]*)
echo "$device" >$driver/unbind
check_equal unbound "$(ls -d $driver/virtio[0-9]* 2>/dev/null)" ""
echo "$device" >$driver/bind
[ -e /dev/hvc0 ] || sleep 1
listen hvc0
echo "$device" >$driver/unbind
listen ttyS0
