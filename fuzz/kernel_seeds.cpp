// The first corpus of kernel_fuzz.cpp: small kernels of each kind, whole and as payloads.
#include <filesystem>
#include <fstream>

#include "unit/platform/kernel_files.hpp"

int main(int argc, char** argv) {
  using namespace cloister::test;
  if (argc != 2) return 2;
  const std::filesystem::path folder(argv[1]);
  std::filesystem::create_directories(folder);
  auto save = [&](const std::string& name, const Bytes& bytes) {
    std::ofstream file(folder / name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!file.flush()) std::exit(1);
  };
  const Bytes elf = make_elf({.text_bytes = 0x40});
  save("elf64", elf);
  save("elf32", make_elf({.wide = false, .text_bytes = 0x40}));
  save("note8", make_elf({.text_bytes = 0x40, .descriptor_bytes = 8}));
  for (Compression how : compressions) {
    save(name_of(how), pack(how, elf));
    save(std::string("bzimage.") + name_of(how), make_bzimage(pack(how, elf)));
  }
}
