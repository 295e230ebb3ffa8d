// A first corpus for domain_xml_fuzz: the document's domain, and generated ones.
#include <fstream>
#include <string>

#include "interop/vm/formats.hpp"
#include "unit/toolstack/vm_domains.hpp"

int main(int count, char** words) {
  using namespace cloister;
  if (count != 2) return 2;
  const std::string folder = words[1];
  std::ofstream(folder + "/document", std::ios::binary) << tests::document_xml;
  for (u32 seed = 0; seed < 8; ++seed) {
    tests::Dice dice(seed);
    std::ofstream(folder + "/generated" + std::to_string(seed), std::ios::binary)
        << toolstack::vm::to_libvirt(tests::any_vm(dice)).text;
  }
  return 0;
}
