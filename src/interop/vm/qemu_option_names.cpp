// The options of QEMU for x86 (qemu-options.hx) that take a value, as far back as QEMU 2; those that take none are
// told by qemu_options(), which must know them to find the values.
#include "interop/vm/among.hpp"
#include "interop/vm/qemu_options.hpp"

namespace cloister::toolstack::vm {

namespace {

constexpr std::string_view with_value[] = {"machine",     "M",
                                           "accel",       "cpu",
                                           "smp",         "numa",
                                           "add-fd",      "set",
                                           "global",      "boot",
                                           "m",           "mem-path",
                                           "k",           "audio",
                                           "audiodev",    "soundhw",
                                           "device",      "name",
                                           "uuid",        "fda",
                                           "fdb",         "hda",
                                           "hdb",         "hdc",
                                           "hdd",         "cdrom",
                                           "blockdev",    "drive",
                                           "mtdblock",    "sd",
                                           "pflash",      "fsdev",
                                           "virtfs",      "iscsi",
                                           "usbdevice",   "display",
                                           "spice",       "rotate",
                                           "vga",         "g",
                                           "vnc",         "acpitable",
                                           "smbios",      "netdev",
                                           "nic",         "net",
                                           "chardev",     "tpmdev",
                                           "kernel",      "shim",
                                           "initrd",      "append",
                                           "dtb",         "bt",
                                           "fw_cfg",      "serial",
                                           "parallel",    "monitor",
                                           "qmp",         "qmp-pretty",
                                           "mon",         "debugcon",
                                           "pidfile",     "overcommit",
                                           "gdb",         "d",
                                           "D",           "dfilter",
                                           "seed",        "L",
                                           "bios",        "option-rom",
                                           "rtc",         "icount",
                                           "watchdog",    "watchdog-action",
                                           "echr",        "virtioconsole",
                                           "incoming",    "chroot",
                                           "runas",       "run-with",
                                           "prom-env",    "semihosting-config",
                                           "sandbox",     "readconfig",
                                           "writeconfig", "trace",
                                           "plugin",      "qtest",
                                           "qtest-log",   "async-teardown",
                                           "msg",         "dump-vmstate",
                                           "object",      "balloon",
                                           "startdate",   "compat",
                                           "action",      "xen-domid",
                                           "xen-attach",  "tb-size",
                                           "realtime",    "sgx-epc",
                                           "sgx"};

}  // namespace

bool is_qemu_option(std::string_view word) {
  if (word.size() < 2 || word.front() != '-') return false;
  word.remove_prefix(word.starts_with("--") ? 2 : 1);
  return among(word, with_value) || is_qemu_switch(word);
}

}  // namespace cloister::toolstack::vm
