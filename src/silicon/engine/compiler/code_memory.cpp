// The two mappings, and who has which slice (memfd_create(2), mmap(2)).
#include "silicon/engine/compiler/code_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <utility>

#include "silicon/memory/sealed_memory.hpp"

// Newer than the headers of Debian 12's libc.
#if !defined(F_SEAL_FUTURE_WRITE)
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace cloister::silicon {

bool CodeMemory::possible() { return CodeMemory(1).available(); }

CodeMemory& CodeMemory::get() {
  static CodeMemory memory(slices);
  return memory;
}

CodeMemory::CodeMemory(u64 number) : writable_(nullptr, Unmapper{0}), executable_(nullptr, Unmapper{0}) {
  const u64 whole = slice_bytes * number;
  const Fd fd(::memfd_create("cloister-code", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(whole)) != 0) return;
  auto writable = map_sealed(fd, whole);
  if (!writable) return;
  // This one writable mapping stays the only one.
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0) return;
  void* const p = ::mmap(nullptr, whole, PROT_READ | PROT_EXEC, MAP_SHARED, fd.get(), 0);
  if (p == MAP_FAILED) return;
  writable_ = std::move(*writable);
  executable_ = HostMapping{static_cast<u8*>(p), Unmapper{whole}};
  const MutexLock lock(mutex_);
  for (u64 n = number; n-- > 0;) free_.push_back(n);
}

/// IRET to the next instruction: it serializes, and unlike CPUID no hypervisor of the host's intercepts it.
void synchronize_code() {
#if defined(__x86_64__)
  u64 temporary, stack;
  asm volatile(
      "movq %%rsp, %[stack]\n\t"
      "subq $128, %%rsp\n\t"  // the red zone
      "movl %%ss, %k[temporary]\n\t"
      "pushq %[temporary]\n\t"
      "pushq %[stack]\n\t"
      "pushfq\n\t"
      "movl %%cs, %k[temporary]\n\t"
      "pushq %[temporary]\n\t"
      "leaq 1f(%%rip), %[temporary]\n\t"
      "pushq %[temporary]\n\t"
      "iretq\n"
      "1:"
      : [temporary] "=&r"(temporary), [stack] "=&r"(stack)
      :
      : "cc", "memory");
#endif
}

CodeMemory::Slice CodeMemory::take() {
  const MutexLock lock(mutex_);
  if (free_.empty()) return {};
  const u64 number = free_.back();
  free_.pop_back();
  return {*this, number};
}

void CodeMemory::give_back(u64 number) {
  const MutexLock lock(mutex_);
  free_.push_back(number);
}

CodeMemory::Slice::Slice(CodeMemory& from, u64 number)
    : owner(&from),
      writable(from.writable_.get() + number * slice_bytes),
      executable(from.executable_.get() + number * slice_bytes) {}

CodeMemory::Slice::~Slice() {
  if (owner != nullptr) owner->give_back(static_cast<u64>(writable - owner->writable_.get()) / slice_bytes);
}

void CodeMemory::Slice::swap(Slice& other) {
  std::swap(owner, other.owner);
  std::swap(writable, other.writable);
  std::swap(executable, other.executable);
}

}  // namespace cloister::silicon
