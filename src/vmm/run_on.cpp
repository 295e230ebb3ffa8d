#include "vmm/run_on.hpp"

#include "host/log.hpp"

namespace cloister::toolstack {

void run_on(const CpuSet& cpus, const std::string& domain) {
  if (!run_on_cpus(cpus)) log(LogLevel::warning, "cpus-not-there", {{"domain", domain}, {"cpus", cpu_set_text(cpus)}});
}

}  // namespace cloister::toolstack
