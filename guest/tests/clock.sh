#!/bin/sh
# The clock chip: what the kernel found of it, what hwclock reads and writes, and its alarm's interrupt.
. /tests/lib
rtc=/sys/class/rtc/rtc0

dmesg | sed -n 's/.*rtc_cmos .*: \(registered as rtc0\|setting system clock to .*\)/clock      \1/p'
echo "hwclock    $(hwclock -r -u)"

# Whether the chip and the system have the same second, or nearly.
agree() {
  apart=$(($(cat $rtc/since_epoch) - $(date +%s)))
  [ $apart -ge -2 ] && [ $apart -le 2 ] && echo agree || echo "$apart s apart"
}
interrupts() {
  awk '/rtc0/ { for (i = 2; i <= NF; i++) if ($i ~ /^[0-9]+$/) n += $i } END { print n + 0 }' /proc/interrupts
}

hwclock -r -u >/dev/null 2>&1
check_equal hwclock-reads $? 0
check_equal chip-and-system "$(agree)" agree

before=$(interrupts)
echo +1 >$rtc/wakealarm
for second in 1 2 3 4 5 6 7 8 9 10; do
  [ "$(interrupts)" -gt "$before" ] && break
  sleep 1
done
check_equal alarm-interrupts $(($(interrupts) > before)) 1

# Over a leap day.
date -u -s '2028-02-28 23:59:58' >/dev/null
hwclock -w -u
check_equal hwclock-sets $? 0
sleep 3
check_equal chip-and-system-after-it "$(agree)" agree
check_equal leap-day "$(cat $rtc/date)" 2028-02-29
