#include "interop/vm/qemu_memory.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "interop/vm/among.hpp"
#include "interop/vm/nodes.hpp"
#include "interop/vm/qemu_silent.hpp"
#include "interop/vm/sizes.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

constexpr u64 bytes = 1;

/// `kib` is rounded up.
bool is_whole_pages(std::string_view value, u64 kib) {
  const auto plain = read_whole(value, ~u64{0});
  return plain ? *plain % (page_kib << 10) == 0 : kib % page_kib == 0;
}

}  // namespace

std::string no_epc_on(std::string_view machine) {
  return fmt::format("EPC of the machine {}, which gives its guests none: expected 'q35' or 'pc'", shown(machine));
}

void QemuMemory::object() {
  const auto all =
      report_.option().value.starts_with('{') ? qemu_json_fields(report_.option().value) : report_.fields();
  if (!all) return report_.wrong(0, report_.option().value, "one JSON object");
  std::string type, id;
  for (const QemuField& field : *all) {
    if (is_field(field, "qom-type")) type = value_of(field);
    if (field.name == "id") id = value_of(field);
  }
  if (among(type, silent_objects)) return;
  if (!type.starts_with("memory-backend-"))
    return report_.ignore(0, fmt::format("the object {} is ignored", shown(type)));
  Backend backend{.epc = type == "memory-backend-epc", .section = {}, .used = false};
  backend.section.prealloc = false;
  backend.section.at = report_.at(0);
  for (const QemuField& field : *all) backend_field(field, backend);
  const bool has_size = std::ranges::find(*all, "size", &QemuField::name) != all->end();
  if (backend.epc && !has_size) report_.fail(0, fmt::format("{} has no size", shown(id)));
  if (!backends_.emplace(id, std::move(backend)).second)
    report_.fail(0, fmt::format("the object {} is there twice", shown(id)));
}

void QemuMemory::backend_field(const QemuField& field, Backend& backend) {
  const std::string value = value_of(field);
  if (field.name == "size") {
    const auto kib = read_qemu_size(value, bytes);
    // libvirt gives a node without RAM a backend of 0 bytes.
    if (!kib || (*kib == 0 && backend.epc)) return report_.wrong(field.offset, value, "a size such as '64M'");
    if (backend.epc && !is_whole_pages(value, *kib)) return report_.wrong(field.offset, value, whole_pages);
    backend.section.kib = *kib;
  } else if (field.name == "prealloc") {
    const auto on = field.value ? qemu_switch(value) : std::optional(true);
    if (!on) return report_.wrong(field.offset, value, "'on' or 'off'");
    backend.section.prealloc = *on;
  } else if (field.name == "host-nodes") {
    const auto nodes = read_nodes(value);
    if (!nodes) return report_.wrong(field.offset, value, "NUMA nodes such as '0-1'");
    std::vector<u32>& to = backend.section.host_nodes;
    to.insert(to.end(), nodes->begin(), nodes->end());
    std::ranges::sort(to);
    to.erase(std::unique(to.begin(), to.end()), to.end());
  } else if (field.name == "policy" && backend.epc && value != "bind" && value != "default") {
    report_.ignore(
        field.offset,
        fmt::format("policy={} of EPC is ignored: pages are of the nodes that are named, or of any", shown(value)));
  }
}

void QemuMemory::numa() {
  const std::vector<QemuField> all = report_.fields();
  if (value_of(all.front()) != "node") return report_.ignore(0, "'-numa' other than nodes is ignored");
  numa_at_ = report_.at(0);
  u32 id = static_cast<u32>(nodes_.size());
  GuestNode node;
  for (const QemuField& field : all) {
    const std::string value = value_of(field);
    if (field.name == "nodeid") {
      const auto number = read_whole(value, most_guest_nodes - 1);
      if (!number) return report_.wrong(field.offset, value, fmt::format("a node from 0 to {}", most_guest_nodes - 1));
      id = static_cast<u32>(*number);
    } else if (field.name == "cpus") {
      const auto cpus = read_cpus(value);
      if (!cpus) return report_.wrong(field.offset, value, "processors such as '0-3'");
      node.cpus.insert(node.cpus.end(), cpus->begin(), cpus->end());
    } else if (field.name == "memdev") {
      node_memory_[id] = {.memdev = value, .at = report_.at(field.offset)};
    } else if (field.name == "mem") {
      const auto kib = read_qemu_size(value, mebibyte);
      if (!kib) return report_.wrong(field.offset, value, "a size such as '64M'");
      node.kib = *kib;
    }
  }
  nodes_[id] = node;
}

void QemuMemory::section(const QemuField& field) {
  const std::string_view rest = std::string_view(field.name).substr(std::string_view("sgx-epc.").size());
  const std::size_t dot = std::min(rest.find('.'), rest.size());
  const auto number = read_whole(rest.substr(0, dot), most_sections - 1);
  const std::string_view what = rest.substr(std::min(dot + 1, rest.size()));
  if (!number || (what != "memdev" && what != "node") || !field.value) {
    return report_.wrong(field.offset, field.name, "'sgx-epc.N.memdev=ID' or 'sgx-epc.N.node=NODE'");
  }
  Section& section = sections_[static_cast<u32>(*number)];
  section.at = report_.at(field.offset);
  if (what == "memdev") {
    section.memdev = *field.value;
    return;
  }
  const auto node = read_whole(*field.value, most_guest_nodes - 1);
  if (!node) return report_.wrong(field.offset, *field.value, fmt::format("a node from 0 to {}", most_guest_nodes - 1));
  section.node = static_cast<u32>(*node);
}

void QemuMemory::old_epc() {
  Section section{.memdev = {}, .node = std::nullopt, .at = report_.at(0)};
  for (const QemuField& field : report_.fields()) {
    if (field.name == "memdev") section.memdev = value_of(field);
  }
  u32 free = first_section_;
  while (sections_.contains(free)) ++free;
  sections_[free] = std::move(section);
}

void QemuMemory::settle_epc(Vm& vm) {
  u32 next = first_section_;
  const bool several = has_nodes_ || !nodes_.empty();
  for (const auto& [number, section] : sections_) {
    const auto failed = [&report = report_, at = section.at](const std::string& message) {
      report.fail(Diagnostic{at, message});
    };
    if (number < first_section_) {
      failed(fmt::format("found sgx-epc.{} a second time", number));
      continue;
    }
    if (number != next) failed(fmt::format("found sgx-epc.{}, but no sgx-epc.{}", number, next));
    next = number + 1;
    const auto backend = backends_.find(section.memdev);
    if (backend == backends_.end() || !backend->second.epc) {
      failed(fmt::format("sgx-epc.{}: found memdev {}, expected a memory-backend-epc's id", number,
                         shown(section.memdev)));
      continue;
    }
    if (backend->second.used) failed(fmt::format("{} is in two sections", shown(section.memdev)));
    backend->second.used = true;
    const u32 node = section.node.value_or(0);
    if (node > 0 && nodes_.empty() && !has_nodes_)
      failed(fmt::format("sgx-epc.{}: found node {}, but no '-numa' that makes nodes", number, node));
    if (!nodes_.empty() && !has_nodes_ && !nodes_.contains(node))
      failed(fmt::format("sgx-epc.{}: found node {}, but no '-numa' that makes it", number, node));
    Epc epc = backend->second.section;
    // Where there is one node, the number says nothing.
    if (several || section.node.value_or(0) > 0) epc.guest_node = section.node;
    vm.epc.push_back(std::move(epc));
  }
  for (const auto& [id, backend] : backends_) {
    if (backend.epc && !backend.used) {
      report_.ignore(Diagnostic{backend.section.at,
                                fmt::format("the EPC {} is ignored: no 'sgx-epc.N.memdev' names it", shown(id))});
    }
  }
}

void QemuMemory::settle_nodes(Vm& vm) {
  if (nodes_.empty()) return;
  const auto failed = [&](const std::string& message) { report_.fail(Diagnostic{*numa_at_, "'-numa': " + message}); };
  std::vector<GuestNode> found;
  bool beyond = false;
  for (auto& [id, node] : nodes_) {
    if (id != found.size()) return failed(fmt::format("found node {}, but no node {}", id, found.size()));
    std::ranges::sort(node.cpus);
    // Of those that may be added later, of which a Vm knows nothing.
    beyond |= std::erase_if(node.cpus, [&](u32 cpu) { return cpu >= vm.vcpus; }) != 0;
    if (const auto memory = node_memory_.find(id); memory != node_memory_.end()) {
      const auto& [memdev, at] = memory->second;
      const auto backend = backends_.find(memdev);
      if (backend == backends_.end()) {
        return report_.fail(
            Diagnostic{at, fmt::format("'-numa': found memdev {}, expected a memory-backend's id", shown(memdev))});
      }
      node.kib = backend->second.section.kib;
    }
    found.push_back(node);
  }
  // One node has what is said to be in none.
  if (found.size() == 1 && found.front().cpus.empty())
    for (u32 cpu = 0; cpu < vm.vcpus; ++cpu) found.front().cpus.push_back(cpu);
  if (const auto twice = cpu_in_two(found)) return failed(fmt::format("the processor {} is in two nodes", *twice));
  if (beyond) {
    report_.ignore(Diagnostic{
        *numa_at_,
        fmt::format("processors of '-numa' from {} on are ignored: '-smp' has no more at the start", vm.vcpus)});
  }
  u64 kib = 0;
  for (const GuestNode& node : found) kib += node.kib;
  if (kib != vm.memory_kib) {
    report_.ignore(
        Diagnostic{*numa_at_, "the nodes of '-numa' are ignored: their RAM is not what '-m' says, or is not said"});
  } else if (found != guest_nodes(vm)) {
    vm.nodes = std::move(found);
  }
}

void QemuMemory::settle(Vm& vm) {
  settle_epc(vm);
  settle_nodes(vm);
}

}  // namespace cloister::toolstack::vm
