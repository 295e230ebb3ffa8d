#!/bin/sh
# A network interface on the PCI bus, by the kernel's own driver: an address by DHCP, and TCP both ways. What it is told
# on the command line is the host's to know: mac, port (of a server on the host's loopback), sum (of its file), host.
. /tests/lib
load_network
said() { sed -n "s/.*cloister\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

cat >/tmp/dhcp <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
for one in $router; do ip route add default via "$one" dev "$interface"; done
END
cat >/tmp/answer <<'END'
#!/bin/sh
read -r heard
echo "heard $heard"
END
chmod 755 /tmp/dhcp /tmp/answer
ip link set lo up

use() {
  check_equal "mac$1" "$(cat /sys/class/net/eth0/address)" "$(said mac)"
  ip link set eth0 up
  check_equal "carrier$1" "$(cat /sys/class/net/eth0/carrier)" 1
  udhcpc -i eth0 -n -q -f -t 10 -s /tmp/dhcp >/dev/null 2>&1
  check_equal "dhcp$1" $? 0
  gateway=$(ip route | sed -n 's/^default via \([^ ]*\).*/\1/p')
  case $(said host) in
    allow)
      sum=$(timeout 60 wget -q -O - "http://$gateway:$(said port)/file" | md5sum)
      check_equal "fetched$1" "${sum%% *}" "$(said sum)"
      ;;
    *)
      timeout 10 wget -q -O /tmp/fetched "http://$gateway:$(said port)/file" 2>/dev/null
      check_equal "host-out-of-reach$1" "$(test -s /tmp/fetched || echo nothing)" nothing
      ;;
  esac
  nc -l -p 7000 -e /tmp/answer &
  until netstat -ltn | grep -q ':7000 '; do sleep 0.1; done
  echo "TEST net: listens"
  wait
}

use
device=$(basename "$(readlink -f /sys/class/net/eth0/device)")
echo "$device" >/sys/bus/virtio/drivers/virtio_net/unbind
check_equal unbound "$(ls /sys/class/net)" lo
echo "$device" >/sys/bus/virtio/drivers/virtio_net/bind
use -again

echo "TEST net: loses its link"
until [ "$(cat /sys/class/net/eth0/operstate)" = down ]; do sleep 0.1; done
check_equal no-carrier "$(cat /sys/class/net/eth0/carrier)" 0
