// The commands of `cloister-enclave`: files in, files out, and the text for stdout. An error begins with the file's
// name.
#pragma once

#include "enclave/settings.hpp"

namespace cloister::enclave {

struct Arguments {
  std::string program, enclave, signature, key, settings;
  std::vector<std::string> set;
  bool generate = false;
};

Result<std::string> build(const Arguments& arguments);
Result<std::string> sign(const Arguments& arguments);
Result<std::string> inspect(const Arguments& arguments);
Result<std::string> verify(const Arguments& arguments);

}  // namespace cloister::enclave
