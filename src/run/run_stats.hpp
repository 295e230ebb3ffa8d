// What `cloister run --stats` says at the end.
#pragma once

#include <chrono>
#include <string>
#include <tl/expected.hpp>

#include "vmx/diagnostics.hpp"

namespace cloister::toolstack {

/// How many instructions guests retired, and how fast.
std::string speed_line(u64 instructions, std::chrono::duration<double> time);

/// How often the leaves of an enclave's life ran, whatever their result, and how many enclaves' asynchronous exits
/// there were: "SGX: 1 EENTER, 0 AEX, …".
std::string sgx_line(const vmx::diagnostics::Events& events);

}  // namespace cloister::toolstack
