#!/bin/sh
# A source of random bytes on the PCI bus, by the kernel's own driver, also after it was unbound and bound again.
. /tests/lib
for driver in virtio/virtio_ring virtio/virtio virtio/virtio_pci_legacy_dev virtio/virtio_pci_modern_dev virtio/virtio_pci \
  char/hw_random/virtio-rng; do
  insmod "/lib/modules/$(uname -r)/kernel/drivers/$driver.ko"
  check_equal "${driver##*/}" $? 0
done
kind=/sys/class/misc/hw_random

use() {
  check_equal "current$1" "$(cat $kind/rng_current)" "$2"
  dd if=/dev/hwrng of=/tmp/one bs=1000 count=20 iflag=fullblock 2>/dev/null
  dd if=/dev/hwrng of=/tmp/other bs=1000 count=20 iflag=fullblock 2>/dev/null
  check_equal "bytes$1" "$(wc -c </tmp/one) $(wc -c </tmp/other)" "20000 20000"
  cmp -s /tmp/one /tmp/other
  check_equal "differ$1" $? 1
  # Random bytes become no fewer.
  check_equal "random$1" $(($(gzip -c /tmp/one | wc -c) > 19900)) 1
  echo "random $(md5sum </tmp/one)"
}

use "" virtio_rng.0
device=$(basename /sys/bus/virtio/drivers/virtio_rng/virtio[0-9]*)
echo "$device" >/sys/bus/virtio/drivers/virtio_rng/unbind
check_equal unbound "$(cat $kind/rng_current)" none
echo "$device" >/sys/bus/virtio/drivers/virtio_rng/bind
use -again virtio_rng.0
