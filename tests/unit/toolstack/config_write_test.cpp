// Configurations are written as they are read, key by key (docs/configuration.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "config/config.hpp"
#include "config/keys.hpp"

namespace cloister::toolstack {
namespace {

/// A value of each key that is not its default, as it is written.
struct Sample {
  std::string_view key;
  std::string value;
};
const Sample samples[] = {
    {"name", R"("d")"},
    {"uuid", R"("c7a5fdbd-edaf-9455-926a-d65c16db1809")"},
    {"on_host_shutdown", R"("destroy")"},
    {"memory", "64"},
    {"vcpus", "16"},
    {"cpus", R"(["0-3,^1", "nodes:1,^nodes:2-3", "all"])"},
    {"kernel", R"("/boot/\"k\"\\\x0a")"},
    {"ramdisk", R"("r")"},
    {"bootloader", R"("pygrub")"},
    {"bootloader_args", R"(["--kernel=/boot/k", "--ramdisk=/boot/r"])"},
    {"cmdline", R"("console=ttyS0")"},
    {"disk",
     R"(["format=raw,vdev=xvda,access=rw,target=a,b=c.img", "format=qcow2,vdev=sdb,access=ro,backing=qcow2:c,backing=raw:/d,target=/dev/vg/b"])"},
    {"vif",
     R"(["type=user,mac=52:54:00:0a:0b:0c,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp:[::1]:53-:5353,host=allow", "type=user", "bridge=br0,mac=52:54:00:0a:0b:0d,vifname=web,queues=4"])"},
    {"virtio_console", "1"},
    {"rng", "1"},
    {"vsock", R"("cid=7,path=/run/\"a\",b=c.vsock")"},
    {"epc", R"(["size=64,package=1", "size=32"])"},
    {"epc_min", "96"},
    {"epc_paging", R"("trap")"},
    {"epc_weight", "300"},
    {"silicon", R"("Icelake-Server")"},
    {"cpu_flags", R"("sgx,sgx1,-avx512f,rdctl-no")"},
    {"engine", R"("interpreter")"},
    {"cpuid", R"("host,sgx-kss=0,avx2=1")"},
    {"lehash", '"' + std::string(62, '0') + "a1\""},
    {"lewr", "0"},
    {"sgx_provision", "1"},
    {"sgx_platform", R"("group:db")"},
    {"localtime", "1"},
    {"rtc_timeoffset", R"("-3600")"},
    {"on_poweroff", R"("preserve")"},
    {"on_reboot", R"("destroy")"},
    {"on_crash", R"("restart")"},
    {"shutdown_timeout", "0"},
    {"restart_limit", "0"},
    {"restart_window", "86400"},
};
/// Of these nothing is written: there is one type, and the other two become cmdline.
constexpr std::string_view unwritten[] = {"type", "root", "extra"};

std::string line(const Sample& sample) { return std::string(sample.key) + " = " + sample.value + "\n"; }

DomainConfig read(const std::string& text) {
  auto read = read_config(text);
  EXPECT_TRUE(read) << text << (read ? "" : format("", read.error()));
  return read ? read->config : DomainConfig{};
}

/// All keys but these, of which it has the others.
void written_as_read(std::initializer_list<std::string_view> without) {
  std::string all;
  for (const Key& key : keys()) {
    if (std::ranges::count(unwritten, key.name) > 0 || std::ranges::count(without, key.name) > 0) continue;
    const auto* const sample = std::ranges::find(samples, key.name, &Sample::key);
    ASSERT_NE(sample, std::end(samples)) << key.name;
    all += line(*sample);
  }
  DomainConfig config = read(all);
  EXPECT_EQ(write_config(config), all);
  config.where.clear();
  EXPECT_EQ(write_config(config), all) << "for none of the values is the default";
  DomainConfig again = read(write_config(config));
  again.where.clear();
  EXPECT_TRUE(again == config);
}

TEST(WriteConfig, EveryKeyIsWrittenAsItIsRead) {
  written_as_read({"bootloader", "bootloader_args"});
  written_as_read({"kernel", "ramdisk"});
}

TEST(WriteConfig, DefaultsAreWrittenIfTheyWereSaid) {
  const std::string least = "name = \"d\"\nkernel = \"k\"\n", more = least + "epc = 64\nlewr = 1\n";
  EXPECT_EQ(write_config(read(least)), least);
  EXPECT_EQ(write_config(read(more)), more);
  EXPECT_EQ(write_config(read(least + "type = 'pvh'\nroot = '/dev/vda'\nextra = 'ro'\n")),
            "name = \"d\"\ntype = \"pvh\"\nkernel = \"k\"\ncmdline = \"root=/dev/vda ro\"\n");
}

TEST(WriteConfig, KeysStandByThemselves) {
  const DomainConfig config = read("name = 'd'\nkernel = 'k'\nepc = 0x40\n");
  EXPECT_EQ(write_key("epc", config), "epc = 64\n");
  EXPECT_EQ(write_key("lehash", config), "");
}

}  // namespace
}  // namespace cloister::toolstack
