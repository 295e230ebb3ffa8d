// A diagnostic in the form that editors and compilers share.
#include "text/diagnostic.hpp"

#include "text/shown.hpp"

namespace cloister::toolstack {

std::string format(const std::string& file, const Diagnostic& diagnostic) {
  std::string text = printable(file) + ":";
  if (diagnostic.at.line != 0) {
    text += std::to_string(diagnostic.at.line) + ":" + std::to_string(diagnostic.at.column) + ":";
  }
  return text + " " + diagnostic.message;
}

}  // namespace cloister::toolstack
