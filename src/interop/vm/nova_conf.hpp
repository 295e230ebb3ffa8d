// nova.conf: the INI dialect of oslo.config (iniparser.py), and what its [libvirt] section says of the CPU
// (nova/conf/libvirt.py).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "interop/vm/vm.hpp"
#include "text/diagnostic.hpp"

namespace cloister::toolstack::vm {

/// A piece of a file, with the place where it begins.
struct Word {
  std::string text;
  Position at;
  bool operator==(const Word&) const = default;
};

/// A key with its value. A value goes on in lines that begin with a blank; `lines` has at least one.
struct NovaSetting {
  std::string section;  ///< in small letters, as oslo.config compares them; "DEFAULT" as it is
  std::string key;
  Position at;
  std::vector<Word> lines;
};

/// All settings in the order of the file, repeated ones too; the error is the first one, where oslo.config has one.
tl::expected<std::vector<NovaSetting>, Diagnostic> read_oslo(std::string_view text);

/// One of cpu_model_extra_flags: "sgx" and "+sgx" enable, "-sgx" disables.
struct NovaFlag {
  std::string name;  ///< in small letters, as Nova hands it to libvirt
  bool on = true;
  Position at;
  bool operator==(const NovaFlag&) const = default;
};

/// The CPU that Nova gives its guests on a compute host.
struct NovaCpu {
  std::optional<Word> virt_type;
  std::optional<Word> mode;             ///< cpu_mode; absent: host-model with kvm and qemu, else none
  std::vector<Word> models;             ///< cpu_models; of them Nova takes the first that has a flavor's traits
  std::vector<NovaFlag> flags;          ///< cpu_model_extra_flags
  std::optional<Position> old_models;   ///< where cpu_model, the name before Nova 20, says the models
  std::vector<Word> sgx_keys;           ///< settings of any section whose names begin with "sgx_": Nova has none
  std::optional<Position> flags_begin;  ///< where cpu_model_extra_flags is
};
/// Of a key that is repeated, the last counts; of cpu_models and cpu_model, the first.
tl::expected<NovaCpu, Diagnostic> read_nova_conf(std::string_view text);

/// The same as other readers give it. A word that is no mode is left for lint: `unspecified`.
Cpu cpu_of(const NovaCpu& nova);

}  // namespace cloister::toolstack::vm
