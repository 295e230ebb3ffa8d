#!/bin/sh
# Writes vda at random until somebody ends the machine. cloister.blocks=SEED
. /tests/lib
for driver in virtio/virtio_ring virtio/virtio virtio/virtio_pci_legacy_dev virtio/virtio_pci_modern_dev virtio/virtio_pci \
  block/virtio_blk; do
  insmod "/lib/modules/$(uname -r)/kernel/drivers/$driver.ko"
done
exec /tests/programs/scatter /dev/vda "$(sed 's/.*cloister\.blocks=\([0-9]*\).*/\1/' /proc/cmdline)"
