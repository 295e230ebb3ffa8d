// Why a request cannot be met, with HTTP's status for it.
#pragma once

#include <string>

#include "text/diagnostic.hpp"

namespace cloister::toolstack {

struct ApiError {
  int status = 500;
  std::string message{};
  std::string file{};           ///< of the configuration; empty: the error does not stand there
  u32 line = 0, column = 0;     ///< 0: the file as a whole
  bool host_goes_down = false;  ///< nothing is wrong with what was asked: it is not the time
};

/// Of a configuration, with the place in it.
inline ApiError in_config(const std::string& file, const Diagnostic& diagnostic, int status = 400) {
  return {.status = status,
          .message = diagnostic.message,
          .file = file,
          .line = diagnostic.at.line,
          .column = diagnostic.at.column};
}

}  // namespace cloister::toolstack
