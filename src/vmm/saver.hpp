// A domain that is saved: written to a file by a thread of its own, since files may make whoever writes them wait, and
// the service waits for nobody. The guest stands still until that is done.
#pragma once

#include <thread>

#include "host/fd.hpp"
#include "protocol/domain_page.hpp"
#include "protocol/saving.hpp"
#include "vmm/lifecycle.hpp"

namespace cloister::toolstack {

class Saver {
 public:
  /// Both must outlive this.
  Saver(Lifecycle& lifecycle, DomainPage& page) : lifecycle_(lifecycle), page_(page) {}
  /// Waits for its thread.
  ~Saver();
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;

  /// file: empty, and every write to it is on the disk when it returns (O_DSYNC). ram: the guest's, in bytes.
  Lifecycle::Done start(Fd file, SavingOrder order, u64 ram, AfterSave then);

 private:
  /// left: its enclaves have.
  Lifecycle::Done write(hypervisor::Domain& domain, int file, const SavingOrder& order, AfterSave then, bool& left);

  Lifecycle& lifecycle_;
  DomainPage& page_;
  std::thread thread_;
};

/// The domain's stream in a file that a Saver wrote, behind its first record. The error says what is wrong with it.
tl::expected<stream::Reader, std::string> open_saved(int file, const stream::SealKey& key);

}  // namespace cloister::toolstack
