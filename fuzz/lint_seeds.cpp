// Writes a first corpus for lint_fuzz: a file of each format with most of what rules look at.
#include <filesystem>
#include <fstream>
#include <string_view>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  constexpr std::string_view cmdline(
      "qemu\0-cpu\0Haswell,sgx=on\0-cpu\0host,+sgx,+sgxlc\0-sgx-epc\0id=epc1,memdev=mem1\0-numa\0node", 85);
  constexpr std::string_view seeds[] = {
      "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><cpu mode='custom'>"
      "<model>Skylake-Client-IBRS</model><feature policy='require' name='sgx_lc'/><numa><cell/><cell/></numa></cpu>"
      "<devices><memory model='sgx-epc'><source><nodemask>0</nodemask></source><target><size>64</size><node>0</node>"
      "</target></memory></devices><qemu:commandline><qemu:arg value='-cpu'/><qemu:arg value='host,+sgx'/>"
      "<qemu:arg value='-object'/><qemu:arg value='memory-backend-epc,id=mem1,size=64M,prealloc'/></qemu:commandline>"
      "</domain>",
      "[libvirt]\ncpu_mode = none\ncpu_model = Haswell\ncpu_model_extra_flags = sgx,sgxx1,-HLE\n",
      "qemu-system-x86_64 -cpu host,+sgx \\\n -object '{\"qom-type\":\"memory-backend-epc\",\"id\":\"m\"}' \\\n"
      " -object memory-backend-epc,id=n,host-nodes=0,policy=bind -M q35,sgx-epc.0.memdev=m,sgx-epc.1.memdev=x\n",
      cmdline};
  int number = 0;
  for (const std::string_view seed : seeds)
    std::ofstream(std::filesystem::path(argv[1]) / ("seed" + std::to_string(number++)), std::ios::binary) << seed;
  return 0;
}
