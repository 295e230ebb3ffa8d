// A domain in the daemon's table. Guarded by the table's lock; what never changes once it is there may be read without.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "daemon/domain_key.hpp"
#include "daemon/life.hpp"
#include "daemon/move_handshake.hpp"
#include "daemon/registry.hpp"
#include "host/processors.hpp"
#include "protocol/domain_page.hpp"
#include "vmx/epc_memory.hpp"

namespace cloister::toolstack {

struct Domain {
  explicit Domain(LifeState first) : life(first) {}

  DomainRecord record{};
  DomainConfig config{};

  std::vector<CpuSet> cpus{};  ///< of the host, where each of its processors runs; empty: not known

  Life life;     ///< moved by Domains::happens() alone
  Fd process{};  ///< the VMM, while it is held: readable when it has ended, and nothing else is taken for its end
  int pid = 0;   ///< 0: without `process`
  /// Why its record cannot be understood; then the file stays as it is, and is set aside at the domain's end. Empty: it
  /// can.
  std::string unread{};
  std::vector<std::string> differs{};  ///< keys in which it is not what it is defined as
  std::string frames_unknown{};  ///< why it may have frames that the accounts do not have as its own; empty: they do
  bool keys_unknown = false;     ///< its record does not say which it has
  std::vector<KeyName> made_keys{};  ///< that are there since its own first start
  std::string last_words{};          ///< of the VMM: how it ended, if the kernel told us
  std::string fate{};  ///< for the log, why the daemon ends it: "destroyed", "creation-failed"; empty: it does not

  /// How it shares EPC with others (sharing.cpp).
  struct Sharing {
    std::map<u32, u64> targets;  ///< pages, by package; none: nothing was decided yet
    u64 asked = 0;               ///< that it was asked to give back, and has not yet
    u32 asked_of = 0;            ///< of this package
    bool certain = false;        ///< the record says what its VMM has, and nothing more
    int leaving = 0;             ///< requests that are about to let all its EPC leave
    bool unkept = false;         ///< the last move could not be written to the record, and the log has it
    bool beyond = false;         ///< at the last look its memory of EPC was more than what is its own
  } sharing{};

  /// To whom it may go with its enclaves (proofs.cpp).
  struct Leaving {
    MoveSourceProof proof;
    MoveSubject subject;
  };
  std::string offered_definition{};  ///< its tag, as it was last offered; empty: none was
  /// That with which it left. What is offered meanwhile, to somebody who only asks, does not change it.
  struct LeftWith {
    std::string session, definition;
  } left_with{};
  std::unique_ptr<const Leaving> offered{};       ///< since it was last offered so; an answer is judged once
  std::shared_ptr<const MoveAgreement> agreed{};  ///< with the last machine that has proved which it is
  bool sealed_by_it = false;                      ///< a stream, which is the only one

  vmx::EpcMemory::Pointer memory{};          ///< null: no EPC, or not at hand
  std::shared_ptr<const DomainPage> page{};  ///< null: not yet, or not at hand
  /// A move of its is under way, or in doubt.
  bool moves() const {
    const MovePhase phase = page == nullptr ? MovePhase::none : page->move_phase();
    return phase != MovePhase::none && phase != MovePhase::over;
  }
};

/// It has this key, or may.
bool uses_key(const Domain& domain, const KeyName& name);

}  // namespace cloister::toolstack
