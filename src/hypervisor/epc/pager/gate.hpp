// The gate of a domain: while it is closed no processor is in the guest, and none enters. Every exit leaves an enclave
// and ends a leaf, so nothing of the guest's is then in the middle of anything: a tracking cycle of the hypervisor's
// begins and is complete at once, and each entry after it knows no translation from before.
#pragma once

namespace cloister::hypervisor {

class Gate {
 public:
  virtual ~Gate() = default;
  /// Waits until every processor has left the guest; one caller at a time, others wait. Any thread that is not in a
  /// run() and holds no lock of the machine or the pager.
  virtual void close() = 0;
  virtual void open() = 0;
};

class ClosedGate {
 public:
  explicit ClosedGate(Gate& gate) : gate_(gate) { gate_.close(); }
  ~ClosedGate() { gate_.open(); }
  ClosedGate(const ClosedGate&) = delete;
  ClosedGate& operator=(const ClosedGate&) = delete;

 private:
  Gate& gate_;
};

}  // namespace cloister::hypervisor
