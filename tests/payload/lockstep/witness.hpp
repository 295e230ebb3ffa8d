// A package in front of another one that sees all its processors do (sights.hpp). It stops each of them at every so
// many of its instructions, which neither the hypervisor nor the guest can tell, and notes every exit. Written against
// the door alone: any two implementations that can run by the deterministic clock and by an exact budget can be
// compared.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "package_in_front.hpp"
#include "sights.hpp"

namespace cloister::lockstep {

struct Terms {
  u64 every = 10'000;       ///< instructions of a processor between two closer looks
  u64 most = ~u64{0};       ///< of a processor; after these the domain is to end
  u64 looks_at_memory = 1;  ///< of so many closer looks one sees memory, too
};

/// RAM, whole pages.
struct Ram {
  arch::Gpa base;
  u64 pages = 0;
};

/// A hash of all RAM, of which only what was written since the last time is looked at. Only its user takes dirty flags.
class RamHash {
 public:
  explicit RamHash(std::vector<Ram> ram);
  u64 now(vmx::GuestMemory& memory);

 private:
  std::vector<Ram> ram_;
  std::vector<std::vector<u64>> pages_;  ///< of each range
};

class Witness final : public tests::PackageInFront {
 public:
  /// `stop` becomes true when the domain is to end: since a difference was found, or enough was seen.
  Witness(vmx::Package& behind, const Terms& terms, std::vector<Ram> ram, Sights& sights, std::atomic<bool>& stop);

  std::unique_ptr<vmx::GuestMemory> make_memory() override;
  std::unique_ptr<vmx::Vcpu> make_vcpu(vmx::GuestMemory& memory, vmx::Vcpu::Config config) override;

  const Terms& terms() const { return terms_; }
  /// Of the domain, which is between two of a processor's runs.
  u64 memory_hash() { return ram_.now(*memory_); }
  void add(const Sight& sight, bool enough);

 private:
  Terms terms_;
  RamHash ram_;
  Sights& sights_;
  std::atomic<bool>& stop_;
  vmx::GuestMemory* memory_ = nullptr;  ///< the domain's, while it has processors
  u32 processors_ = 0;
};

}  // namespace cloister::lockstep
