// Values in and out of JSON. What is read is checked as far as arithmetic on it depends on it; whether the frames are
// the domain's, the accounts say.
#include "plan/package_values.hpp"

#include <algorithm>
#include <set>

#include "arch/sizes.hpp"
#include "arch/try.hpp"
#include "arch/types.hpp"
#include "plan/features_json.hpp"
#include "plan/host_features.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

using nlohmann::json;

constexpr u64 most_frames = u64{1} << 40;  // 52 physical bits

json extents_json(const std::vector<EpcExtent>& extents) {
  json list = json::array();
  for (const EpcExtent& extent : extents) list.push_back({{"first", extent.first.value}, {"pages", extent.pages}});
  return list;
}

tl::expected<std::vector<EpcExtent>, std::string> read_extents(const json& list) {
  std::vector<EpcExtent> extents;
  for (const json& extent : list) {
    u64 first = 0, pages = 0;
    JsonFields fields(extent);
    fields.number("first", first, most_frames).number("pages", pages, most_frames);
    if (!fields.ok()) return tl::unexpected(fields.error());
    extents.push_back({arch::Mfn{first}, pages});
  }
  return extents;
}

/// Values without them are of before they were chosen.
tl::expected<HostFeatures, std::string> read_host_features(const json& object, const std::string& config) {
  if (!object.contains("host_features")) {
    const auto read = read_config(config);
    return read ? demanded_host_features(read->config) : HostFeatures{};
  }
  HostFeatures chosen;
  JsonFields fields(object);
  for (const json& element : fields.list("host_features")) {
    const auto* const name = element.is_string() ? find_host_feature(element.get<std::string>()) : nullptr;
    if (name == nullptr) return tl::unexpected("'host_features': expected names of such, found " + json_text(element));
    chosen.push_back(*name);
  }
  if (!fields.ok()) return tl::unexpected(fields.error());
  return chosen;
}

constexpr LaunchControl launch_controls[] = {LaunchControl::none, LaunchControl::unwritable, LaunchControl::locked,
                                             LaunchControl::unlocked};

}  // namespace

std::vector<vmx::EpcSection> sections_of(const Grants& grants) {
  std::vector<vmx::EpcSection> sections;
  for (const auto& grant : grants) sections.insert(sections.end(), grant.extents.begin(), grant.extents.end());
  return sections;
}

std::vector<u32> packages_of(const Grants& grants) {
  std::vector<u32> packages;
  for (const auto& grant : grants) packages.push_back(grant.package);
  return packages;
}

u64 pages_of(const Grants& grants) {
  u64 pages = 0;
  for (const vmx::EpcSection& section : sections_of(grants)) pages += section.pages;
  return pages;
}

Grants wished_grants(const std::vector<EpcSection>& sections) {
  Grants grants;
  arch::Mfn next{1};
  for (const EpcSection& section : sections) {
    const u64 pages = section.mib * arch::pages_per_mib;
    grants.push_back({.package = section.package.value_or(0), .extents = {{next, pages}}});
    next = next + pages;
  }
  return grants;
}

void apply_launch_control(vmx::Package::Config& config, LaunchControl state,
                          const std::optional<std::array<u64, 4>>& hash) {
  constexpr u32 sgx_lc = 1 << 30;
  if (state == LaunchControl::none) config.features.leaf7_ecx &= ~sgx_lc;
  config.launch_control_writable = state == LaunchControl::unlocked;
  config.launch_hash = hash.value_or(arch::msr::intel_lepubkeyhash);
}

policy::MsrPolicy machine_msrs(const vmx::Package::Config& config) {
  policy::MsrPolicy msrs{.sgx = config.features.has_sgx() && !config.epc.empty(),
                         .launch_control = config.features.launch_control()};
  msrs.lepubkeyhash_writable = config.launch_control_writable;
  if (msrs.launch_control) msrs.lepubkeyhash = config.launch_hash;
  return msrs;
}

std::vector<vmx::EpcSection> package_sections(const PackageValues& values, const Grants& grants) {
  return values.range.empty() ? sections_of(grants) : values.range;
}

u64 package_pages(const PackageValues& values, const Grants& grants) {
  u64 pages = 0;
  for (const vmx::EpcSection& section : package_sections(values, grants)) pages += section.pages;
  return pages;
}

std::vector<vmx::EpcRow> rows_in_memory(const std::vector<vmx::EpcSection>& frames,
                                        const std::vector<vmx::EpcSection>& package) {
  std::vector<vmx::EpcRow> rows;
  u64 before = 0;
  for (const vmx::EpcSection& section : package) {
    for (const vmx::EpcSection& row : frames) {
      const u64 first = std::max(row.first.value, section.first.value);
      const u64 end = std::min(row.first.value + row.pages, section.first.value + section.pages);
      if (first < end) rows.push_back({before + first - section.first.value, end - first});
    }
    before += section.pages;
  }
  std::ranges::sort(rows, {}, &vmx::EpcRow::first);
  return rows;
}

vmx::Package::Config package_config(const PackageValues& values, const Grants& grants) {
  vmx::Package::Config config;
  config.features = values.features;
  config.epc = package_sections(values, grants);
  apply_launch_control(config, values.launch_control, values.launch_hash);
  for (const u64 frame : values.faulty) config.faulty_frames.emplace_back(frame);
  return config;
}

PackageValues package_values(const MachineDescription& machine, const Grants& grants, const vmx::Features& features,
                             PackageRange range) {
  PackageValues values{
      .launch_control = machine.launch_control, .launch_hash = machine.launch_hash, .features = features, .faulty = {}};
  std::set<u32> packages;
  if (range == PackageRange::whole) {
    for (const EpcGrant& grant : grants) packages.insert(grant.package);
  }
  for (const u32 package : packages) {
    for (const EpcSectionDescription& section : machine.packages.at(package).epc)
      values.range.push_back({arch::Mfn{section.base / arch::page_size}, section.bytes / arch::page_size});
  }
  const auto sections = package_sections(values, grants);
  for (const PackageDescription& package : machine.packages) {
    for (const EpcSectionDescription& section : package.epc) {
      for (const u64 page : section.faulty) {
        const arch::Mfn frame{section.base / arch::page_size + page};
        const bool ours = std::ranges::any_of(
            sections, [&](const vmx::EpcSection& s) { return frame >= s.first && frame - s.first < s.pages; });
        if (ours) values.faulty.push_back(frame.value);
      }
    }
  }
  return values;
}

json to_json(const Grants& grants) {
  json list = json::array();
  for (const auto& grant : grants) {
    list.push_back({{"package", grant.package}, {"extents", extents_json(grant.extents)}});
  }
  return list;
}

tl::expected<Grants, std::string> read_grants(const json& list) {
  Grants grants;
  for (const json& element : list) {
    EpcGrant grant;
    JsonFields fields(element);
    fields.number("package", grant.package);
    grant.extents = TRY(read_extents(fields.list("extents")));
    if (!fields.ok()) return tl::unexpected(fields.error());
    grants.push_back(std::move(grant));
  }
  return grants;
}

json to_json(const PackageValues& values) {
  json object{{"launch_control", name_of(values.launch_control)},
              {"features", to_json(values.features)},
              {"host_features", json::array()},
              {"faulty", values.faulty}};
  for (const std::string_view name : host_features_of(values.features)) object["host_features"].push_back(name);
  if (values.launch_hash) object["launch_hash"] = *values.launch_hash;
  if (!values.range.empty()) object["range"] = extents_json(values.range);
  return object;
}

tl::expected<PackageValues, std::string> read_package_values(const json& object, const std::string& config) {
  PackageValues values;
  std::string launch_control;
  JsonFields fields(object);
  if (fields.has("range")) {
    auto range = read_extents(fields.list("range"));
    if (!range) return tl::unexpected("'range': " + range.error());
    values.range = std::move(*range);
  }
  fields.text("launch_control", launch_control);
  const auto known = std::ranges::find(launch_controls, launch_control, [](LaunchControl c) { return name_of(c); });
  if (known == std::end(launch_controls)) fields.fail("'launch_control': unknown");
  const auto numbers = [&fields](const char* name, auto take) {
    for (const json& element : fields.list(name)) {
      if (!element.is_number_unsigned()) return fields.fail(std::string("'") + name + "': expected numbers");
      take(element.get<u64>());
    }
  };
  numbers("faulty", [&](u64 frame) { values.faulty.push_back(frame); });
  if (fields.has("launch_hash")) {
    std::vector<u64> hash;
    numbers("launch_hash", [&](u64 part) { hash.push_back(part); });
    if (hash.size() != 4) fields.fail("'launch_hash': expected 4 numbers");
    if (fields.ok()) std::copy_n(hash.begin(), 4, values.launch_hash.emplace().begin());
  }
  if (!fields.has("features")) fields.fail("'features' is missing");
  if (!fields.ok()) return tl::unexpected(fields.error());
  auto features = read_features(object["features"]);
  if (!features) return tl::unexpected("'features': " + features.error());
  const HostFeatures chosen = TRY(read_host_features(object, config));
  values.features = with_host_features(std::move(*features), chosen);
  values.launch_control = *known;
  return values;
}

}  // namespace cloister::toolstack
