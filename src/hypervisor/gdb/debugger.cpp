// Nothing here waits for the client: what it does not take at once is more than the protocol lets it leave.
#include "hypervisor/gdb/debugger.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace cloister::hypervisor::gdb {

Debugger::~Debugger() { drop_client(); }

void Debugger::accept_client() {
  client_ = Fd(::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (client_) stub_ = std::make_unique<Stub>(*this, target_description());
}

void Debugger::drop_client() {
  breakpoints_.remove_all();
  update_intercept();
  client_ = Fd();
  stub_.reset();
}

void Debugger::service() {
  if (!stopped()) processor_ = &machine_.bootstrap();  // the caller's: it does not run now
  if (!client_) {
    accept_client();
    return notify_all();
  }
  std::array<char, 4096> bytes;
  const ssize_t n = ::recv(client_.get(), bytes.data(), bytes.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    drop_client();
    return notify_all();
  }
  send(stub_->receive(std::string_view(bytes.data(), static_cast<std::size_t>(n))));
  if (!client_) return;
  killed_ = stub_->state() == RunState::killed;
  if (killed_ || stub_->state() == RunState::detached) drop_client();
  notify_all();
}

void Debugger::send(std::string_view bytes) {
  while (!bytes.empty() && client_) {
    // A client that reads nothing is waited for: the socket's buffer is larger than what the protocol lets it leave.
    const ssize_t n = ::send(client_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      return drop_client();
    }
  }
}

PagingState Debugger::paging() const {
  return PagingState::of(processor_->vcpu.system(), processor_->vcpu.general().rflags, machine_.physical_bits);
}

bool Debugger::at_breakpoint(const Processor& processor) const {
  return connected() && breakpoints_.at(processor.vcpu.general().rip);
}

void Debugger::notify_all() {
  for (const auto& processor : machine_.processors) processor->notify();
}

void Debugger::settle() { breakpoints_.settle(paging()); }

void Debugger::report_stop(Processor& processor, u8 signal, bool breakpoint) {
  processor_ = &processor;
  notify_all();
  if (client_) send(stub_->stopped(signal, breakpoint));
}

void Debugger::report_end(u8 status) {
  if (client_) send(stub_->ended(status));
}

std::vector<u8> Debugger::read_register(unsigned n) {
  RegisterFile file{processor_->vcpu.general(), processor_->vcpu.system(), processor_->vcpu.fpu(),
                    processor_->vcpu.upper_halves()};
  file.system.cr8 = processor_->local_apic.cr8();
  return get_register(file, n);
}

bool Debugger::write_register(unsigned n, std::span<const u8> bytes) {
  RegisterFile file{processor_->vcpu.general(), processor_->vcpu.system(), processor_->vcpu.fpu(),
                    processor_->vcpu.upper_halves()};
  if (!set_register(file, n, bytes)) return false;
  processor_->vcpu.set_general(file.general);
  processor_->vcpu.set_system(file.system);
  processor_->vcpu.set_fpu(file.fpu);
  processor_->vcpu.set_upper_halves(file.upper);
  return true;
}

std::size_t Debugger::read_memory(u64 from, std::span<u8> to) {
  const std::size_t n = debug_read(machine_.memory, paging(), arch::Gva{from}, to);
  breakpoints_.hide(from, to.first(n));
  return n;
}

std::size_t Debugger::write_memory(u64 to, std::span<const u8> from) {
  const std::size_t n = debug_write(machine_.memory, paging(), arch::Gva{to}, from);
  breakpoints_.rewritten(to, from.first(n));
  return n;
}

bool Debugger::insert_breakpoint(u64 address) {
  breakpoints_.insert(address, paging());
  update_intercept();
  return true;
}

bool Debugger::remove_breakpoint(u64 address) {
  const bool removed = breakpoints_.remove(address);
  update_intercept();
  return removed;
}

void Debugger::update_intercept() {
  const u32 wanted = breakpoints_.empty() ? 0 : 1u << arch::vector::bp;
  if (machine_.exception_bitmap == wanted) return;
  machine_.exception_bitmap = wanted;
  notify_all();
}

}  // namespace cloister::hypervisor::gdb
