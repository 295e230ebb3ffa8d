// The program `cloister-vmm`: one domain. Only cloisterd starts it.
#include <cstdio>
#include <exception>

#include "toolstack/log.hpp"
#include "toolstack/vmm/vmm.hpp"

int main() {
  try {
    cloister::toolstack::set_up_log("cloister-vmm");
    return cloister::toolstack::run_vmm();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cloister-vmm: %s\n", error.what());
    return 1;
  }
}
