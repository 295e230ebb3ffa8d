// Where images of evicted pages lie: what EWB writes, 4 KiB and the PCMD's 128 bytes a page, sealed by the processor's
// key. Ordinary memory, of which a page that is in EPC takes none; some of what loads leave is kept for what is evicted
// next, since taking memory and giving it back costs as much as half of a fault.
//
// Thread rules: its owner's; what lies in an image is whoever's the image is.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <tl/expected.hpp>
#include <vector>

#include "arch/sgx.hpp"

namespace cloister::hypervisor {

class Backing {
 public:
  enum class Image : u32 {};
  /// Images kept with their memory.
  static constexpr std::size_t spares = 64;

  /// Address space for so many images. False: the host has none.
  static tl::expected<Backing, bool> create(u64 images);
  ~Backing();
  Backing(Backing&& other) noexcept;
  Backing& operator=(Backing&&) = delete;
  Backing(const Backing&) = delete;
  Backing& operator=(const Backing&) = delete;

  /// With memory, so that writing it cannot fail. Nullopt: there is none. At most as many are taken as there are.
  std::optional<Image> take();
  void give_back(Image image);
  std::span<std::byte> page(Image image);
  std::span<std::byte> pcmd(Image image);

 private:
  Backing(std::byte* base, u64 images) : base_(base), images_(images) {}
  static u64 bytes_of(u64 images);
  bool populate(Image image);

  std::byte* base_;  ///< pages, then PCMDs
  u64 images_;
  u32 new_ = 0;                     ///< the first that was never taken
  std::vector<Image> warm_, cold_;  ///< given back, the last one last: with memory, without
};

}  // namespace cloister::hypervisor
