// What `cloister` says of itself: on standard error, one short line each.
#pragma once

#include <spdlog/spdlog.h>

#include <vector>

#include "run/patience.hpp"

namespace cloister::toolstack {

/// First thing in the program.
void set_up_messages();

/// While it lives, messages wait for their reader only as long as the patience does. Made and destroyed while no other
/// thread logs.
class PatientMessages {
 public:
  /// patience must outlive this.
  explicit PatientMessages(Patience& patience);
  ~PatientMessages();
  PatientMessages(const PatientMessages&) = delete;
  PatientMessages& operator=(const PatientMessages&) = delete;

 private:
  std::vector<spdlog::sink_ptr> before_;
};

}  // namespace cloister::toolstack
