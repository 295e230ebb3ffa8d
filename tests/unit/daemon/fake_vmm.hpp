// A VMM without a guest: it does what launch and control protocol ask, or what a comment in the domain's configuration
// says instead ("# vmm: WORD"; the words are in fake_vmm.cpp). It is this test program, started as a VMM is.
#pragma once

#include <string>

namespace cloister::tests {

/// Where this file is, beside the one that a request names as the configuration's, the domain's VMM hangs up on
/// whoever asks for its descriptors.
inline std::string mute_file(const std::string& config_file) { return config_file + ".mute"; }

/// Where a VMM says, in the order of LaunchKeys, what it was given: two secrets in hexadecimal and the boot number of
/// its counters, or "none".
inline std::string keys_file(const std::string& config_file, const std::string& domain) {
  return config_file + "." + domain + ".keys";
}

/// Where this file is, likewise, the domain's VMM answers "run" if the word is "runs-late".
inline std::string run_file(const std::string& config_file) { return config_file + ".run"; }

/// Whether this process was started as a VMM.
bool is_vmm(const char* title);
/// The exit status.
int run_fake_vmm();

}  // namespace cloister::tests
