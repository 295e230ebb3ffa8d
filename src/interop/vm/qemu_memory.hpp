// EPC, RAM and NUMA nodes in QEMU's command line: -object, sgx-epc of -machine and -numa, which name each other in any
// order.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "interop/vm/qemu_report.hpp"
#include "interop/vm/vm.hpp"

namespace cloister::toolstack::vm {

/// What EPC comes in; QEMU takes other sizes, and the guest does not get what is over.
inline constexpr std::string_view whole_pages = "whole pages of 4 KiB: a size without a suffix is one in bytes";
/// A machine whose guests get no EPC: it takes what is said of it, and passes over it (hw/i386/microvm.c).
inline bool has_no_epc(std::string_view machine) { return machine.starts_with("microvm"); }
std::string no_epc_on(std::string_view machine);

class QemuMemory {
 public:
  /// `first_section`: of these arguments, where others have been described. The report must outlive it.
  QemuMemory(QemuReport& report, u32 first_section, bool has_nodes)
      : report_(report), first_section_(first_section), has_nodes_(has_nodes) {}

  /// The report's option is one -object.
  void object();
  /// It is -numa.
  void numa();
  /// It is -sgx-epc of Intel's QEMU of before 6.2: id=epc1,memdev=mem1.
  void old_epc();
  /// sgx-epc.N.memdev=ID, sgx-epc.N.node=NODE of -machine.
  void section(const QemuField& field);

  /// Gives the machine what was found, when all has been read.
  void settle(Vm& vm);

 private:
  /// A memory-backend-*.
  struct Backend {
    bool epc = false;
    Epc section;
    bool used = false;
  };
  /// sgx-epc.N of the machine.
  struct Section {
    std::string memdev;
    std::optional<u32> node;
    Position at;
  };
  /// -numa node,memdev=ID
  struct NodeMemory {
    std::string memdev;
    Position at;
  };

  void backend_field(const QemuField& field, Backend& backend);
  void settle_epc(Vm& vm);
  void settle_nodes(Vm& vm);

  QemuReport& report_;
  u32 first_section_;
  bool has_nodes_;
  std::optional<Position> numa_at_;
  std::map<std::string, Backend> backends_;
  std::map<u32, Section> sections_;
  std::map<u32, GuestNode> nodes_;
  std::map<u32, NodeMemory> node_memory_;
};

}  // namespace cloister::toolstack::vm
