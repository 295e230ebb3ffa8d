// Checks: each thing that a policy asks for against one host, with what a guest loses where it is missing and which
// other things it asked for are then worth nothing.
#include <algorithm>
#include <charconv>
#include <functional>

#include "policy/flag_names.hpp"
#include "policy/flags.hpp"
#include "policy/level.hpp"

namespace cloister::policy {

namespace {

std::string hex(u64 value) {
  char digits[16];
  char* const end = std::to_chars(digits, std::end(digits), value, 16).ptr;
  return "0x" + std::string(digits, end);
}

std::string place_of(const Named& named) {
  return named.feature != nullptr ? policy::place_of(*named.feature) : policy::place_of(*named.mapped);
}

/// SGX features that an SGX feature needs, directly or not, and without being told: sgx is there for enclaves, which
/// begin with sgx1.
std::vector<std::string_view> sgx_grounds(const Feature& feature) {
  std::vector<std::string_view> grounds;
  const auto add = [&](const auto& self, const Feature& of) -> void {
    for (const std::string_view name : requirements(of)) {
      if (!name.starts_with("sgx") || std::ranges::find(grounds, name) != grounds.end()) continue;
      grounds.push_back(name);
      self(self, *find_feature(name));
    }
  };
  add(add, feature);
  return grounds;
}

/// The host, looked at once.
struct Host {
  const HostView& view;
  const CpuMap& map;
  SgxReport sgx;
  MappedCpu cpu;

  Known has(const Named& named) const {
    const bool sgx_flag = named.feature != nullptr && named.feature->name.starts_with("sgx");
    if (!sgx_flag && named.mapped != nullptr) {
      const auto in_map = std::ranges::find(map.features, named.mapped->name, &MapFeature::name);
      if (in_map != map.features.end()) return cpu.features[static_cast<std::size_t>(in_map - map.features.begin())];
      if (named.mapped->cpuid && !view.cpus.empty()) return says(view.cpus.front().table, *named.mapped->cpuid);
    }
    return named.feature != nullptr ? guests_have(view, sgx, *named.feature) : Known::unknown;
  }
};

std::string why_not(const Host& host, const Named& named, Known here) {
  const bool sgx_flag = named.feature != nullptr && named.feature->name.starts_with("sgx");
  if (here == Known::unknown) {
    if (named.feature == nullptr && named.mapped->msr) return "nobody read this MSR";
    return host.view.cpus.empty() ? "the source does not speak of it" : "the source does not show this leaf";
  }
  if (!sgx_flag || (named.feature->name == "sgx" && host.sgx.state == SgxState::absent)) return {};
  if (here == Known::yes) {
    // arch/x86/kernel/cpu/feat_ctl.c clears the bit, and KVM offers what the kernel has.
    return is_launch_locked(host.view) && named.feature->name == "sgxlc"
               ? "firmware locked the hash, and Linux hides the flag from guests"
               : "";
  }
  if (host.sgx.state == SgxState::absent)
    return host.view.cpus.empty() ? "guests are offered no SGX there" : "the processor has no SGX";
  if (host.sgx.state == SgxState::switched_off) {
    return "SGX is switched off in the firmware";
  }
  const Finding* const finding = obstacle(host.sgx);
  return finding == nullptr || policy::has(host.view, *named.feature) == Known::no ? "" : finding->message;
}

CheckedFlag check_flag(const Host& host, const Named& named, const std::string& asked) {
  CheckedFlag flag;
  flag.name = named.name();
  flag.asked = asked;
  flag.place = place_of(named);
  flag.here = host.has(named);
  flag.why = why_not(host, named, flag.here);
  const SgxFlag* const known = find_sgx_flag(flag.name);
  if (known != nullptr && flag.here != Known::yes) flag.consequence = known->without;
  return flag;
}

/// A bit that is set means nothing where what it needs is missing.
void put_dependence(std::vector<CheckedFlag>& flags) {
  for (CheckedFlag& flag : flags) {
    const Feature* const feature = find_feature(flag.name);
    if (feature == nullptr || !flag.name.starts_with("sgx")) continue;
    for (const std::string_view ground : sgx_grounds(*feature)) {
      const auto needed = std::ranges::find(flags, ground, &CheckedFlag::name);
      if (needed == flags.end() || needed->here != Known::no) continue;
      needed->takes_along.push_back(flag.name);
      if (flag.here == Known::no) continue;
      flag.here = Known::no;
      flag.why = std::string("needs ").append(ground);
      if (const SgxFlag* const known = find_sgx_flag(flag.name)) flag.consequence = known->without;
    }
  }
}

// ------------------------------------------------------------------------------------------------ the rest

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

CheckedFlag check_model(const Host& host, const MapModel& model, const std::vector<std::string>& without) {
  std::vector<std::string> lacks, unknown;
  std::size_t asked = 0;
  for (const std::string& name : model.features) {
    if (std::ranges::find(without, name) != without.end()) continue;
    ++asked;
    const MapFeature* const mapped = host.map.find_feature(name);
    const Known here = mapped == nullptr ? Known::unknown : host.has({nullptr, mapped});
    if (here == Known::no) lacks.push_back(name);
    if (here == Known::unknown) unknown.push_back(name);
  }
  CheckedFlag row;
  row.name = row.asked = model.name;
  row.place = "CPU model, " + std::to_string(asked) + " features";
  row.here = !lacks.empty() ? Known::no : !unknown.empty() ? Known::unknown : Known::yes;
  if (!host.cpu.vendor.empty() && !model.vendor.empty() && host.cpu.vendor != model.vendor) {
    row.here = Known::no;
    row.why = "the processor is " + host.cpu.vendor + "'s";
  } else if (!lacks.empty()) {
    row.why = "lacks " + joined(lacks);
  } else if (!unknown.empty()) {
    row.why = "not known: " + joined(unknown);
  }
  if (row.here == Known::no) row.consequence = "The domain does not start, or starts with less than it was promised.";
  return row;
}

CheckedFlag check_vendor(const Host& host, const std::string& wanted) {
  CheckedFlag row;
  row.name = row.asked = "a processor of " + wanted + "'s";
  row.here = host.cpu.vendor.empty() ? Known::unknown : host.cpu.vendor == wanted ? Known::yes : Known::no;
  if (row.here == Known::no) {
    row.why = "it is " + host.cpu.vendor + "'s";
    row.consequence = "libvirt does not start the domain.";
  }
  return row;
}

CheckedFlag check_forbidden(const Host& host, const Named& named) {
  CheckedFlag row;
  row.name = row.asked = "no " + named.name();
  row.place = place_of(named);
  const Known has = host.has(named);
  row.here = has == Known::yes ? Known::no : has == Known::no ? Known::yes : Known::unknown;
  if (row.here == Known::no) {
    row.why = "it is there";
    row.consequence = "libvirt does not start the domain on a host that has it.";
  }
  return row;
}

/// What the host has beyond the model, the flags and those of which nothing is asked.
CheckedFlag check_strict(const Host& host, const Wish& wish, const std::vector<std::string>& asked) {
  const MapModel* const model = host.map.find_model(wish.model);
  std::vector<std::string> extra, unknown;
  for (std::size_t i = 0; i < host.map.features.size(); ++i) {
    const std::string& name = host.map.features[i].name;
    const auto in = [&](const std::vector<std::string>& names) {
      return std::ranges::find(names, name) != names.end();
    };
    if ((model != nullptr && in(model->features)) || in(asked) || in(wish.without)) continue;
    if (host.cpu.features[i] == Known::yes) extra.push_back(name);
    if (host.cpu.features[i] == Known::unknown) unknown.push_back(name);
  }
  CheckedFlag row;
  row.name = row.asked = "nothing beyond";
  row.here = !extra.empty() ? Known::no : !unknown.empty() ? Known::unknown : Known::yes;
  if (row.here == Known::no) row.why = "also has " + joined(extra);
  if (row.here == Known::unknown) row.why = "not known: " + joined(unknown);
  if (row.here == Known::no) row.consequence = "libvirt starts the domain (match='strict') on hosts that have no more.";
  return row;
}

CheckedFlag check_xfrm(const Host& host, u64 wanted) {
  CheckedFlag row;
  row.name = row.asked = "XFRM " + hex(wanted);
  row.place = "leaf 0x12, sub-leaf 1, ECX and EDX";
  row.here = host.sgx.xfrm == 0 ? Known::unknown : (wanted & ~host.sgx.xfrm) != 0 ? Known::no : Known::yes;
  if (row.here == Known::no) {
    const std::string lacks = joined(names_of_xfrm(wanted & ~host.sgx.xfrm));
    row.why = "lacks " + lacks;
    row.consequence = "Enclaves that use " + lacks + " are not created.";
  }
  return row;
}

CheckedFlag check_size(const Host& host, unsigned mode, u8 wanted, u8 here) {
  const bool known = here != 0 || host.sgx.state == SgxState::absent;
  CheckedFlag row;
  row.name = row.asked = std::to_string(mode) + "-bit enclaves of 2^" + std::to_string(wanted) + " bytes";
  row.place = "leaf 0x12, sub-leaf 0, EDX";
  row.here = !known ? Known::unknown : here < wanted ? Known::no : Known::yes;
  if (row.here == Known::no) {
    row.why = here == 0 ? "no SGX" : "2^" + std::to_string(here) + " bytes at most";
    row.consequence = "Larger enclaves are not created.";
  }
  return row;
}

std::string said(LaunchCase launch) { return "launch control: " + std::string(name_of(launch)); }

CheckedFlag check_hash(const Host& host, const std::array<u64, 4>& wanted) {
  CheckedFlag row;
  row.name = row.asked = "launch-key hash";
  row.place = "IA32_SGXLEPUBKEYHASH0 to 3";
  const auto locked = locked_hash(host.view, host.sgx.launch);
  if (host.sgx.launch == LaunchCase::unlocked) {
    row.here = Known::yes;
  } else if (locked) {
    row.here = *locked == wanted ? Known::yes : Known::no;
  }
  if (row.here != Known::yes) row.why = said(host.sgx.launch);
  if (row.here == Known::no) row.consequence = "Only enclaves that the host's own launch key allows are launched.";
  return row;
}

CheckedFlag check_writable(const Host& host) {
  CheckedFlag row;
  row.name = row.asked = "launch-key hash for the guest to write";
  row.place = "IA32_FEATURE_CONTROL bit 17";
  row.here = host.sgx.launch == LaunchCase::unlocked  ? Known::yes
             : host.sgx.launch == LaunchCase::unknown ? Known::unknown
                                                      : Known::no;
  if (row.here != Known::yes) row.why = said(host.sgx.launch);
  if (row.here == Known::no) row.consequence = "The guest's Linux offers no SGX: its driver needs launch control.";
  return row;
}

CheckedFlag check_epc(const Host& host, u64 wanted) {
  const auto mib = [](u64 bytes) { return std::to_string(bytes >> 20) + " MiB"; };
  const Finding* const finding = obstacle(host.sgx);
  const auto bytes = bytes_of(epc_of(host.view));
  CheckedFlag row;
  row.name = row.asked = "EPC of " + mib(wanted);
  row.place = "leaf 0x12, sub-leaves from 2 on";
  row.here = finding != nullptr ? Known::no : !bytes ? Known::unknown : *bytes < wanted ? Known::no : Known::yes;
  if (row.here == Known::no) {
    row.why = bytes && *bytes < wanted ? "the host has " + mib(*bytes) : finding->message;
    row.consequence = "The domain does not start.";
  }
  return row;
}

CheckedFlag check_kvm(const std::string& without) {
  CheckedFlag row;
  row.name = row.asked = "KVM to run the guest";
  row.here = Known::no;
  row.why = "the domain says " + without;
  row.consequence = "SGX is KVM's to give: the guest gets no SGX flag, and its EPC is worth nothing.";
  return row;
}

std::vector<CheckedFlag> check_rest(const Host& host, const Wish& wish) {
  std::vector<CheckedFlag> rows;
  if (const MapModel* const model = host.map.find_model(wish.model)) {
    rows.push_back(check_model(host, *model, wish.without));
  } else if (!wish.model.empty()) {
    CheckedFlag row;
    row.name = row.asked = wish.model;
    row.place = "CPU model";
    row.why = "libvirt's map of models is not installed";
    rows.push_back(std::move(row));
  }
  if (wish.xfrm != 0) rows.push_back(check_xfrm(host, wish.xfrm));
  if (wish.log2_size_32 != 0) rows.push_back(check_size(host, 32, wish.log2_size_32, host.sgx.log2_size_32));
  if (wish.log2_size_64 != 0) rows.push_back(check_size(host, 64, wish.log2_size_64, host.sgx.log2_size_64));
  if (wish.launch.hash) rows.push_back(check_hash(host, *wish.launch.hash));
  if (wish.launch.writable == true) rows.push_back(check_writable(host));
  if (wish.epc_bytes != 0) rows.push_back(check_epc(host, wish.epc_bytes));
  if (!wish.without_kvm.empty()) rows.push_back(check_kvm(wish.without_kvm));
  return rows;
}

}  // namespace

// ------------------------------------------------------------------------------------------------ the door

tl::expected<Check, std::vector<UnknownName>> check(const HostView& view, const Wish& wish, const CpuMap& map) {
  const Host host{view, map, sgx_report(view), map_cpu(view, map)};
  Check result;
  std::vector<UnknownName> unknown;
  // A search among all words for each of thousands would be for nobody.
  constexpr std::size_t most_searched = 16;
  const auto put_unknown = [&](const std::string& name) {
    unknown.push_back(unknown.size() < most_searched ? unknown_flag(name, map) : UnknownName{name, false, {}});
  };
  if (!wish.model.empty() && !map.models.empty() && map.find_model(wish.model) == nullptr)
    unknown.push_back(unknown_model(wish.model, map));

  const auto add = [&](const Named& named, const std::string& asked, bool implied) {
    const auto found = std::ranges::find(result.flags, named.name(), &CheckedFlag::name);
    if (found != result.flags.end()) {
      found->implied &= implied;
      return;
    }
    result.flags.push_back(check_flag(host, named, asked));
    result.flags.back().implied = implied;
  };
  for (const std::string& asked : wish.flags) {
    const auto named = find_name(asked, map);
    if (!named) {
      put_unknown(asked);
      continue;
    }
    add(*named, asked, false);
    if (named->feature == nullptr || !named->feature->name.starts_with("sgx")) continue;
    const auto imply = [&](std::string_view name) { add({find_feature(name), nullptr}, std::string(name), true); };
    for (const std::string_view ground : sgx_grounds(*named->feature)) imply(ground);
    imply("sgx1");
  }
  // By the map's names, where it has one.
  const auto resolve = [&](const std::vector<std::string>& names, const std::function<void(const Named&)>& take) {
    for (const std::string& asked : names) {
      if (const auto named = find_name(asked, map)) {
        take(*named);
      } else if (std::ranges::find(unknown, asked, &UnknownName::name) == unknown.end()) {
        put_unknown(asked);
      }
    }
  };
  const auto name_in_map = [](const Named& named) { return named.mapped ? named.mapped->name : named.name(); };
  Wish resolved = wish;
  resolved.without.clear();
  resolve(wish.without, [&](const Named& named) { resolved.without.push_back(name_in_map(named)); });
  std::vector<CheckedFlag> forbidden;
  resolve(wish.forbidden, [&](const Named& named) { forbidden.push_back(check_forbidden(host, named)); });
  std::vector<std::string> asked;
  resolve(wish.flags, [&](const Named& named) { asked.push_back(name_in_map(named)); });
  if (!unknown.empty()) return tl::unexpected(std::move(unknown));

  put_dependence(result.flags);
  result.rest = check_rest(host, resolved);
  result.rest.insert(result.rest.end(), forbidden.begin(), forbidden.end());
  if (!wish.vendor.empty()) result.rest.push_back(check_vendor(host, wish.vendor));
  if (wish.strict) result.rest.push_back(check_strict(host, resolved, asked));
  for (const auto* const rows : {&result.flags, &result.rest}) {
    for (const CheckedFlag& row : *rows) {
      if (row.here == Known::no) result.all = Known::no;
      if (row.here == Known::unknown && result.all == Known::yes) result.all = Known::unknown;
    }
  }
  return result;
}

}  // namespace cloister::policy
