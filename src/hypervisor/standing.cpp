// A machine that has stood still, or comes from elsewhere, and goes on: what its clocks, its guest and its networks are
// told of it.
#include <utility>

#include "hypervisor/devices/announcement.hpp"
#include "hypervisor/machine.hpp"

namespace cloister::hypervisor {

void Machine::came() {
  stands_since_ = now();
  date_is_off_ = true;
  is_new_here_ = true;
}

/// Before anything of it moves: nobody else has the interfaces' turns.
void Machine::announce() {
  for (const auto& interface : interfaces) {
    platform::virtio::Wire& wire = interface->wire();
    if (!wire.up() || !wire.has_room()) continue;
    wire.send(0, {}, announcement_of(interface->state().mac));
    wire.flush();
  }
}

void Machine::go_on() {
  if (stands_since_ && !deterministic()) {
    const u64 since = *stands_since_, stood = now() - since;
    if (stood > spec.longest_pause) {
      time.resume(since);
      rtc.stood_still(stood, since);
      date_is_off_ = true;
    }
  }
  stands_since_.reset();
  if (std::exchange(is_new_here_, false) && !deterministic()) announce();
  if (std::exchange(date_is_off_, false) && vsock != nullptr) vsock->peers().stood_still();
}

}  // namespace cloister::hypervisor
