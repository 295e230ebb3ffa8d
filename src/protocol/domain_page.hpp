// What a domain leaves behind, whatever becomes of its VMM: its state, its counts, the end of its console, and the
// report of how it ended. A memfd that the daemon makes and keeps and the VMM writes.
//
// The daemon does not trust what it reads here: every field is a value to show, and no length from the page is used
// unchecked.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <tl/expected.hpp>

#include "host/memfd.hpp"
#include "hypervisor/devices/counts.hpp"
#include "hypervisor/epc/balloon_counts.hpp"
#include "hypervisor/epc/pager/counts.hpp"
#include "hypervisor/outcome.hpp"
#include "protocol/control.hpp"

namespace cloister::toolstack {

/// How the domain is being saved, or was last.
struct SaveCounts {
  static constexpr std::size_t most_error = 1 << 10;

  std::atomic<u64> offer;       ///< the daemon's, which the VMM takes or the daemon withdraws; 0: none
  std::atomic<u64> bytes;       ///< written so far
  std::atomic<u64> most_bytes;  ///< that it may be: pages of zeros are left out
  std::atomic<u32> error_bytes;
  std::array<std::atomic<u8>, most_error> error;  ///< why it goes on
  /// A page of earlier versions ends before it. Not 0: its enclaves have left, it could not be saved, and it waits for
  /// the token that lets it go on.
  std::atomic<u32> waits;
};

/// How the domain moves to another daemon, or did last.
struct MoveCounts {
  static constexpr std::size_t most_error = 1 << 10, session_bytes = 32;

  std::atomic<u32> phase;  ///< MovePhase
  std::atomic<u32> round;
  std::atomic<u64> bytes;                              ///< sent so far
  std::atomic<u64> pages_left, bytes_a_second;         ///< of this round
  std::atomic<u64> dirty_bytes_a_second;               ///< as the last round saw it
  std::atomic<u64> pause_us;                           ///< how long its guest would stand still, or did
  std::array<std::atomic<u8>, session_bytes> session;  ///< of the target (moving.hpp)
  std::atomic<u32> error_bytes;
  std::array<std::atomic<u8>, most_error> error;  ///< why it goes on
  /// A page of earlier versions ends before it. Not 0: its enclaves go with it.
  std::atomic<u32> enclaves;
  /// Not 0: it comes from elsewhere, and the root of its enclaves alone is missing.
  std::atomic<u32> all_but_root;
};
/// More of a move, which pages of earlier versions end before.
struct MoveMore {
  std::atomic<u64> epc_left;  ///< pages of its enclaves, which are among MoveCounts::pages_left
  std::atomic<u32> stood;     ///< StoodStill
};
/// Why its guest was had stand still: not yet; what is left takes no longer than it may; more rounds bring it no nearer
/// to that; or there were as many as there may be.
enum class StoodStill : u32 { not_yet, near_enough, no_nearer, most_rounds };
inline constexpr StoodStill last_stood_still = StoodStill::most_rounds;

/// Of a domain that moves. copying: its guest runs, or not. sent: all has been sent, and it goes on by itself if
/// whoever takes its stream goes away. held: it goes on by a word alone.
enum class MovePhase : u32 { none, copying, sent, held, over };
inline constexpr MovePhase last_move_phase = MovePhase::over;

/// The page's memory. Every byte has one writer at a time, and any number of readers in other processes.
struct DomainPageLayout {
  static constexpr u64 current_magic = 0x3165676170746c63;  // "cltpage1"
  static constexpr std::size_t console_bytes = 64 << 10, most_report = 16 << 10;

  std::atomic<u64> magic;
  std::atomic<u32> state;     ///< DomainState
  std::atomic<u32> ending;    ///< hypervisor::Ending and 1; 0: it has not ended
  std::atomic<u32> restarts;  ///< how often the guest started again
  std::atomic<u32> report_bytes;
  hypervisor::RunCounts counts;
  std::atomic<u64> console_written;  ///< bytes since creation; the ring has the last of them
  std::array<std::atomic<u8>, most_report> report;
  std::array<std::atomic<u8>, console_bytes> console;
  hypervisor::PagerCounts epc;        ///< a page of earlier versions ends before it,
  hypervisor::BalloonCounts balloon;  ///< or before this,
  SaveCounts save;                    ///< or this,
  MoveCounts move;                    ///< or this,
  hypervisor::DeviceCounts devices;   ///< or this,
  MoveMore move_more;                 ///< or this,
  std::atomic<u32> goes_on;           ///< or this. Not 0: what it was elsewhere, or in a file, it went on as
};
static_assert(std::atomic<u64>::is_always_lock_free && std::atomic<u8>::is_always_lock_free);

class DomainPage {
 public:
  /// A new page; state created.
  static tl::expected<DomainPage, std::string> create();
  /// The page behind a descriptor that came from elsewhere; it is duplicated.
  static tl::expected<DomainPage, std::string> adopt(int descriptor);

  int descriptor() const { return fd_.get(); }

  DomainState state() const;
  void set_state(DomainState state);
  std::optional<hypervisor::Ending> ending() const;
  std::string report() const;
  void set_ending(hypervisor::Ending ending, const std::string& report);
  u32 restarts() const;
  void add_restart();
  hypervisor::RunCounts& counts() const { return page().counts; }
  /// Null: the page is an earlier version's, which has none.
  hypervisor::PagerCounts* epc() const { return bytes_ > offsetof(DomainPageLayout, epc) ? &page().epc : nullptr; }
  hypervisor::BalloonCounts* balloon() const {
    return bytes_ > offsetof(DomainPageLayout, balloon) ? &page().balloon : nullptr;
  }

  /// A file that the daemon offers the VMM to be saved in: whatever becomes of the messages between them, either it is
  /// taken, or it is withdrawn.
  void offer_save(u64 number) const { save()->offer = number; }
  bool take_save(u64 number) { return save()->offer.compare_exchange_strong(number, 0); }
  /// False: it has been taken, and there is none.
  bool withdraw_save() const { return save()->offer.exchange(0) != 0; }

  SaveCounts* save() const { return bytes_ > offsetof(DomainPageLayout, save) ? &page().save : nullptr; }
  /// SaveCounts::waits.
  bool save_waits() const { return save_knows_enclaves() && save()->waits != 0; }
  void set_save_waits(bool waits) { save()->waits = waits ? 1 : 0; }
  /// The VMM knows how to save enclaves.
  bool save_knows_enclaves() const { return bytes_ > offsetof(DomainPageLayout, save) + offsetof(SaveCounts, waits); }
  MoveCounts* move() const { return bytes_ > offsetof(DomainPageLayout, move) ? &page().move : nullptr; }
  MoveMore* move_more() const { return bytes_ > offsetof(DomainPageLayout, move_more) ? &page().move_more : nullptr; }
  StoodStill stood_still() const;
  /// Its guest ran before it came here. False, too, of a page of an earlier version's.
  bool goes_on() const { return bytes_ > offsetof(DomainPageLayout, goes_on) && page().goes_on != 0; }
  void set_goes_on() const { page().goes_on = 1; }
  hypervisor::DeviceCounts* devices() const {
    return bytes_ > offsetof(DomainPageLayout, devices) ? &page().devices : nullptr;
  }
  /// The VMM knows how to move enclaves.
  bool move_knows_enclaves() const {
    return bytes_ > offsetof(DomainPageLayout, move) + offsetof(MoveCounts, all_but_root);
  }
  /// MoveCounts::enclaves, and all_but_root.
  bool move_has_enclaves() const { return move_knows_enclaves() && move()->enclaves != 0; }
  bool awaits_root() const { return move_knows_enclaves() && move()->all_but_root != 0; }
  void set_all_but_root() const { move()->all_but_root = 1; }
  MovePhase move_phase() const;
  /// The target's word for it; empty: there is none.
  std::string move_session() const;
  std::string move_error() const;
  void start_move(const std::string& session, bool enclaves);
  /// why: empty if it is only as it was.
  void end_move(const std::string& why);
  /// It is to go on, and does not yet: why.
  void wait_in_move(const std::string& why);
  void set_move_phase(MovePhase phase) { move()->phase = static_cast<u32>(phase); }
  /// Why it could not be saved; empty: it was not to be, or it is on its way.
  std::string save_error() const;
  /// Before a save, and as it has failed. One thread at a time.
  void start_save(u64 most_bytes);
  void fail_save(const std::string& why);

  /// One thread at a time.
  void append_console(std::span<const u8> bytes);
  /// The last DomainPageLayout::console_bytes of the console. While it is written, its oldest bytes may be newer ones.
  std::string console() const;

 private:
  DomainPage(Fd fd, SharedMapping mapping, std::size_t bytes)
      : fd_(std::move(fd)), mapping_(std::move(mapping)), bytes_(bytes) {}
  DomainPageLayout& page() const;
  Fd fd_;
  SharedMapping mapping_;
  std::size_t bytes_;
};

}  // namespace cloister::toolstack
