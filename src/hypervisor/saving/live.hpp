// A domain that is written down while it runs: its RAM in rounds, each of what the one before has seen changing (the
// dirty log, vmx/memory.hpp), then, when its guest stands still, the rest. The stream is that of a saved domain
// (save.hpp) but for the rounds: records `ram` between `domain` and a record `still`. With its enclaves records
// `epc-page` are among them, of what a pager has evicted early (epc/moving/movable_epc.hpp), of which the last one of a
// page counts; and there is a record `all-but-root` in front of their root, which leaves only when it is known that the
// domain may run elsewhere.
#pragma once

#include "hypervisor/epc/moving/moved_epc.hpp"
#include "hypervisor/saving/enclaves.hpp"
#include "hypervisor/specification.hpp"
#include "stream/reader.hpp"
#include "stream/writer.hpp"
#include "vmx/root_mover.hpp"

namespace cloister::hypervisor {

class Machine;

class LiveCopy {
 public:
  /// Both must outlive this.
  LiveCopy(Machine& machine, stream::Writer& to) : machine_(machine), to_(to) {}
  /// Enclaves that have not left are as before.
  ~LiveCopy();
  LiveCopy(const LiveCopy&) = delete;
  LiveCopy& operator=(const LiveCopy&) = delete;

  // In this order; look() and send() again and again. The guest may run but for finish(), before which it is paused and
  // stays so.
  /// enclaves: they go with it.
  tl::expected<void, std::string> begin(bool enclaves = false);
  /// How many pages are to be sent: at first all that may not be zeros, then those that were stored into meanwhile.
  u64 look();
  /// Of its enclaves, likewise: those that are here, and those that went since they were sent.
  u64 epc_left() const;
  /// Sends RAM's, as they are by now.
  tl::expected<void, std::string> send();
  /// Sends what of EPC leaves early, and says how many pages. hot: also what was used since the last time; unless it is
  /// the first time, the guest has to wait for each page that comes back, up to the next time or the end.
  tl::expected<u64, std::string> send_epc(bool hot);
  tl::expected<void, std::string> finish();

  // With its enclaves, in place of finish():
  /// All but their root. An error: they are as before.
  tl::expected<void, std::string> finish_but_root();
  /// Then the rest. An error: nothing but that is missing, unless they have left (`left`), and come back by
  /// Domain::take_enclaves_back() alone.
  tl::expected<void, std::string> finish_with_root(const vmx::MoveSession& session, bool& left);
  /// Or they stay, and are as before.
  tl::expected<void, std::string> keep_enclaves();

 private:
  tl::expected<void, std::string> send_rest();

  struct Range {
    arch::Gpa base;
    std::vector<bool> pages;  ///< to be sent
  };
  Machine& machine_;
  stream::Writer& to_;
  std::vector<Range> ranges_;
  bool first_ = true;      ///< of zeros nothing is to be said yet
  bool enclaves_ = false;  ///< they go with it
  bool again_ = false;     ///< EPC was sent
  std::vector<EarlyPage> early_;
  u32 root_ = 0;
};

/// The rounds of such a stream, behind may_load(): what follows is for load(). enclaves: get what comes of these; null:
/// none come.
tl::expected<void, std::string> load_rounds(Machine& machine, stream::Reader& from,
                                            ArrivingEnclaves* enclaves = nullptr);

}  // namespace cloister::hypervisor
