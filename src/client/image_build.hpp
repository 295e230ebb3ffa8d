// `cloister image build`: a disk with Debian on it, by the script that is installed with this program. It runs in a
// process group of its own, which is told what this process is told, so that whoever ends the one ends all of the
// other.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace cloister::toolstack::client {

struct ImageArguments {
  /// Options that were given, with their values, in the script's own words; a flag has none.
  std::vector<std::pair<std::string, std::string>> options{};
  std::string image;
};

/// The exit status: the script's, or 128 and the number of the signal that ended it.
int build_image(const ImageArguments& arguments);

}  // namespace cloister::toolstack::client
