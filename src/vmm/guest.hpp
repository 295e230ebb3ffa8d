// A VMM's guest: everything that a domain is built of, made from the launch message and its descriptors.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <tl/expected.hpp>

#include "hypervisor/domain.hpp"
#include "plan/spec.hpp"
#include "protocol/domain_page.hpp"
#include "protocol/launch.hpp"
#include "vmm/disk_locks.hpp"
#include "vmx/backend.hpp"

namespace cloister::toolstack {

class Guest {
 public:
  /// Reads the configuration and the images, and lays out the first Domain. The error stands in the configuration, or
  /// has no position. page: where its EPC is counted; must outlive it.
  static tl::expected<Guest, Diagnostic> create(const vmx::Backend& silicon, const LaunchMessage& launch,
                                                const DomainPage& page);

  /// Runs it until it ends; then it has to be made anew.
  hypervisor::Outcome run(const hypervisor::RunOptions& options);
  /// Until renew().
  hypervisor::Domain& domain() { return *domain_; }
  /// A new Domain on cleaned EPC. The error says why there cannot be one.
  tl::expected<void, std::string> renew();
  const DomainConfig& config() const { return plan_.config; }
  /// Enclaves have come with it.
  bool arriving() const { return arriving_; }
  DiskLocks& disk_locks() { return *disk_locks_; }
  /// In bytes.
  u64 ram() const { return plan_.config.memory_mib << 20; }

 private:
  Guest(std::unique_ptr<vmx::Package> package, DomainPlan plan, Images images, std::vector<vmx::EpcSection> sections,
        const DomainPage& page)
      : package_(std::move(package)),
        plan_(std::move(plan)),
        images_(std::move(images)),
        own_(sections),
        frames_(std::move(sections)),
        page_(page) {}

  /// What its disk says now, or, without a bootloader, what was read at first.
  tl::expected<void, std::string> look_for_kernel();
  /// Until the next time: unpacked it is tens of MiB.
  void forget_kernel();
  void note_frames();
  /// What each section has of the machine's; what it needs, what it lacks, and what is beyond that.
  void note_frames(const std::vector<std::vector<vmx::EpcSection>>& by_section);
  /// What the first domain goes on from; of none: it starts.
  struct Saved {
    stream::Reader* stream = nullptr;
    std::optional<vmx::MoveSession> session{};  ///< in which its enclaves come; none: they are lost
    bool moves = false;                         ///< it is the stream of one that moves, and ran when that began
  };
  tl::expected<void, std::string> lay_out(const Saved& saved);
  /// With paged EPC.
  tl::expected<void, std::string> lay_out_paged(hypervisor::DomainSpec spec, const Saved& saved);
  using Made = tl::expected<std::unique_ptr<hypervisor::Domain>, std::string>;
  Made make(hypervisor::DomainSpec spec, const std::vector<vmx::EpcSection>& epc, const Saved& saved);

  std::unique_ptr<vmx::Package> package_;
  DomainPlan plan_;
  Images images_;
  std::unique_ptr<DiskLocks> disk_locks_ = std::make_unique<DiskLocks>();
  Fd boot_reader_{};                     ///< connection to what looks at its disk, if there is a bootloader
  std::vector<vmx::EpcSection> own_;     ///< what it was launched with
  std::vector<vmx::EpcSection> frames_;  ///< what the guest has, or had at its end
  std::vector<u64> missing_;             ///< pages of each section for which there was none then; empty: none
  std::vector<std::vector<vmx::EpcSection>> spare_;  ///< frames of each that were beyond its pages; empty: none
  std::reference_wrapper<const DomainPage> page_;
  platform::RtcBattery battery_;  ///< what the guest left in its clock chip
  std::unique_ptr<hypervisor::Domain> domain_;
  bool arriving_ = false;
};

}  // namespace cloister::toolstack
