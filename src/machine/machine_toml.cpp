// machine.toml by tables of fields: the machine, a package, a section, its domains, how EPC is shared, who may do what
// (and of other machines migration_toml.hpp, of storages storage_toml.hpp). Then what concerns several of them.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "arch/try.hpp"
#include "config/launch_hash.hpp"
#include "machine/machine.hpp"
#include "machine/machine_silicon.hpp"
#include "machine/migration_toml.hpp"
#include "machine/storage_toml.hpp"
#include "policy/descriptions.hpp"
#include "policy/libvirt_models.hpp"
#include "text/shown.hpp"
#include "text/toml_reader.hpp"

namespace cloister::toolstack {

namespace {

using tables::Done;
using tables::Field;
using tables::Value;
using Failed = tl::unexpected<Diagnostic>;

constexpr u64 kib = 1 << 10, mib = 1 << 20, gib = 1 << 30;
constexpr u64 most_address = u64{1} << 52;  // SDM vol. 3A, 4.1.4: physical addresses have 52 bits at most
constexpr u64 most_bytes = u64{8} << 40;    // of all sections together
constexpr u64 most_packages = 256, most_sections = 256, most_node = 1023, most_faulty = 65536;
constexpr u64 most_at_once = 64, most_chunk = 1024;

/// A section, and what its place depends on.
struct SectionDraft {
  EpcSectionDescription section;
  std::optional<u64> base;
  std::optional<u32> node;
  Position at;
};

struct PackageDraft {
  std::vector<SectionDraft> epc;
};

struct Draft {
  MachineDescription machine;
  std::vector<PackageDraft> packages;
  Position launch_control, launch_hash;
};

template <class To, class From>
Done keep(To& to, const tl::expected<From, Diagnostic>& value) {
  if (!value) return Failed(value.error());
  to = static_cast<To>(*value);
  return {};
}

Done read_base(SectionDraft& draft, const Value& value) {
  const auto base = value.integer(0, most_address - 1, "an address in bytes");
  if (base && *base % arch::page_size != 0) return value.wrong("a multiple of 4096");
  return keep(draft.base.emplace(), base);
}

/// "N KiB", "N MiB", "N GiB".
std::optional<u64> read_size(std::string_view text) {
  u64 number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<std::size_t>(stop - text.data()));
  for (const auto& [name, bytes] : {std::pair{" KiB", kib}, std::pair{" MiB", mib}, std::pair{" GiB", gib}}) {
    if (unit == name && number <= most_bytes / bytes) return number * bytes;
  }
  return std::nullopt;
}

Done read_size(SectionDraft& draft, const Value& value) {
  if (const auto* text = value.node.as_string()) {
    const auto bytes = read_size(text->get());
    if (!bytes || *bytes == 0 || *bytes % arch::page_size != 0)
      return value.wrong(
          "a number and KiB, MiB or GiB, such as \"96256 KiB\", 4 KiB to 8192 GiB in whole pages of 4 KiB");
    draft.section.bytes = *bytes;
    return {};
  }
  draft.section.bytes = TRY(value.integer(1, most_bytes / mib, "in MiB, or a string with a unit")) * mib;
  return {};
}

Done read_node(SectionDraft& draft, const Value& value) {
  return keep(draft.node.emplace(), value.integer(0, most_node));
}

Done read_faulty(SectionDraft& draft, const Value& value) {
  const auto elements = TRY(value.elements("an array of page numbers"));
  for (const Value& element : elements) {
    const auto page =
        TRY(element.integer(0, most_bytes / arch::page_size - 1, "a page of the section, counted from 0"));
    if (draft.section.faulty.size() == most_faulty) return element.error("found more than 65536 pages");
    draft.section.faulty.push_back(page);
  }
  return {};
}

constexpr Field<SectionDraft> section_fields[] = {
    {"base", read_base}, {"size", read_size}, {"node", read_node}, {"faulty", read_faulty}};

Done read_epc(PackageDraft& draft, const Value& value) {
  constexpr const char* form = "an array of tables, such as [{ size = 256 }]";
  const auto elements = TRY(value.elements(form));
  for (const Value& element : elements) {
    const auto* table = element.node.as_table();
    if (table == nullptr) return element.wrong(form);
    SectionDraft section;
    section.at = element.at();
    TRY(tables::read_table<SectionDraft>(section, *table, section_fields));
    if (section.section.bytes == 0) return element.error("found no 'size', expected it in every section");
    const u64 pages = section.section.bytes / arch::page_size;
    for (const u64 page : section.section.faulty) {
      if (page >= pages)
        return element.error(fmt::format("found the faulty page {}, but the section has {} pages", page, pages));
    }
    draft.epc.push_back(std::move(section));
  }
  return {};
}

constexpr Field<PackageDraft> package_fields[] = {{"epc", read_epc}};

Done read_package(Draft& draft, const Value& value) {
  constexpr const char* form = "an array of tables, each begun with [[package]]";
  const auto elements = TRY(value.elements(form));
  for (const Value& element : elements) {
    const auto* table = element.node.as_table();
    if (table == nullptr) return element.wrong(form);
    if (draft.packages.size() == most_packages) return element.error("found more than 256 packages");
    PackageDraft& package = draft.packages.emplace_back();
    TRY(tables::read_table<PackageDraft>(package, *table, package_fields));
  }
  return {};
}

Done read_silicon(Draft& draft, const Value& value) {
  constexpr const char* form = "the name of a processor's description";
  const auto name = TRY(value.string(form));
  if (name.empty()) return value.wrong(form);
  if (name == "default") return {};
  if (policy::find_libvirt_model(name) != nullptr)
    return value.error(fmt::format(
        "found \"{}\", a model of libvirt's, which says nothing of SGX; expected {}: a model is for a domain, "
        "with its 'cpu_flags'",
        name, form));
  if (policy::find_description(name) == nullptr) return value.error(policy::unknown_description(printable(name)));
  draft.machine.silicon = name;
  return {};
}

Done read_machine_engine(Draft& draft, const Value& value) {
  return keep(draft.machine.engine, value.word(engine_words));
}

Done read_keys(Draft& draft, const Value& value) {
  constexpr std::string_view words[] = {"shared", "separate"};  // in the order of KeySharing
  return keep(draft.machine.keys, value.word(words));
}

constexpr LaunchControl states[] = {LaunchControl::none, LaunchControl::unwritable, LaunchControl::locked,
                                    LaunchControl::unlocked};

Done read_launch_control(Draft& draft, const Value& value) {
  std::vector<std::string_view> words;
  for (const LaunchControl state : states) words.push_back(name_of(state));
  draft.launch_control = value.at();
  return keep(draft.machine.launch_control, value.word(words));
}

Done read_hash(Draft& draft, const Value& value) {
  const auto text = TRY(value.string(launch_hash_form));
  draft.launch_hash = value.at();
  draft.machine.launch_hash = read_launch_hash(text);
  return draft.machine.launch_hash ? Done() : value.wrong(launch_hash_form);
}

std::optional<double> number_between(double least, double most, const Value& value) {
  const std::optional<double> number = value.node.is_number() ? value.node.value<double>() : std::nullopt;
  // A NaN is in no order.
  return number && *number >= least && *number <= most ? number : std::nullopt;
}

Done read_memory_overcommit(Draft& draft, const Value& value) {
  const auto number = number_between(0.1, 1000, value);
  if (!number) return value.wrong("a number from 0.1 to 1000");
  draft.machine.memory_overcommit = *number;
  return {};
}

Done read_ratio(EpcOvercommit& overcommit, const Value& value) {
  overcommit.ratio = number_between(1, 1000, value);
  return overcommit.ratio ? Done() : value.wrong("a number from 1 to 1000");
}

Done read_reserve(EpcOvercommit& overcommit, const Value& value) {
  return keep(overcommit.reserve_mib, value.integer(0, most_bytes / mib, "in MiB"));
}

Done read_chunk(EpcOvercommit& overcommit, const Value& value) {
  return keep(overcommit.chunk_mib, value.integer(1, most_chunk, "in MiB"));
}

constexpr Field<EpcOvercommit> overcommit_fields[] = {
    {"ratio", read_ratio}, {"reserve", read_reserve}, {"chunk", read_chunk}};

Done read_overcommit(Draft& draft, const Value& value) {
  const auto* table = value.node.as_table();
  if (table == nullptr) return value.wrong("a table, begun with [overcommit]");
  return tables::read_table<EpcOvercommit>(draft.machine.overcommit, *table, overcommit_fields);
}

Done read_start_at_once(MachineDescription& machine, const Value& value) {
  return keep(machine.start_at_once, value.integer(1, most_at_once));
}

Done read_stop_at_once(MachineDescription& machine, const Value& value) {
  return keep(machine.stop_at_once, value.integer(1, most_at_once));
}

constexpr Field<MachineDescription> domains_fields[] = {{"start_at_once", read_start_at_once},
                                                        {"stop_at_once", read_stop_at_once}};

Done read_domains(Draft& draft, const Value& value) {
  const auto* table = value.node.as_table();
  if (table == nullptr) return value.wrong("a table, begun with [domains]");
  return tables::read_table<MachineDescription>(draft.machine, *table, domains_fields);
}

constexpr std::string_view left_to[] = {"owner", "group"};  // in the order of LeftTo

Done read_console_access(AccessPolicy& access, const Value& value) { return keep(access.console, value.word(left_to)); }
Done read_control_access(AccessPolicy& access, const Value& value) { return keep(access.control, value.word(left_to)); }

constexpr Field<AccessPolicy> access_fields[] = {{"console", read_console_access}, {"control", read_control_access}};

Done read_access(Draft& draft, const Value& value) {
  const auto* table = value.node.as_table();
  if (table == nullptr) return value.wrong("a table, begun with [access]");
  return tables::read_table<AccessPolicy>(draft.machine.access, *table, access_fields);
}

Done read_migration(Draft& draft, const Value& value) { return read_migration_table(draft.machine, value); }
Done read_storage(Draft& draft, const Value& value) { return read_storage_table(draft.machine, value); }

constexpr Field<Draft> machine_fields[] = {{"silicon", read_silicon},
                                           {"engine", read_machine_engine},
                                           {"keys", read_keys},
                                           {"launch_control", read_launch_control},
                                           {"launch_hash", read_hash},
                                           {"memory_overcommit", read_memory_overcommit},
                                           {"overcommit", read_overcommit},
                                           {"domains", read_domains},
                                           {"access", read_access},
                                           {"migration", read_migration},
                                           {"storage", read_storage},
                                           {"package", read_package}};

/// A processor without SGX_LC has no launch control, whatever firmware would do.
Done check_silicon(Draft& draft) {
  MachineDescription& machine = draft.machine;
  if (machine_features(machine.silicon).launch_control()) return {};
  if (draft.launch_control.line != 0 && machine.launch_control != LaunchControl::none) {
    return Failed(
        Diagnostic{draft.launch_control,
                   fmt::format("'launch_control': found \"{}\", expected \"none\": silicon '{}' has no launch "
                               "control",
                               name_of(machine.launch_control), machine.silicon)});
  }
  machine.launch_control = LaunchControl::none;
  return {};
}

Done check_launch_control(const Draft& draft) {
  const MachineDescription& machine = draft.machine;
  if (machine.launch_control == LaunchControl::locked && !machine.launch_hash)
    return Failed(
        Diagnostic{draft.launch_control, "'launch_control': \"locked\" needs 'launch_hash', which it is locked to"});
  const bool hashless =
      machine.launch_control == LaunchControl::none || machine.launch_control == LaunchControl::unwritable;
  if (hashless && machine.launch_hash) {
    return Failed(
        Diagnostic{draft.launch_hash, fmt::format("'launch_hash': found it with launch_control = \"{}\", where the "
                                                  "hash is Intel's; expected it with \"locked\" or \"unlocked\"",
                                                  name_of(machine.launch_control))});
  }
  return {};
}

u64 align_up(u64 value, u64 alignment) { return (value + alignment - 1) / alignment * alignment; }

/// Bases and nodes of sections that do not give theirs: the next whole GiB after 4 GiB and the sections before it, and
/// the package's number. Then: do they fit, and are they apart?
Done settle_sections(Draft& draft) {
  struct Placed {
    u64 base, end;
  };
  std::vector<Placed> placed;
  u64 next = 4 * gib, sum = 0;
  for (u32 number = 0; number < draft.packages.size(); ++number) {
    PackageDescription& package = draft.machine.packages.emplace_back();
    for (SectionDraft& s : draft.packages[number].epc) {
      const auto refuse = [&](const std::string& message) { return Failed(Diagnostic{s.at, "'epc': " + message}); };
      s.section.base = s.base.value_or(next);
      s.section.node = s.node.value_or(number);
      const u64 end = s.section.base + s.section.bytes;
      sum += s.section.bytes;
      if (end > most_address) return refuse(fmt::format("the section ends at {:#x}, beyond 52 bits of address", end));
      if (sum > most_bytes) return refuse("found more than 8 TiB in all sections");
      if (placed.size() == most_sections) return refuse("found more than 256 sections");
      for (const Placed& other : placed) {
        if (s.section.base < other.end && other.base < end)
          return refuse(fmt::format("the section {:#x}-{:#x} overlaps {:#x}-{:#x}", s.section.base, end - 1, other.base,
                                    other.end - 1));
      }
      placed.push_back({s.section.base, end});
      next = std::max(next, align_up(end, gib));
      package.epc.push_back(std::move(s.section));
    }
  }
  return {};
}

}  // namespace

tl::expected<MachineDescription, Diagnostic> read_machine(std::string_view text) {
  const toml::parse_result document = toml::parse(tables::ascii_only(text));
  if (!document) {
    const toml::parse_error& error = document.error();
    return Failed(Diagnostic{tables::position(error.source().begin), printable(error.description())});
  }
  Draft draft;
  TRY(tables::read_table<Draft>(draft, document.table(), machine_fields));
  TRY(check_silicon(draft));
  TRY(check_launch_control(draft));
  TRY(settle_sections(draft));
  const bool none = std::ranges::all_of(draft.machine.packages, [](const auto& p) { return p.epc.empty(); });
  if (none && !draft.machine.packages.empty()) draft.machine.sgx_off = "no package of the machine description has EPC";
  return std::move(draft.machine);
}

}  // namespace cloister::toolstack
