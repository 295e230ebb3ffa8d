// Rules about the enclave page cache: a memory-backend-epc, which -M sgx-epc.N puts into the guest (QEMU's
// docs/system/i386/sgx.rst), or libvirt's <memory model='sgx-epc'>, of which libvirt makes both.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "interop/lint/rules.hpp"
#include "interop/vm/sizes.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::lint {

namespace {

const Flag* first_sgx_flag(const CpuChoice& cpu) {
  for (const Flag& flag : cpu.flags)
    if (flag.on && flag.feature != nullptr && policy::find_sgx_flag(flag.feature->name) != nullptr) return &flag;
  return nullptr;
}

/// How many NUMA nodes the host's EPC is on; 0: unknown.
std::size_t host_nodes(const Case& of) {
  if (of.host != nullptr && of.host->environment && !of.host->environment->node_bytes.empty())
    return of.host->environment->node_bytes.size();
  if (of.report == nullptr || !of.report->sections) return 0;
  std::set<u32> nodes;
  for (const policy::EpcSectionView& section : *of.report->sections)
    if (section.node) nodes.insert(*section.node);
  // CPUID says nothing of nodes; each package has a section.
  return nodes.empty() ? of.report->sections->size() : nodes.size();
}

}  // namespace

void flags_without_epc(const Case& of, const Report& report) {
  const CpuChoice* cpu = of.subject.cpu();
  if (of.subject.format == Format::nova || !of.subject.epc.empty() || cpu == nullptr || !cpu->has_sgx()) return;
  const Flag* flag = first_sgx_flag(*cpu);
  if (flag == nullptr) return;
  report(flag->at, "the guest has SGX and no EPC: no enclave can be made",
         of.subject.format == Format::libvirt
             ? "add <memory model='sgx-epc'><target><size unit='MiB'>64</size></target></memory> to <devices>"
             : "add -object memory-backend-epc,id=epc0,size=64M,prealloc=on and -M "
               "sgx-epc.0.memdev=epc0,sgx-epc.0.node=0");
}

void epc_without_flags(const Case& of, const Report& report) {
  const CpuChoice* cpu = of.subject.cpu();
  if (of.subject.epc.empty() || (cpu != nullptr && cpu->has_sgx())) return;
  const Flag* off = cpu == nullptr ? nullptr : cpu->find("sgx");
  const std::string model = cpu == nullptr || cpu->model.empty() ? "the default processor" : shown(cpu->model);
  report(of.subject.epc.front().at,
         off != nullptr ? std::string("the guest gets EPC, and a processor with sgx switched off")
                        : fmt::format("the guest gets EPC, and {}, which has no SGX: no named model has", model),
         "add sgx, sgx1 and the attributes that its enclaves need, such as sgx-mode64, or take the host's processor");
}

void no_prealloc(const Case& of, const Report& report) {
  for (const EpcSection& section : of.subject.epc) {
    if (section.prealloc) continue;
    report(section.at,
           "without prealloc=on pages are taken when the guest touches them: if the host has none left then, the guest "
           "is killed",
           "add prealloc=on, and a shortage shows at the start");
  }
}

void epc_on_no_node(const Case& of, const Report& report) {
  const bool xml = of.subject.format == Format::libvirt;
  const std::size_t nodes = host_nodes(of);
  for (const EpcSection& section : of.subject.epc) {
    if (nodes > 1 && !section.on_host_nodes)
      report(section.at, fmt::format("the host has EPC on {} NUMA nodes, and this may be of any of them", nodes),
             xml ? "add <source><nodemask>0</nodemask></source> with the node of the guest's processors"
                 : "add host-nodes=0,policy=bind with the node of the guest's processors");
    if (section.on_guest_node) continue;
    if (of.subject.guest_numa)
      report(section.at, "the guest has several NUMA nodes, and this EPC is in none of them",
             xml ? "add <node>0</node> to its <target>" : "add sgx-epc.N.node=0 to -M");
    else if ((!xml || section.past_libvirt) && section.attached)
      report(section.at, "QEMU does not start since version 7.0: sgx-epc.N.node is missing",
             "add sgx-epc.N.node=0 to -M");
  }
}

void old_sgx_epc(const Case& of, const Report& report) {
  for (const Position at : of.subject.old_options)
    report(at, "QEMU has no option -sgx-epc; Intel's branch of it had, before version 6.2 brought SGX to all",
           of.subject.format == Format::libvirt
               ? "write <memory model='sgx-epc'> in <devices>, and take this and its backend out of <qemu:commandline>"
               : "write -M sgx-epc.0.memdev=ID,sgx-epc.0.node=0 with the backend's id");
}

void rounded_epc(const Case& of, const Report& report) {
  if (of.subject.format != Format::libvirt) return;
  for (const EpcSection& section : of.subject.epc) {
    const u64 given = vm::as_libvirt_gives(section.kib);
    if (section.past_libvirt || given == section.kib) continue;
    report(section.at,
           fmt::format("libvirt gives the guest {} KiB of EPC, not {}: it rounds sizes up", given, section.kib),
           fmt::format("write <size unit='KiB'>{}</size>", given));
  }
}

void epc_past_libvirt(const Case& of, const Report& report) {
  for (const EpcSection& section : of.subject.epc) {
    if (!section.past_libvirt) continue;
    const std::string size =
        section.kib == 0 ? "<size unit='MiB'>64</size>" : fmt::format("<size>{}</size>", section.kib);
    report(
        section.at,
        "this EPC goes past libvirt, which does not let QEMU open /dev/sgx_vepc for it ('invalid object type: "
        "memory-backend-epc'), and asks it for properties that the EPC lacks ('qom-get': 'Property "
        "sgx-epc.unavailable-features not found')",
        fmt::format("take it out of <qemu:commandline>, and add <memory model='sgx-epc'><target>{}<node>0</node>"
                    "</target></memory> to <devices>; `cloister cpu render --for libvirt` writes the whole domain so",
                    size));
  }
}

void old_word(const Case& of, const Report& report) {
  for (const auto& [at, word] : of.subject.old_words)
    report(at, fmt::format("{} is of {}; nothing of it reaches the guest", word.written, word.whose),
           std::string(word.mend));
}

/// libvirt's qemuDomainDefValidateMemoryHotplug (src/qemu/qemu_domain.c).
void refused_epc(const Case& of, const Report& report) {
  for (const Refused& refused : of.subject.refused) report(refused.at, refused.what, refused.mend);
  const auto& sections = of.subject.epc;
  const auto first = std::ranges::find(sections, false, &EpcSection::past_libvirt);
  if (!of.subject.room || first == sections.end()) return;
  const Room& room = *of.subject.room;
  const u64 needed = room.ram_kib + room.devices_kib;
  const std::string most = fmt::format("<maxMemory slots='{}' unit='KiB'>{}</maxMemory>", room.devices, needed);
  if (!room.at)
    report(first->at, "libvirt refuses the domain: EPC is a memory device to it, and there is no <maxMemory>",
           "add " + most);
  else if (room.kib < needed)
    report(*room.at,
           fmt::format(
               "libvirt refuses the domain: RAM and memory devices, EPC among them, are {} KiB, more than <maxMemory> "
               "has",
               needed),
           "write " + most);
  else if (room.slots < room.devices)
    report(
        *room.at,
        fmt::format("libvirt 9 refuses the domain: {} memory devices, EPC among them, and fewer slots", room.devices),
        fmt::format("write slots='{}'", room.devices));
  if (!room.cells)
    report(first->at, "libvirt refuses the domain: it has EPC, and no NUMA node that libvirt knows of",
           fmt::format(
               "add <numa><cell id='0' memory='{}' unit='KiB'/></numa> to <cpu>, with cpus='0-N' for all processors",
               room.ram_kib));
}

void epc_not_attached(const Case& of, const Report& report) {
  const Subject& subject = of.subject;
  if (subject.without_epc)
    report(subject.without_epc->at,
           fmt::format("the guest gets no EPC: the machine {} passes over sgx-epc", shown(subject.without_epc->text)),
           "take the machine q35 or pc");
  if (subject.old_options.empty()) {
    for (const vm::Word& backend : subject.unattached)
      report(backend.at,
             fmt::format("the guest does not get this EPC: no -M sgx-epc.N.memdev names {}", shown(backend.text)),
             fmt::format("add sgx-epc.0.memdev={},sgx-epc.0.node=0 to -M", shown(backend.text)));
  }
}

}  // namespace cloister::toolstack::lint
