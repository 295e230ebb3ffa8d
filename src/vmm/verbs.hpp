// The VMM's answers to the control protocol (control.hpp): a table of verbs.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "host/packet.hpp"
#include "vmm/console_hub.hpp"
#include "vmm/lifecycle.hpp"
#include "vmm/mover.hpp"
#include "vmm/saver.hpp"

namespace cloister::toolstack {

/// What the verbs work on.
struct VerbContext {
  u32 id = 0;
  Lifecycle& lifecycle;
  const DomainPage& page;
  std::vector<int> descriptors;  ///< in the order of control_fd; borrowed
  bool paged = false;            ///< its EPC
  ConsoleHub* hub = nullptr;     ///< none: it has no console
  Saver* saver = nullptr;        ///< none: it cannot be saved
  Mover* mover = nullptr;        ///< none: it cannot be moved
  u64 ram = 0;                   ///< bytes
};

struct Reply {
  nlohmann::json body;
  std::vector<int> descriptors;  ///< borrowed
};

/// Never fails: what is wrong with the request is the reply.
Reply answer(VerbContext& context, const Packet& request);

}  // namespace cloister::toolstack
