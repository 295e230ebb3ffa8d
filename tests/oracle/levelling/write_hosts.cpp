// Writes dumps of hosts for levelling.py, in the form of `cpuid -r`: each silicon description as it is, then variants
// with bits of the feature words cleared at random, as firmware, microcode and product lines do.
//   oracle_levelling_hosts FOLDER VARIANTS
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <random>
#include <string>

#include "policy/dependence.hpp"
#include "policy/descriptions.hpp"

using namespace cloister;
using namespace cloister::policy;

namespace {

void write(const std::string& path, const CpuidTable& table) {
  std::ofstream file(path);
  file << "CPU 0:\n";
  for (const auto& [where, r] : table.leaves()) {
    file << fmt::format("   0x{:08x} 0x{:02x}: eax=0x{:08x} ebx=0x{:08x} ecx=0x{:08x} edx=0x{:08x}\n", where.first,
                        where.second, r.eax, r.ebx, r.ecx, r.edx);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string folder = argv[1];
  std::mt19937 random(7);
  for (const Description& description : descriptions()) {
    const CpuidTable real = leaves_of(description);
    write(fmt::format("{}/{}.txt", folder, description.name), real);
    for (int variant = 0; variant < std::atoi(argv[2]); ++variant) {
      CpuidTable table = real;
      // From a bit or two to a quarter of them.
      const bool many = random() % 3 == 0;
      const auto some = [&] {
        u32 bits = random() & random();
        if (!many) bits &= random() & random() & random();
        return ~bits;
      };
      for (const u32 leaf : {1u, 7u, 0x8000'0001u}) {
        CpuidRegs r = table.get(leaf, 0);
        if (leaf == 7) r.ebx &= some();
        r.ecx &= some();
        // The least that any model asks for: FPU, VME, DE, PSE.
        constexpr u32 least = 0xf;
        r.edx &= some() | (leaf == 1 ? least : 0);
        table.set(leaf, 0, r);
      }
      // A processor has no feature without its ground; libvirt does not look at that, and we do.
      clear_dependents(table);
      write(fmt::format("{}/{}-{}.txt", folder, description.name, variant), table);
    }
  }
}
