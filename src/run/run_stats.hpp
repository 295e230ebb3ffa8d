// What `cloister run --stats` says at the end.
#pragma once

#include <chrono>
#include <string>
#include <tl/expected.hpp>

#include "config/engine.hpp"
#include "vmx/diagnostics.hpp"
#include "vmx/execution.hpp"

namespace cloister::toolstack {

/// How many instructions guests retired, and how fast.
std::string speed_line(u64 instructions, std::chrono::duration<double> time);

/// What ran those instructions: the engine's name, and of one that translates code how much it was, and which part of
/// the instructions ran from it.
std::string engine_line(Engine engine, const vmx::Execution& execution);

/// How often the leaves of an enclave's life ran, whatever their result, and how many enclaves' asynchronous exits
/// there were: "SGX: 1 EENTER, 0 AEX, …".
std::string sgx_line(const vmx::diagnostics::Events& events);

}  // namespace cloister::toolstack
