// Cloud Hypervisor's command line as a Vm: its guests have the host's processor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "interop/vm/formats.hpp"
#include "interop/vm/kinds.hpp"
#include "interop/vm/provision.hpp"

namespace cloister::toolstack::vm {
namespace {

using ::testing::HasSubstr;

tl::expected<ReadVm, Diagnostic> read(const std::string& text) {
  const auto argv = read_argv(text);
  EXPECT_TRUE(argv);
  return from_command(*argv);
}

TEST(FromCloudHypervisor, TakesWhatItSaysOfProcessorAndEpc) {
  const auto domain = read(
      "sudo ./cloud-hypervisor \\\n  --cpus boot=2 \\\n --memory size=1G,shared=on --disk path=focal.raw path=b.raw "
      "\\\n"
      "  --kernel vmlinux --initramfs rd --cmdline \"console=hvc0 root=/dev/vda1 rw\" --serial tty -v \\\n"
      "  --platform uuid=c7a5fdbd-edaf-9455-926a-d65c16db1809 --sgx-epc id=epc0,size=64M,prefault=on "
      "id=epc1,size=32M\n");
  ASSERT_TRUE(domain) << format("", domain.error());
  const Vm& vm = domain->vm;
  EXPECT_EQ(vm.type, "kvm");
  EXPECT_EQ(vm.vcpus, 2u);
  EXPECT_EQ(vm.memory_kib, 1u << 20);
  EXPECT_EQ(vm.kernel, "vmlinux");
  EXPECT_EQ(vm.ramdisk, "rd");
  EXPECT_EQ(vm.cmdline, "console=hvc0 root=/dev/vda1 rw");
  EXPECT_EQ(vm.uuid, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
  EXPECT_EQ(vm.cpu.mode, CpuMode::host_passthrough);
  EXPECT_TRUE(has_feature(vm.cpu, "sgx"));
  EXPECT_EQ(vm.provision, true);
  ASSERT_EQ(vm.epc.size(), 2u);
  EXPECT_EQ(vm.epc[0].kib, 65536u);
  EXPECT_TRUE(vm.epc[0].prealloc);
  EXPECT_EQ(vm.epc[1].kib, 32768u);
  EXPECT_FALSE(vm.epc[1].prealloc);
  std::vector<std::string> ignored;
  for (const Diagnostic& d : domain->ignored) ignored.push_back(std::to_string(d.at.line) + ":" + d.message);
  EXPECT_EQ(ignored,
            (std::vector<std::string>{"4:'shared' of '--memory' is ignored", "6:the option '--disk' is ignored",
                                      "7:the option '--disk' is ignored", "16:the option '-v' is ignored"}));
}

TEST(FromCloudHypervisor, HasDefaultsAndNoSgxWithoutEpc) {
  const auto domain = read("/usr/bin/cloud-hypervisor --kernel=vmlinux");
  ASSERT_TRUE(domain);
  EXPECT_EQ(domain->vm.memory_kib, 512u << 10);
  EXPECT_EQ(domain->vm.vcpus, 1u);
  EXPECT_EQ(domain->vm.kernel, "vmlinux");
  EXPECT_EQ(domain->vm.provision, std::nullopt);
  EXPECT_FALSE(has_feature(domain->vm.cpu, "sgx"));
}

TEST(FromCloudHypervisor, WhatIsWrongIsAnErrorWithTheNumberOfItsArgument) {
  const std::pair<const char*, const char*> cases[] = {
      {"--sgx-epc id=a", "2:1: '--sgx-epc': a section has no size"},
      {"--sgx-epc id=a,size=64X", "2:6: '--sgx-epc': found '64X', expected a size such as '64M'"},
      {"--sgx-epc size=1M,prefault=maybe", "2:9: '--sgx-epc': found 'maybe', expected 'on' or 'off'"},
      {"--cpus boot=0", "2:1: '--cpus': found '0', expected a number from 1 to 4096"},
      {"--memory size=12", "2:1: '--memory': found '12', expected a size such as '64M'"},
      {"--cpus boot=1 --kernel", "3:1: '--kernel': the value is missing"},
      {"--sgx-epc", "1:1: '--sgx-epc': a section has no size"},
  };
  for (const auto& [text, message] : cases) {
    const auto domain = read(std::string("cloud-hypervisor ") + text);
    ASSERT_FALSE(domain) << text;
    EXPECT_THAT(format("f", domain.error()), HasSubstr(message)) << text;
  }
}

TEST(FromCloudHypervisor, IsACommandByTheNameOfItsProgram) {
  EXPECT_TRUE(is_command("RUST_BACKTRACE=1 ./target/release/cloud-hypervisor --cpus boot=1"));
  EXPECT_EQ(cloud_hypervisor_of({"qemu-system-x86_64", "-name", "cloud-hypervisor"}), std::nullopt);
  EXPECT_EQ(cloud_hypervisor_of({"x", "/a/cloud-hypervisor", "--kernel"}), 1u);
}

}  // namespace
}  // namespace cloister::toolstack::vm
