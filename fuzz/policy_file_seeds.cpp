// A first corpus for policy_file_fuzz: a policy in each format.
#include <fstream>
#include <string>

int main(int count, char** words) {
  if (count != 2) return 2;
  const std::string folder = words[1];
  const auto write = [&](const char* name, const char* text) {
    std::ofstream(folder + "/" + name, std::ios::binary) << text;
  };
  write("names", "Skylake-Client-IBRS,sgx=on,+sgxlc,-avx2,sgx_provisionkey");
  write("json", R"({"sgx": {"flags": ["sgx", "sgx1"], "xfrm": "0x1b", "log2_size_32": 31, "log2_size_64": 36,
    "launch": {"hash": "one", "lepubkeyhash":
    "00000000000000000000000000000000000000000000000000000000000000ff", "writable": true}},
    "cpu": {"vendor": "Intel", "model": "Skylake-Client-IBRS", "features": [{"name": "sgx", "policy": "require"}]}})");
  write("cpu", "<cpu mode='custom'><model>Skylake-Client-IBRS</model><feature policy='require' name='sgx'/></cpu>");
  write("domain",
        "<domain type='kvm'><name>a</name><memory>1024</memory><cpu mode='host-passthrough'/><devices>"
        "<memory model='sgx-epc'><target><size unit='MiB'>32</size></target></memory></devices></domain>");
  write("nova", "[libvirt]\ncpu_mode = custom\ncpu_models = Skylake-Client-IBRS\ncpu_model_extra_flags = sgx,-sgxlc\n");
  write("qemu", "qemu-system-x86_64 -cpu host,sgx=on -object memory-backend-epc,id=e,size=64M -M sgx-epc.0.memdev=e\n");
  write("configuration",
        "name = \"a\"\nkernel = \"k\"\nepc = 64\nsilicon = \"icelake-client\"\ncpuid = \"host,sgx2=0\"\n");
  return 0;
}
