// SIGTERM as a descriptor that a poll() waits for.
#pragma once

#include "host/files.hpp"

namespace cloister::toolstack {

/// While it lives, SIGTERM makes the descriptor readable rather than end the process. One at a time.
class Termination {
 public:
  Termination();
  ~Termination();
  Termination(const Termination&) = delete;
  Termination& operator=(const Termination&) = delete;

  int descriptor() const { return wake_.get(); }
  /// How often it came since the last call.
  unsigned take();

 private:
  Fd wake_;
};

}  // namespace cloister::toolstack
