// A domain that is written down while it runs: its RAM in rounds, each of what the one before has seen changing (the
// dirty log, vmx/memory.hpp), then, when its guest stands still, the rest. The stream is that of a saved domain
// (save.hpp) but for the rounds: records `ram` between `domain` and a record `still`.
#pragma once

#include <atomic>

#include "hypervisor/specification.hpp"
#include "stream/reader.hpp"
#include "stream/writer.hpp"

namespace cloister::hypervisor {

class Machine;

class LiveCopy {
 public:
  /// Both must outlive this.
  LiveCopy(Machine& machine, stream::Writer& to) : machine_(machine), to_(to) {}

  // In this order; look() and send() again and again. The guest may run but for finish(), before which it is paused and
  // stays so.
  tl::expected<void, std::string> begin();
  /// How many pages are to be sent: at first all that may not be zeros, then those that were stored into meanwhile.
  u64 look();
  /// Sends them, as they are by now.
  tl::expected<void, std::string> send();
  tl::expected<void, std::string> finish();

 private:
  struct Range {
    arch::Gpa base;
    std::vector<bool> pages;  ///< to be sent
  };
  Machine& machine_;
  stream::Writer& to_;
  std::vector<Range> ranges_;
  bool first_ = true;  ///< of zeros nothing is to be said yet
};

/// The rounds of such a stream, behind may_load(): what follows is for load().
tl::expected<void, std::string> load_rounds(Machine& machine, stream::Reader& from);

}  // namespace cloister::hypervisor
