// The CPU models that QEMU has (target/i386/cpu.c, builtin_x86_defs), up to version 10.1, without their versions.
#pragma once

#include <array>
#include <string_view>

namespace cloister::toolstack::vm {

inline constexpr auto qemu_models = std::to_array<std::string_view>({"486",
                                                                     "Broadwell",
                                                                     "Broadwell-IBRS",
                                                                     "Broadwell-noTSX",
                                                                     "Broadwell-noTSX-IBRS",
                                                                     "Cascadelake-Server",
                                                                     "Cascadelake-Server-noTSX",
                                                                     "ClearwaterForest",
                                                                     "Conroe",
                                                                     "Cooperlake",
                                                                     "Denverton",
                                                                     "Dhyana",
                                                                     "DiamondRapids",
                                                                     "EPYC",
                                                                     "EPYC-Genoa",
                                                                     "EPYC-IBPB",
                                                                     "EPYC-Milan",
                                                                     "EPYC-Rome",
                                                                     "EPYC-Turin",
                                                                     "GraniteRapids",
                                                                     "Haswell",
                                                                     "Haswell-IBRS",
                                                                     "Haswell-noTSX",
                                                                     "Haswell-noTSX-IBRS",
                                                                     "Icelake-Client",
                                                                     "Icelake-Client-noTSX",
                                                                     "Icelake-Server",
                                                                     "Icelake-Server-noTSX",
                                                                     "IvyBridge",
                                                                     "IvyBridge-IBRS",
                                                                     "KnightsMill",
                                                                     "Nehalem",
                                                                     "Nehalem-IBRS",
                                                                     "Opteron_G1",
                                                                     "Opteron_G2",
                                                                     "Opteron_G3",
                                                                     "Opteron_G4",
                                                                     "Opteron_G5",
                                                                     "Penryn",
                                                                     "SandyBridge",
                                                                     "SandyBridge-IBRS",
                                                                     "SapphireRapids",
                                                                     "SierraForest",
                                                                     "Skylake-Client",
                                                                     "Skylake-Client-IBRS",
                                                                     "Skylake-Client-noTSX-IBRS",
                                                                     "Skylake-Server",
                                                                     "Skylake-Server-IBRS",
                                                                     "Skylake-Server-noTSX-IBRS",
                                                                     "Snowridge",
                                                                     "Westmere",
                                                                     "Westmere-IBRS",
                                                                     "YongFeng",
                                                                     "athlon",
                                                                     "base",
                                                                     "core2duo",
                                                                     "coreduo",
                                                                     "host",
                                                                     "kvm32",
                                                                     "kvm64",
                                                                     "max",
                                                                     "n270",
                                                                     "pentium",
                                                                     "pentium2",
                                                                     "pentium3",
                                                                     "phenom",
                                                                     "qemu32",
                                                                     "qemu64"});

/// "Skylake-Client" of "Skylake-Client-v4".
constexpr std::string_view without_version(std::string_view model) {
  const std::size_t at = model.rfind("-v");
  const bool version =
      at != model.npos && at + 2 < model.size() && model.substr(at + 2).find_first_not_of("0123456789") == model.npos;
  return version ? model.substr(0, at) : model;
}

}  // namespace cloister::toolstack::vm
