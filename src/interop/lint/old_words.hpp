// What was once the word for a guest's SGX in patches, and what took its place when SGX went into the tools themselves:
// QEMU 6.2 (docs/system/i386/sgx.rst), libvirt 8.10 (formatdomain, "memory devices"), Nova's settings for any CPU flag.
#pragma once

#include <string_view>

namespace cloister::toolstack::lint {

struct OldWord {
  std::string_view written, whose;
  std::string_view mend;
};

inline constexpr std::string_view qemu_epc =
    "write -object memory-backend-epc,id=epc0,size=64M,prealloc=on and -M sgx-epc.0.memdev=epc0,sgx-epc.0.node=0";
inline constexpr OldWord old_machine_epc{"epc= of -machine", "Intel's first patches for QEMU", qemu_epc};
inline constexpr OldWord old_sgx_option{"-sgx", "Intel's first patches for QEMU", qemu_epc};
inline constexpr OldWord old_libvirt_sgx{
    "<sgx> in <features>", "patches for libvirt that were not taken",
    "write <memory model='sgx-epc'><target><size unit='MiB'>64</size><node>0</node></target></memory> in <devices>"};
inline constexpr OldWord old_nova_words[] = {
    {"sgx_epc_mb", "patches for Nova that were not taken",
     "Nova has no word for EPC: `cloister cpu render --for nova` writes what libvirt's XML of the instance needs"},
    {"sgx_features", "patches for Nova that were not taken", "write the flags in cpu_model_extra_flags"}};

}  // namespace cloister::toolstack::lint
