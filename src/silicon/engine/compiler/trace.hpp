// What is translated at once: a block, and in the same page those that it leads to most of the time, one after the
// other. Between two of them there is neither a jump nor a look at budget, attention or staleness: the head has paid
// for all, and who leaves in between gets back what the blocks behind cost. What lives in flags and what has been seen
// of the TLB goes on from one to the next.
//
// Nobody else sees it. A block's handlers are its own, an operation that calls one leaves the trace, and each block may
// be translated for itself as well, where it is entered from elsewhere.
#pragma once

#include <vector>

#include "silicon/state/op.hpp"

namespace cloister::silicon {

struct TracePart {
  Block* block = nullptr;
  u64 page_offset = 0;  ///< of its first instruction
  bool taken = false;   ///< its branch is, on the way to the next part
  u32 first = 0;        ///< its first operation's number in the trace
};
using Trace = std::vector<TracePart>;

/// The trace that begins with `head`, whose RIP that is, by the ways that its blocks' runs have gone so far (their
/// `links`).
Trace trace_from(Block& head, u64 rip);

}  // namespace cloister::silicon
