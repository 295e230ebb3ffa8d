// The machine in numbers, for Prometheus.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "daemon/domains.hpp"
#include "host/mutex.hpp"

namespace cloister::toolstack {

/// Requests by method and the status of their answer. Any thread.
class RequestCounts {
 public:
  using Counts = std::map<std::pair<std::string, int>, u64>;
  void add(const std::string& method, int status);
  Counts counts() const;

 private:
  mutable Mutex lock_;
  Counts counts_ CLOISTER_GUARDED_BY(lock_);
};

/// Prometheus' text format, version 0.0.4.
std::string metrics(const MachineEpcInfo& epc, const std::vector<DomainInfo>& domains,
                    const DefinitionCounts& definitions, const std::vector<KeyInfo>& keys,
                    const RequestCounts::Counts& requests);

}  // namespace cloister::toolstack
