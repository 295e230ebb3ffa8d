// Where images of evicted pages lie: what EWB writes, 4 KiB and the PCMD's 128 bytes a page, sealed by the processor's
// key. Ordinary memory, of which a page that is in EPC takes none.
//
// Thread rules: different pages from different threads.
#pragma once

#include <cstddef>
#include <span>
#include <tl/expected.hpp>

#include "arch/sgx.hpp"
#include "hypervisor/epc/pager/page_book.hpp"

namespace cloister::hypervisor {

class Backing {
 public:
  /// Address space for the images of `pages` pages. False: the host has none.
  static tl::expected<Backing, bool> create(u64 pages);
  ~Backing();
  Backing(Backing&& other) noexcept;
  Backing& operator=(Backing&&) = delete;
  Backing(const Backing&) = delete;
  Backing& operator=(const Backing&) = delete;

  /// Takes memory for a page's image, so that writing it cannot fail. False: there is none.
  bool reserve(EpcPage page);
  std::span<std::byte> image(EpcPage page);
  std::span<std::byte> pcmd(EpcPage page);
  /// Gives the image's memory back.
  void release(EpcPage page);

 private:
  Backing(std::byte* base, u64 pages) : base_(base), pages_(pages) {}
  static u64 bytes_of(u64 pages);

  std::byte* base_;  ///< images, then PCMDs
  u64 pages_;
};

}  // namespace cloister::hypervisor
