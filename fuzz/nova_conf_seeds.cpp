// Writes a first corpus for nova_conf_fuzz: what compute hosts have, in oslo.config's forms.
#include <filesystem>
#include <fstream>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  constexpr const char* seeds[] = {
      "[libvirt]\ncpu_mode = custom\ncpu_model = Skylake-Client-IBRS\ncpu_model_extra_flags = sgx,sgxlc,sgx1,-HLE\n",
      "[DEFAULT]\n# comment\n[libvirt]\nvirt_type: kvm\ncpu_models =\n  Haswell,\n\tBroadwell\n",
      "[libvirt]\r\ncpu_mode = \"host-model\"\r\n; comment\r\ncpu_model_extra_flags = +sgx\r\n  sgx1,,\r\n"};
  int number = 0;
  for (const char* seed : seeds)
    std::ofstream(std::filesystem::path(argv[1]) / ("seed" + std::to_string(number++)), std::ios::binary) << seed;
  return 0;
}
