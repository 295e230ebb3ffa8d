// Frames for versions (docs/migration.md). A domain with a frame for each page, which leaves with its enclaves while
// they use all of these, has no place for the versions of what is evicted; nor has one that comes so. Of each package
// as much as the machine description says is kept for that ([migration] reserve), and lent: before it leaves, and as it
// is created where it goes on.
//
// What is lent stands in the record among the domain's grants, beyond its pages. So it comes home as any frame does
// that a domain does not need (sharing.cpp), whatever becomes of the move, the domain, or the daemon; but not while the
// domain leaves.
#pragma once

#include <memory>

#include "daemon/domains.hpp"

namespace cloister::toolstack {

class VersionFrames {
 public:
  /// Of a package, pages that are for versions and not lent.
  static u64 kept(const Domains& domains, u32 package) CLOISTER_REQUIRES(domains.lock_);
  /// What a domain has of a section beyond its pages.
  static u64 beyond_pages(const Domain& domain, std::size_t section);
  /// It leaves or is saved: what was lent to it for that stays its own meanwhile.
  static bool needs(const Domain& domain);
  /// Before all its EPC leaves: as many frames as its versions may take, if there are so many.
  static void lend(Domains& domains, const std::shared_ptr<Domain>& domain) CLOISTER_EXCLUDES(domains.lock_);
  /// Of one that is about to be launched and gets all its EPC.
  static void lend(Domains& domains, u32 id, Grants& grants, const DomainConfig& config)
      CLOISTER_REQUIRES(domains.lock_);

 private:
  static void wait_for_transfer(Domains& domains, u32 id) CLOISTER_REQUIRES(domains.lock_);
};

}  // namespace cloister::toolstack
