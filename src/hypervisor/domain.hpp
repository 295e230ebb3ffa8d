// The hypervisor's door: a domain, from its specification to its end. Written against interface 1 (vmx/) and the
// platform's devices, and nothing else.
#pragma once

#include <functional>
#include <memory>
#include <tl/expected.hpp>

#include "hypervisor/epc/pager/counts.hpp"
#include "hypervisor/outcome.hpp"
#include "hypervisor/specification.hpp"
#include "stream/reader.hpp"
#include "stream/writer.hpp"
#include "vmx/package.hpp"

namespace cloister::hypervisor {

class LiveCopy;

class Domain {
 public:
  /// Lays out memory, ACPI, kernel and processors. `epc` are the machine frames for the map's EPC ranges, in order, as
  /// many pages as the ranges have, less spec.epc_missing; with epc_paging those that there are. The package must
  /// outlive the domain.
  static tl::expected<std::unique_ptr<Domain>, std::string> create(vmx::Package& package, DomainSpec spec,
                                                                   std::vector<vmx::EpcSection> epc);
  /// The same of one that was saved: it goes on where it was, but for its enclaves, and needs neither kernel nor
  /// ramdisk. The specification is the one that it was made of, but for its date.
  static tl::expected<std::unique_ptr<Domain>, std::string> restore(vmx::Package& package, DomainSpec spec,
                                                                    std::vector<vmx::EpcSection> epc,
                                                                    const stream::Source& from);
  /// Likewise, where the reader has passed what its caller had put before it.
  static tl::expected<std::unique_ptr<Domain>, std::string> restore(vmx::Package& package, DomainSpec spec,
                                                                    std::vector<vmx::EpcSection> epc,
                                                                    stream::Reader& from);
  /// Likewise, with its enclaves, for the session in which their root was exported. It runs after commit_enclaves().
  static tl::expected<std::unique_ptr<Domain>, std::string> restore(vmx::Package& package, DomainSpec spec,
                                                                    std::vector<vmx::EpcSection> epc,
                                                                    stream::Reader& from,
                                                                    const vmx::MoveSession& session);
  /// They have come: the token says so.
  tl::expected<void, std::string> commit_enclaves(const vmx::MoveToken& token);
  /// The same of one that comes from elsewhere, and ran for a while when its stream had begun (saving/live.hpp).
  static tl::expected<std::unique_ptr<Domain>, std::string> arrive(vmx::Package& package, DomainSpec spec,
                                                                   std::vector<vmx::EpcSection> epc,
                                                                   stream::Reader& from);
  /// Likewise, with its enclaves, as restore() has it. all_but_root: called when their root alone is missing;
  /// its error is that of the arrival.
  static tl::expected<std::unique_ptr<Domain>, std::string> arrive(
      vmx::Package& package, DomainSpec spec, std::vector<vmx::EpcSection> epc, stream::Reader& from,
      const vmx::MoveSession& session, const std::function<tl::expected<void, std::string>()>& all_but_root);
  ~Domain();
  /// Runs the domain to its end, on the calling thread and, with several vCPUs under the host's clock, on one more for
  /// each of the others. console_out is called on any of them, and on that of a pause(), by one at a time.
  Outcome run(const RunOptions& options);

  // From any thread, at any time.
  /// No guest instruction runs after pause() has returned, until unpause(), and what the guest had printed has come
  /// out. Time goes on, as on a processor that is not scheduled: timers that came due meanwhile fire then.
  void pause();
  /// The same, unless a device takes longer for what it has begun: false, and it is not paused.
  bool pause_within(std::chrono::milliseconds most);
  void unpause();
  bool paused() const;
  /// Writes it down (docs/stream.md), but for its enclaves; it is as it was. It is paused and stays so, its run has
  /// returned with `stopped` or `timed_out`, or this is called from RunOptions::after_turns.
  tl::expected<void, std::string> save(const stream::Sink& to);
  /// Likewise, behind what its caller puts before it.
  tl::expected<void, std::string> save(stream::Writer& to);
  /// With its enclaves. They have left when it returns, or, with an error, if `left` says so: then nothing can be done
  /// with it but to take them back.
  tl::expected<void, std::string> save(stream::Writer& to, const vmx::MoveSession& session, bool& left);
  /// They go nowhere: the token says so. It stands still, as before.
  tl::expected<void, std::string> take_enclaves_back(const vmx::MoveToken& token);
  /// Nobody says whether they have come elsewhere: they are lost, as in S3, and its package has keys of these secrets
  /// from now on. An error: it is not to go on.
  tl::expected<void, std::string> give_enclaves_up(const vmx::PlatformSecrets& secrets);
  /// Why it cannot be saved with enclaves, but for what is seen only then; empty: it can.
  std::string why_enclaves_stay() const;
  /// Begins to write it down while it runs. Neither outlives it.
  std::unique_ptr<LiveCopy> live_copy(stream::Writer& to);
  /// Takes a page of EPC's frame away until the guest needs the page, as the pager does by itself. False: there is no
  /// pager, or the page has no frame or cannot lose it now. From after_exit, or while the domain does not run.
  bool evict_epc(arch::Gpa page);
  /// Frames for its pager, free pages of the package that nobody else has; back from it, at most so many, as it can
  /// spare them (Pager::give_back; not from a processor's thread); and all that the domain has. Without a pager they
  /// are for one of the map's EPC ranges, for pages that have none, and those come back that the guest gave (FixedEpc).
  void lend_epc(std::span<const vmx::EpcSection> frames, std::size_t range = 0);
  std::vector<vmx::EpcSection> give_epc_back(u64 most, std::span<const vmx::EpcSection> of = {});
  std::vector<vmx::EpcSection> epc_frames() const;
  /// Without a pager, those of each range; and how many pages have had none since the start.
  std::vector<std::vector<vmx::EpcSection>> epc_frames_by_range() const;
  u64 epc_missing() const;
  /// Sees which pages of EPC were used since the last calls, four of which see all (PagerCounts::active).
  void look_at_epc();
  /// Null: it has no pager.
  const PagerCounts* pager_counts() const;
  /// How many pages of its EPC the guest is asked to have (docs/hypercalls.md); what it does about it is its own.
  void set_epc_target(u64 pages);
  /// How many pages of EPC the guest sees.
  u64 epc_pages() const;
  /// Presses the ACPI power button: a guest that listens powers itself off, and one that sleeps is woken.
  void press_power_button();
  /// It has suspended itself to RAM (S3), or is about to.
  bool asleep() const;
  /// Lets it go on where it said. False: it is not asleep.
  bool wake();
  /// Sends a processor an NMI, which wakes it from HLT. Of those that come before it can take one (it is paused, or has
  /// one in service) it takes one. Why not: there is no such processor, or the guest has not started it.
  tl::expected<void, std::string> send_nmi(u32 vcpu);
  /// Ends the domain with `reset`, as its reset button would.
  void reset();
  /// What its clock chip keeps for the next run.
  platform::RtcBattery battery() const;

 private:
  Domain();
  static tl::expected<std::unique_ptr<Domain>, std::string> make(vmx::Package& package, DomainSpec spec,
                                                                 std::vector<vmx::EpcSection> epc);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloister::hypervisor
