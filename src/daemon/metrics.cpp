// A family is a name, a type, a sentence, and samples; names follow Prometheus' conventions (base units, _total for
// counters). Counters of a domain start again with it. prometheus-cpp writes them; its registries are not used, since
// every number is read where it is kept.
#include "daemon/metrics.hpp"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "daemon/sgx_names.hpp"
#include "vmx/diagnostics.hpp"

namespace cloister::toolstack {

namespace {

namespace diagnostics = vmx::diagnostics;
using prometheus::MetricType;
using Labels = std::vector<prometheus::ClientMetric::Label>;

class Families {
 public:
  void family(const char* name, MetricType type, const char* help) { all_.push_back({name, help, type, {}}); }
  /// Of the family that was named last.
  template <class Value>
  void sample(Labels labels, Value value) {
    prometheus::ClientMetric metric;
    metric.label = std::move(labels);
    auto& family = all_.back();
    (family.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = static_cast<double>(value);
    family.metric.push_back(std::move(metric));
  }
  void histogram(Labels labels, const DiskFigures& disk) {
    prometheus::ClientMetric metric;
    metric.label = std::move(labels);
    u64 sum = 0;
    for (const DiskFigures::Bucket& one : disk.latency) {
      sum += one.requests;
      const double bound =
          one.at_most_us ? static_cast<double>(*one.at_most_us) / 1e6 : std::numeric_limits<double>::infinity();
      metric.histogram.bucket.push_back({.cumulative_count = sum, .upper_bound = bound});
    }
    metric.histogram.sample_count = sum;
    metric.histogram.sample_sum = disk.seconds;
    all_.back().metric.push_back(std::move(metric));
  }
  std::string text() const { return prometheus::TextSerializer().Serialize(all_); }

 private:
  std::vector<prometheus::MetricFamily> all_;
};

void machine_metrics(Families& to, const MachineEpcInfo& epc) {
  to.family("cloister_epc_pages", MetricType::Gauge, "Pages of the machine's EPC, 4 KiB each, by package and state.");
  for (const PackageEpc& package : epc.packages) {
    const auto sample = [&](const char* state, u64 pages) {
      to.sample({{"package", std::to_string(package.package)}, {"state", state}}, pages);
    };
    sample("free", package.count.free);
    sample("granted", package.count.granted);
    sample("withdrawn", package.count.withdrawn);
  }
}

void bound_metrics(Families& to, const MachineEpcInfo& epc) {
  to.family("cloister_epc_beyond_total", MetricType::Counter,
            "Domains that were ended since their EPC took memory of the host's beyond what was theirs.");
  to.sample({}, epc.ended);
}

void count_states(Families& to, const std::vector<DomainInfo>& domains) {
  to.family("cloister_domains", MetricType::Gauge, "Domains by state.");
  std::map<std::string, u64> states{{"arriving", 0}, {"creating", 0}, {"ending", 0}, {"unresponsive", 0}};
  for (const DomainState state : domain_states) states[name_of(state)] = 0;
  for (const auto& d : domains) ++states[d.state];
  for (const auto& [state, count] : states) to.sample({{"state", state}}, count);
}

void definition_metrics(Families& to, const DefinitionCounts& definitions) {
  to.family("cloister_definitions", MetricType::Gauge, "Domains that are defined, by their autostart word.");
  for (const Autostart word : {Autostart::off, Autostart::on, Autostart::last})
    to.sample({{"autostart", std::string(name_of(word))}}, definitions.by_word[static_cast<std::size_t>(word)]);
  to.family("cloister_definitions_shut_off", MetricType::Gauge, "Domains that are defined and do not live.");
  to.sample({}, definitions.shut_off);
  to.family("cloister_autostart_failed", MetricType::Gauge,
            "Domains that could not be started since the host came up, and have not been since.");
  to.sample({}, definitions.failed);
}

void key_metrics(Families& to, const std::vector<KeyInfo>& keys) {
  to.family("cloister_keys", MetricType::Gauge, "Keys of domains and of groups that are kept, by kind.");
  u64 groups = 0, unread = 0;
  for (const KeyInfo& key : keys) {
    groups += key.key.kind == KeyName::Kind::group ? 1 : 0;
    unread += key.unread.empty() ? 0 : 1;
  }
  to.sample({{"kind", "domain"}}, keys.size() - groups);
  to.sample({{"kind", "group"}}, groups);
  to.family("cloister_keys_unread", MetricType::Gauge, "Keys whose files cannot be understood.");
  to.sample({}, unread);
}

/// One sample for each domain.
template <class Value>
void by_domain(Families& to, const std::vector<DomainInfo>& domains, const char* name, MetricType type,
               const char* help, Value value) {
  to.family(name, type, help);
  for (const auto& d : domains) to.sample({{"domain", d.name}}, value(d));
}

void domain_metrics(Families& to, const std::vector<DomainInfo>& domains) {
  to.family("cloister_domain_epc_pages", MetricType::Gauge, "EPC pages that a domain was granted, by package.");
  for (const auto& d : domains) {
    std::map<u32, u64> pages;
    for (const auto& grant : d.grants) {
      for (const auto& extent : grant.extents) pages[grant.package] += extent.pages;
    }
    for (const auto& [package, count] : pages)
      to.sample({{"domain", d.name}, {"package", std::to_string(package)}}, count);
  }
  by_domain(to, domains, "cloister_domain_cpu_seconds_total", MetricType::Counter, "Time on the host's processors.",
            [](const auto& d) { return d.cpu_seconds; });
  by_domain(to, domains, "cloister_domain_instructions_total", MetricType::Counter, "Guest instructions retired.",
            [](const auto& d) { return d.instructions; });
  by_domain(to, domains, "cloister_domain_restarts_total", MetricType::Counter, "How often the guest started again.",
            [](const auto& d) { return d.restarts; });
  to.family("cloister_domain_exits_total", MetricType::Counter, "VM exits by basic exit reason.");
  for (const auto& d : domains) {
    if (d.page == nullptr) continue;
    const auto& exits = d.page->counts().exits;
    for (std::size_t reason = 0; reason < exits.size(); ++reason) {
      const u64 count = exits[reason].load(std::memory_order_relaxed);
      const char* name = vmx::name_of(static_cast<vmx::ExitReason>(reason));
      if (count != 0) to.sample({{"domain", d.name}, {"reason", name}}, count);
    }
  }
}

void balloon_metrics(Families& to, const std::vector<DomainInfo>& domains) {
  const auto each = [&](const char* name, const char* help, auto value) {
    to.family(name, MetricType::Gauge, help);
    for (const auto& d : domains) {
      if (d.balloon) to.sample({{"domain", d.name}}, value(*d.balloon));
    }
  };
  each("cloister_domain_epc_balloon_target_pages", "EPC pages that a domain's guest is asked to have.",
       [](const Balloon& balloon) { return balloon.target; });
  each("cloister_domain_epc_given_pages", "EPC pages that it has given back, and not taken again.",
       [](const Balloon& balloon) { return balloon.given; });
  each("cloister_domain_epc_lacking_pages", "EPC pages that it takes again, and for which there is no frame yet.",
       [](const Balloon& balloon) { return balloon.lacks(); });
}

/// value(labels, device) for each device of a list, by its domain and its name there.
template <class List, class Name, class Value>
void by_device(const std::vector<DomainInfo>& domains, List list, const char* label, Name name, Value value) {
  for (const auto& d : domains) {
    if (!d.devices) continue;
    const auto& devices = (*d.devices).*list;
    for (std::size_t i = 0; i < devices.size(); ++i) value({{"domain", d.name}, {label, name(devices, i)}}, devices[i]);
  }
}

void disk_metrics(Families& to, const std::vector<DomainInfo>& domains) {
  const auto each = [&](auto value) {
    by_device(
        domains, &DeviceFigures::disks, "disk", [](const auto& all, std::size_t i) { return all[i].vdev; }, value);
  };
  const auto with = [](Labels labels, const char* label, const char* word) {
    labels.push_back({label, word});
    return labels;
  };
  to.family("cloister_domain_disk_requests_total", MetricType::Counter, "Requests of a domain's disks that were done.");
  each([&](const Labels& labels, const DiskFigures& disk) {
    to.sample(with(labels, "request", "read"), disk.reads);
    to.sample(with(labels, "request", "write"), disk.writes);
    to.sample(with(labels, "request", "flush"), disk.flushes);
    to.sample(with(labels, "request", "clear"), disk.clears);
  });
  to.family("cloister_domain_disk_bytes_total", MetricType::Counter, "Bytes that were read from them, and written.");
  each([&](const Labels& labels, const DiskFigures& disk) {
    to.sample(with(labels, "direction", "read"), disk.read_bytes);
    to.sample(with(labels, "direction", "written"), disk.written_bytes);
  });
  to.family("cloister_domain_disk_errors_total", MetricType::Counter, "Requests among them that failed.");
  each([&](const Labels& labels, const DiskFigures& disk) { to.sample(labels, disk.errors); });
  to.family("cloister_domain_disk_request_seconds", MetricType::Histogram, "How long they took.");
  each([&](const Labels& labels, const DiskFigures& disk) { to.histogram(labels, disk); });
}

void interface_metrics(Families& to, const std::vector<DomainInfo>& domains) {
  const auto each = [&](const char* name, const char* help, u64 InterfaceFigures::*received,
                        u64 InterfaceFigures::*sent) {
    to.family(name, MetricType::Counter, help);
    const auto number = [](const auto&, std::size_t i) { return std::to_string(i); };
    by_device(domains, &DeviceFigures::interfaces, "interface", number,
              [&](Labels labels, const InterfaceFigures& one) {
                labels.push_back({"direction", "received"});
                to.sample(labels, one.*received);
                labels.back().value = "sent";
                to.sample(labels, one.*sent);
              });
  };
  using One = InterfaceFigures;
  each("cloister_domain_interface_frames_total", "Frames of a domain's network interfaces.", &One::received_frames,
       &One::sent_frames);
  each("cloister_domain_interface_bytes_total", "Bytes in them.", &One::received_bytes, &One::sent_bytes);
  each("cloister_domain_interface_drops_total", "Frames that were dropped, beside them.", &One::received_drops,
       &One::sent_drops);
}

void vsock_metrics(Families& to, const std::vector<DomainInfo>& domains) {
  const auto each = [&](const char* name, MetricType type, const char* help, auto value) {
    to.family(name, type, help);
    for (const auto& d : domains) {
      if (d.devices && d.devices->vsock) value(d.name, *d.devices->vsock);
    }
  };
  each("cloister_domain_vsock_connections", MetricType::Gauge, "Connections by vsock that a domain has.",
       [&](const std::string& name, const VsockFigures& vsock) {
         to.sample({{"domain", name}}, vsock.open);
       });
  each("cloister_domain_vsock_calls_total", MetricType::Counter,
       "Connections that were asked for, by the guest or the host, and what came of it.",
       [&](const std::string& name, const VsockFigures& vsock) {
         to.sample({{"domain", name}, {"result", "connected"}}, vsock.connections);
         to.sample({{"domain", name}, {"result", "refused"}}, vsock.refused);
       });
  each("cloister_domain_vsock_bytes_total", MetricType::Counter, "Bytes that the guest has got by them, and sent.",
       [&](const std::string& name, const VsockFigures& vsock) {
         to.sample({{"domain", name}, {"direction", "received"}}, vsock.received_bytes);
         to.sample({{"domain", name}, {"direction", "sent"}}, vsock.sent_bytes);
       });
}

void move_metrics(Families& to, const std::vector<DomainInfo>& domains) {
  const auto each = [&](const char* name, const char* help, auto value) {
    to.family(name, MetricType::Gauge, help);
    for (const auto& d : domains) {
      if (d.move) to.sample({{"domain", d.name}}, value(*d.move));
    }
  };
  constexpr double ms = 1e-3;
  each("cloister_domain_move_bytes", "Bytes that a domain's move to another daemon has sent.",
       [](const MoveInfo& move) { return move.bytes; });
  each("cloister_domain_move_left_bytes", "Bytes of its RAM and its enclaves that are to be sent, as far as is known.",
       [](const MoveInfo& move) { return move.bytes_left; });
  each("cloister_domain_move_epc_left_bytes", "Of these, those of its enclaves.",
       [](const MoveInfo& move) { return move.epc_bytes_left; });
  each("cloister_domain_move_dirty_bytes_per_second", "How fast its RAM changed meanwhile.",
       [](const MoveInfo& move) { return move.dirty_bytes_a_second; });
  each("cloister_domain_move_pause_seconds", "How long its guest would stand still by that, or did.",
       [](const MoveInfo& move) { return static_cast<double>(move.pause_ms) * ms; });
}

void paging_metrics(Families& to, const std::vector<DomainInfo>& domains) {
  const auto each = [&](const char* name, MetricType type, const char* help, auto value) {
    to.family(name, type, help);
    for (const auto& d : domains) {
      if (d.paged && d.page != nullptr) to.sample({{"domain", d.name}}, value(*d.paged));
    }
  };
  constexpr double ns = 1e-9;
  using Paged = const PagedEpc&;
  each("cloister_domain_epc_target_pages", MetricType::Gauge, "EPC pages that a paged domain is to have.",
       [](Paged p) { return p.target; });
  each("cloister_domain_epc_resident_pages", MetricType::Gauge, "Pages that a paged domain's guest has in EPC.",
       [](Paged p) { return p.resident; });
  each("cloister_domain_epc_active_pages", MetricType::Gauge, "Those of them that were used of late.",
       [](Paged p) { return p.active; });
  each("cloister_domain_epc_evicted_pages", MetricType::Gauge, "Pages of a paged domain that are paged out.",
       [](Paged p) { return p.evicted; });
  each("cloister_domain_epc_lost_pages", MetricType::Gauge, "Pages of a paged domain that cannot be paged in any more.",
       [](Paged p) { return p.lost; });
  each("cloister_domain_epc_loads_total", MetricType::Counter, "Pages that were paged in.",
       [](Paged p) { return p.loads; });
  each("cloister_domain_epc_load_seconds_total", MetricType::Counter, "Time that it took to load them (ELDU, ELDB).",
       [](Paged p) { return static_cast<double>(p.load_ns) * ns; });
  each("cloister_domain_epc_evictions_total", MetricType::Counter, "Pages that were paged out.",
       [](Paged p) { return p.evictions; });
  each("cloister_domain_epc_gates_total", MetricType::Counter,
       "How often all processors were held out of the guest for that.", [](Paged p) { return p.gates; });
  each("cloister_domain_epc_gate_seconds_total", MetricType::Counter, "Time for which they were.",
       [](Paged p) { return static_cast<double>(p.gate_ns) * ns; });
}

struct Seen {
  std::string domain;
  u64 granted;
  diagnostics::PageCounts pages;
  diagnostics::Events events;
};

u64 valid_in(const diagnostics::PageCounts& pages) {
  return std::accumulate(pages.valid.begin(), pages.valid.end(), u64{0});
}

/// A sample for each count that is not zero, with what `name` calls its index.
template <class Counts, class Name>
void by_index(Families& to, const std::string& domain, const char* label, const Counts& counts, Name name) {
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] != 0) to.sample({{"domain", domain}, {label, name(i)}}, counts[i]);
  }
}

void sgx_metrics(Families& to, const std::vector<DomainInfo>& domains) {
  std::vector<Seen> seen;
  for (const auto& d : domains) {
    if (d.memory == nullptr) continue;
    if (const auto observer = d.memory->observe())
      seen.push_back({d.name, pages_of(d.grants), (*observer)->count(), (*observer)->events()});
  }
  to.family("cloister_domain_epc_page_types", MetricType::Gauge,
            "EPC pages of a domain by the type in their EPCM entry; unused: not valid.");
  for (const Seen& s : seen) {
    to.sample({{"domain", s.domain}, {"type", "unused"}}, s.granted - std::min(s.granted, valid_in(s.pages)));
    for (std::size_t i = 0; i < s.pages.valid.size(); ++i)
      to.sample({{"domain", s.domain}, {"type", name_in(page_type_names, i)}}, s.pages.valid[i]);
  }
  to.family("cloister_domain_encls_total", MetricType::Counter, "ENCLS leaves that ran on a processor.");
  for (const Seen& s : seen)
    by_index(to, s.domain, "leaf", s.events.encls, [](std::size_t i) { return name_in(arch::encls_names, i); });
  to.family("cloister_domain_enclu_total", MetricType::Counter, "ENCLU leaves that ran on a processor.");
  for (const Seen& s : seen)
    by_index(to, s.domain, "leaf", s.events.enclu, [](std::size_t i) { return name_in(arch::enclu_names, i); });
  to.family("cloister_domain_einit_failures_total", MetricType::Counter, "Errors that EINIT returned.");
  for (const Seen& s : seen) by_index(to, s.domain, "code", s.events.einit_failures, einit_error_name);
  to.family("cloister_domain_aex_total", MetricType::Counter, "Asynchronous enclave exits.");
  for (const Seen& s : seen) to.sample({{"domain", s.domain}}, s.events.asynchronous_exits);
}

void request_metrics(Families& to, const RequestCounts::Counts& requests) {
  to.family("cloister_requests_total", MetricType::Counter, "Requests answered, by method and status.");
  for (const auto& [kind, count] : requests)
    to.sample({{"method", kind.first}, {"status", std::to_string(kind.second)}}, count);
}

}  // namespace

void RequestCounts::add(const std::string& method, int status) {
  // Methods are the client's words: those that HTTP does not know must not each make a sample.
  static constexpr const char* known[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
  const MutexLock held(lock_);
  ++counts_[{std::ranges::find(known, method) == std::end(known) ? "other" : method, status}];
}

RequestCounts::Counts RequestCounts::counts() const {
  const MutexLock held(lock_);
  return counts_;
}

std::string metrics(const MachineEpcInfo& epc, const std::vector<DomainInfo>& domains,
                    const DefinitionCounts& definitions, const std::vector<KeyInfo>& keys,
                    const RequestCounts::Counts& requests) {
  Families families;
  machine_metrics(families, epc);
  bound_metrics(families, epc);
  count_states(families, domains);
  definition_metrics(families, definitions);
  key_metrics(families, keys);
  domain_metrics(families, domains);
  balloon_metrics(families, domains);
  move_metrics(families, domains);
  disk_metrics(families, domains);
  interface_metrics(families, domains);
  vsock_metrics(families, domains);
  paging_metrics(families, domains);
  sgx_metrics(families, domains);
  request_metrics(families, requests);
  return families.text();
}

}  // namespace cloister::toolstack
