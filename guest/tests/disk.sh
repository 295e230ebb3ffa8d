#!/bin/sh
# Disks on the PCI bus, by the kernel's own drivers: vda, which can be written, and vdb, which cannot.
. /tests/lib
for driver in virtio/virtio_ring virtio/virtio virtio/virtio_pci_legacy_dev virtio/virtio_pci_modern_dev virtio/virtio_pci \
  block/virtio_blk; do
  insmod "/lib/modules/$(uname -r)/kernel/drivers/$driver.ko"
  check_equal "${driver#*/}" $? 0
done

# The pattern is the same in each run; what has been written is not in the page cache when it is read.
pattern() { seq 1 1000000 | head -c 4194304; }
sum() { md5sum | cut -d ' ' -f 1; }
forget() { echo 3 >/proc/sys/vm/drop_caches; }
expected=$(pattern | sum)

check_equal serial "$(cat /sys/block/vda/serial) $(cat /sys/block/vdb/serial)" "xvda xvdb"
mkdir -p /mnt
check_equal size "$(blockdev --getsize64 /dev/vda) $(blockdev --getsize64 /dev/vdb)" "67108864 1048576"
check_equal read-only "$(cat /sys/block/vda/ro) $(cat /sys/block/vdb/ro)" "0 1"
check_equal cache "$(cat /sys/block/vda/queue/write_cache)" "write back"
echo "disk vdb $(sum </dev/vdb)"
dd if=/dev/zero of=/dev/vdb bs=512 count=1 conv=fsync 2>/dev/null
check_equal vdb-stays $(($? != 0)) 1

case $(cat /proc/cmdline) in
  *cloister.disk=again*)
    check_equal found-again "$(dd if=/dev/vda bs=64k skip=256 count=64 2>/dev/null | sum)" "$expected"
    exit
    ;;
esac

pattern | dd of=/dev/vda bs=64k seek=256 conv=fsync 2>/dev/null
check_equal written $? 0
forget
check_equal read-back "$(dd if=/dev/vda bs=64k skip=256 count=64 2>/dev/null | sum)" "$expected"

# Unbound and bound again, the device begins anew.
device=$(basename "$(readlink -f /sys/block/vda/device)")
echo "$device" >/sys/bus/virtio/drivers/virtio_blk/unbind
check_equal unbound "$(ls /sys/block)" vdb
echo "$device" >/sys/bus/virtio/drivers/virtio_blk/bind
check_equal bound-again "$(dd if=/dev/vda bs=64k skip=256 count=64 2>/dev/null | sum)" "$expected"

mke2fs /dev/vda 8192 >/dev/null 2>&1
mount -t ext4 /dev/vda /mnt
check_equal mounted $? 0
pattern >/mnt/file
mkdir /mnt/folder
umount /mnt
forget
mount -t ext4 /dev/vda /mnt
check_equal file "$(sum </mnt/file) $(ls -d /mnt/folder)" "$expected /mnt/folder"
rm /mnt/file
fstrim /mnt
check_equal trimmed $? 0
umount /mnt

dd if=/dev/urandom of=/dev/vda bs=1M seek=40 count=2 conv=fsync 2>/dev/null
blkdiscard -o 41943040 -l 1048576 /dev/vda
check_equal discarded $? 0

# Asleep the disk keeps what it was told; the driver begins anew when it wakes.
case $(cat /proc/cmdline) in
  *cloister.disk=asleep*)
    echo "TEST disk: falls asleep"
    echo mem >/sys/power/state
    check_equal awake $? 0
    forget
    check_equal after-sleep "$(dd if=/dev/vda bs=64k skip=256 count=64 2>/dev/null | sum)" "$expected"
    ;;
esac

pattern | dd of=/dev/vda bs=64k seek=512 conv=fsync 2>/dev/null
echo "TEST disk: flushed"
# Whoever reads this kills it; until then it writes on.
while :; do dd if=/dev/zero of=/dev/vda bs=64k seek=900 count=16 conv=fsync 2>/dev/null; done
