// What the payload `sgx_working_set` finds in its ramdisk, and the enclave that it builds: its host-side half is
// tests/payload/suite/working_set.cpp.
//
// The enclave's threads go over its pages in orders that the ramdisk has: of each page one word of every cache line is
// read and, if the run says so, a counter increased. What they found is printed, a line for each run; so whoever wrote
// the ramdisk can tell whether every page was what it was, and how often it was written.
#pragma once

#include "arch/sgx.hpp"

namespace working_set {

namespace arch = cloister::arch;

inline constexpr unsigned page_bytes = 4096, line_bytes = 64, lines = page_bytes / line_bytes;
inline constexpr unsigned most_threads = 4, most_runs = 32;

/// One thing that all threads do at a time, each with its part of the order: `count` entries for each, from
/// first + count * thread on, `times` times.
struct Run {
  unsigned first, count, times;
  unsigned writes;  ///< not 0: they increase the counters
};

struct Header {
  arch::Sigstruct sigstruct;
  unsigned char signer[32];  ///< its MRSIGNER
  unsigned pages;            ///< that the orders are of
  unsigned threads;          ///< each on a processor of its own
  unsigned runs;
  unsigned reserved;
  Run run[most_runs];
  // u32 order[]: pages
};

// ---- the enclave: code, then TCS and SSA frame of each thread, then the pages

inline constexpr unsigned code_page = 0;
constexpr unsigned tcs_page(unsigned thread) { return 1 + 2 * thread; }
constexpr unsigned ssa_page(unsigned thread) { return 2 + 2 * thread; }
constexpr unsigned data_page(unsigned threads) { return 1 + 2 * threads; }
constexpr unsigned all_pages(unsigned pages, unsigned threads) { return data_page(threads) + pages; }
constexpr unsigned long elrange_bytes(unsigned pages, unsigned threads) {
  unsigned long bytes = page_bytes;
  while (bytes < static_cast<unsigned long>(all_pages(pages, threads)) * page_bytes) bytes *= 2;
  return bytes;
}
constexpr unsigned long flags_of(unsigned page, unsigned threads) {
  if (page == code_page) return 0x205;
  return page < data_page(threads) && page % 2 == 1 ? 0x100 : 0x203;
}

/// The word that is read of a line, as it is built: the page's number in the first one, the line's in the others. The
/// word before the page's number is its counter.
constexpr unsigned long word_of(unsigned page, unsigned line) { return line == 0 ? page : line; }
constexpr unsigned long sum_of(unsigned page) { return page + lines * (lines - 1) / 2; }
inline constexpr unsigned word_offset = 8;

}  // namespace working_set
