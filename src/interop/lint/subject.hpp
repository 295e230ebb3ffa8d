// What lint looks at, in whatever format a person settled it: the processor, its flags and the EPC, as written and with
// their places. Readers of vm/ make a whole of a file or refuse it; here also what cannot work is kept.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "interop/lint/old_words.hpp"
#include "interop/vm/nova_conf.hpp"
#include "interop/vm/vm.hpp"
#include "policy/flags.hpp"
#include "text/diagnostic.hpp"

namespace cloister::toolstack::lint {

enum class Format : u8 {
  libvirt,  ///< domain XML
  nova,     ///< nova.conf
  qemu,     ///< a command line; a Position's line is the number of an argument, from 1 after the program
};
/// "libvirt's domain XML".
std::string_view name_of(Format format);

/// A flag as written, without a sign or a value.
struct Flag {
  std::string word = {};
  const policy::Feature* feature = nullptr;  ///< by any tool's spelling; null: unknown to us
  bool on = true;
  Position at = {};
};

/// One choice of a processor: libvirt's <cpu>, Nova's keys, or QEMU's option -cpu.
struct CpuChoice {
  vm::CpuMode mode = vm::CpuMode::unspecified;
  std::string model = {};
  std::vector<Flag> flags = {};
  std::vector<std::string> odd_values = {};  ///< "sgx=maybe", of flags whose values QEMU does not take
  Position at = {};
  bool option = false;  ///< of QEMU, in an argv or in <qemu:commandline>

  /// The last word on a feature, by our first name for it.
  const Flag* find(std::string_view feature) const;
  bool has_on(std::string_view feature) const;
  /// The processor is the host's, with what it has of SGX.
  bool from_host() const;
  /// The guest gets SGX, as far as the choice goes.
  bool has_sgx() const;
};

struct EpcSection {
  Position at;
  u64 kib = 0;  ///< 0: unknown
  bool prealloc = true;
  bool on_host_nodes = false;  ///< bound to NUMA nodes of the host
  bool on_guest_node = false;
  bool attached = true;       ///< the guest gets it
  bool past_libvirt = false;  ///< in <qemu:commandline>
};

/// What libvirt makes room for: memory devices, which EPC is to it, are beside the RAM of the NUMA cells.
struct Room {
  std::optional<Position> at;        ///< of <maxMemory>; absent: there is none
  u64 kib = 0, slots = 0;            ///< of <maxMemory>
  u64 ram_kib = 0, devices_kib = 0;  ///< what must fit
  u64 devices = 0;
  bool cells = false;
};

/// Where a file says that the guest runs without KVM.
struct WithoutKvm {
  Position at;
  std::string said;  ///< "-accel tcg"
  std::string mend;
};

/// EPC that libvirt or QEMU does not take, in the words of the readers of vm/.
struct Refused {
  Position at;
  std::string what;  ///< was found, and was expected
  std::string mend;
};

struct Subject {
  Format format = Format::libvirt;
  std::vector<CpuChoice> cpus = {};  ///< in the order in which QEMU sees them; it obeys the last one
  std::vector<EpcSection> epc = {};
  bool guest_numa = false;  ///< two nodes or more
  /// -sgx-epc, the option of Intel's branch of QEMU.
  std::vector<Position> old_options = {};
  std::vector<std::pair<Position, OldWord>> old_words = {};
  std::vector<vm::Word> unattached = {};  ///< memory-backend-epc that no sgx-epc.N.memdev names
  std::vector<Refused> refused = {};
  std::vector<vm::Word> joined = {};     ///< an option and its value in one argument
  std::vector<vm::Word> arguments = {};  ///< of a command line
  std::optional<vm::NovaCpu> nova = {};
  std::optional<WithoutKvm> without_kvm = {};
  std::optional<Position> second_accelerator = {};  ///< of -machine, beside an -accel
  std::optional<vm::Word> without_epc = {};         ///< a machine whose guests get none
  std::optional<Room> room = {};                    ///< of domain XML
  std::optional<Diagnostic> note = {};              ///< to be told of the file

  /// There is something of SGX to be judged, if only a wrong word.
  bool asks_for_sgx() const;
  /// What QEMU obeys; null: nothing was chosen.
  const CpuChoice* cpu() const { return cpus.empty() ? nullptr : &cpus.back(); }
};

/// Of a file in any of the formats: a hundred times what is usual.
inline constexpr u64 longest_settings = 1 << 20;

/// The format is recognised by the first character that says it.
tl::expected<Subject, Diagnostic> read_subject(std::string_view text);

// One reader for each format.
tl::expected<Subject, Diagnostic> read_libvirt(std::string_view text);
tl::expected<Subject, Diagnostic> read_nova(std::string_view text);
tl::expected<Subject, Diagnostic> read_qemu(std::string_view text);

/// Adds what arguments for QEMU say; each with its place.
void add_arguments(Subject& subject, const std::vector<vm::Word>& arguments);

/// Looks the flag up in the tool's words, then in all.
Flag make_flag(std::string word, policy::Tool tool, bool on, Position at);

}  // namespace cloister::toolstack::lint
