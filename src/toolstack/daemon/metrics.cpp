// A family is a name, a type, a sentence, and samples; names follow Prometheus' conventions (base units, _total for
// counters). Counters of a domain start again with it.
#include "toolstack/daemon/metrics.hpp"

#include <fmt/format.h>

#include <iterator>

#include "silicon/diagnostics.hpp"

namespace cloister::toolstack {

namespace {

namespace diagnostics = silicon::diagnostics;

class Text {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    fmt::format_to(std::back_inserter(text_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  /// labels: ready-made, such as `package="0"`; names of domains need no escapes.
  template <class Value>
  void sample(const std::string& labels, Value value) {
    fmt::format_to(std::back_inserter(text_), "{}{{{}}} {}\n", name_, labels, value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string name_, text_;
};

struct TypeName {
  arch::PageType type;
  const char* name;
};
constexpr TypeName type_names[] = {{arch::PageType::secs, "SECS"},      {arch::PageType::tcs, "TCS"},
                                   {arch::PageType::reg, "REG"},        {arch::PageType::va, "VA"},
                                   {arch::PageType::trim, "TRIM"},      {arch::PageType::ss_first, "SS_FIRST"},
                                   {arch::PageType::ss_rest, "SS_REST"}};

std::string of_domain(const DomainInfo& domain) { return fmt::format("domain=\"{}\"", domain.name); }

void machine_metrics(Text& text, const MachineEpcInfo& epc) {
  text.family("cloister_epc_pages", "gauge", "Pages of the machine's EPC, 4 KiB each, by package and state.");
  for (const PackageEpc& package : epc.packages) {
    const auto sample = [&](const char* state, u64 pages) {
      text.sample(fmt::format("package=\"{}\",state=\"{}\"", package.package, state), pages);
    };
    sample("free", package.count.free);
    sample("granted", package.count.granted);
    sample("withdrawn", package.count.withdrawn);
  }
}

void domain_metrics(Text& text, const std::vector<DomainInfo>& domains) {
  text.family("cloister_domain_info", "gauge", "1 for each domain, with its state.");
  for (const auto& d : domains) text.sample(fmt::format("{},id=\"{}\",state=\"{}\"", of_domain(d), d.id, d.state), 1);
  text.family("cloister_domain_epc_pages", "gauge", "EPC pages that a domain was granted.");
  for (const auto& d : domains) text.sample(of_domain(d), pages_of(d.grants));
  text.family("cloister_domain_cpu_seconds_total", "counter", "Time on the host's processors.");
  for (const auto& d : domains) text.sample(of_domain(d), d.cpu_seconds);
  text.family("cloister_domain_instructions_total", "counter", "Guest instructions retired.");
  for (const auto& d : domains) text.sample(of_domain(d), d.instructions);
  text.family("cloister_domain_restarts_total", "counter", "How often the guest started again.");
  for (const auto& d : domains) text.sample(of_domain(d), d.restarts);
  text.family("cloister_domain_exits_total", "counter", "VM exits by basic exit reason.");
  for (const auto& d : domains) {
    if (d.page == nullptr) continue;
    const auto& exits = d.page->counts().exits;
    for (std::size_t reason = 0; reason < exits.size(); ++reason) {
      const u64 count = exits[reason].load(std::memory_order_relaxed);
      const char* name = silicon::name_of(static_cast<silicon::ExitReason>(reason));
      if (count != 0) text.sample(fmt::format("{},reason=\"{}\"", of_domain(d), name), count);
    }
  }
}

struct Seen {
  const DomainInfo& domain;
  diagnostics::PageCounts pages;
  diagnostics::Events events;
};

void sgx_metrics(Text& text, const std::vector<DomainInfo>& domains) {
  std::vector<Seen> seen;
  for (const auto& d : domains) {
    if (d.memory == nullptr) continue;
    if (const auto observer = diagnostics::Observer::open(d.memory->epcm_descriptor()))
      seen.push_back({d, observer->count(), observer->events()});
  }
  text.family("cloister_domain_epcm_pages", "gauge", "EPC pages of a domain by what its EPCM says.");
  for (const Seen& s : seen) {
    text.sample(of_domain(s.domain) + ",type=\"free\"", s.pages.free);
    for (const TypeName& type : type_names) {
      const u64 count = s.pages.valid[static_cast<std::size_t>(type.type)];
      text.sample(fmt::format("{},type=\"{}\"", of_domain(s.domain), type.name), count);
    }
  }
  text.family("cloister_domain_encls_total", "counter", "ENCLS leaves that ran without an exit, by leaf number.");
  for (const Seen& s : seen) {
    for (std::size_t leaf = 0; leaf < s.events.encls.size(); ++leaf) {
      if (s.events.encls[leaf] != 0)
        text.sample(fmt::format("{},leaf=\"{}\"", of_domain(s.domain), leaf), s.events.encls[leaf]);
    }
  }
  text.family("cloister_domain_einit_failures_total", "counter", "EINIT results other than success, by error code.");
  for (const Seen& s : seen) {
    for (std::size_t code = 0; code < s.events.einit_failures.size(); ++code) {
      if (s.events.einit_failures[code] != 0)
        text.sample(fmt::format("{},code=\"{}\"", of_domain(s.domain), code), s.events.einit_failures[code]);
    }
  }
  text.family("cloister_domain_aex_total", "counter", "Asynchronous enclave exits.");
  for (const Seen& s : seen) text.sample(of_domain(s.domain), s.events.asynchronous_exits);
}

}  // namespace

std::string metrics(const MachineEpcInfo& epc, const std::vector<DomainInfo>& domains) {
  Text text;
  machine_metrics(text, epc);
  domain_metrics(text, domains);
  sgx_metrics(text, domains);
  return text.take();
}

}  // namespace cloister::toolstack
