#!/bin/sh
# Sockets between the guest and its host, by the kernel's own driver: both call each other, several at once and with much
# to say. What is on the command line is the host's to know: the guest's number, and how many bytes.
. /tests/lib
for driver in drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_legacy_dev \
  drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci net/vmw_vsock/vsock \
  net/vmw_vsock/vmw_vsock_virtio_transport_common net/vmw_vsock/vmw_vsock_virtio_transport; do
  insmod "/lib/modules/$(uname -r)/kernel/$driver.ko"
  check_equal "${driver##*/}" $? 0
done
said() { sed -n "s/.*cloister\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }
vsock=/tests/programs/vsock

use() {
  check_equal "cid$1" "$($vsock cid)" "$(said cid)"
  $vsock call 5009 1 1 >/dev/null
  check_equal "refused$1" $? 104
  $vsock call 5000 "$2" 3
  check_equal "called$1" $? 0
  $vsock serve 7000 3
  check_equal "served$1" $? 0
}

use "" "$(said bytes)"
driver=/sys/bus/virtio/drivers/vmw_vsock_virtio_transport
device=$(basename $driver/virtio[0-9]*)
echo "$device" >$driver/unbind
$vsock call 5000 1 1 >/dev/null
check_equal unbound $(($? != 0)) 1
echo "$device" >$driver/bind
use -again 100000

# Who listens for the date, should it be wrong afterwards.
$vsock date 123 &
date=$!
# One that is open when the host, or the machine, is another.
$vsock hold 5001
echo "held until $?"
$vsock call 5000 100000 3
check_equal called-afterwards $? 0
case $(cat /proc/cmdline) in
  *cloister.date=told*) # and then it has something that answers as sshd
    wait $date
    check_equal told $? 0
    $vsock serve 22 2
    check_equal logged-in $? 0
    ;;
esac
