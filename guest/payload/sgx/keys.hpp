// What a launch enclave does.
#pragma once

#include "machine.hpp"

namespace sgx {

/// Fills in what a launch enclave says of itself in a token, and the MAC under the launch key, which it gets from
/// EGETKEY, as enclave 1.
void seal_token(arch::Einittoken& token);

}  // namespace sgx
