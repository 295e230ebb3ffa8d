// No call here opens, connects, executes or creates anything that outlives the process or is seen outside it. The
// kernel kills the process as a whole, since one thread that made a forbidden call says that all are lost.
#include "vmm/seccomp_filter.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>

namespace cloister::toolstack {

namespace {

/// (argument & mask) == value; a mask of 0 is met by all. For an `int` the kernel looks at 32 bits, and so do we.
struct ArgumentIs {
  unsigned argument = 0;
  std::uint64_t mask = 0, value = 0;
};
constexpr std::uint64_t whole_int = 0xffff'ffff;
constexpr ArgumentIs is(unsigned argument, std::uint64_t value) { return {argument, whole_int, value}; }
constexpr ArgumentIs lacks(unsigned argument, std::uint64_t bits) { return {argument, bits, 0}; }

constexpr std::uint64_t thread_flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;
constexpr std::uint64_t other_clone_flags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                            CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE | CLONE_PARENT |
                                            CLONE_VFORK;

struct AllowedCall {
  int number;
  ArgumentIs when{};
};

/// Several rows of a call: any of them.
constexpr AllowedCall allowed[] = {
    // Memory, which never becomes code.
    {SCMP_SYS(brk)},
    {SCMP_SYS(mmap), lacks(2, PROT_EXEC)},
    {SCMP_SYS(mprotect), lacks(2, PROT_EXEC)},
    {SCMP_SYS(mremap)},
    {SCMP_SYS(munmap)},
    {SCMP_SYS(madvise), is(2, MADV_DONTNEED)},
    {SCMP_SYS(madvise), is(2, MADV_HUGEPAGE)},
    {SCMP_SYS(madvise), is(2, MADV_NOHUGEPAGE)},
    {SCMP_SYS(madvise), is(2, MADV_POPULATE_WRITE)},
    // A package without EPC of the daemon's keeps its EPCM in a memfd of its own.
    {SCMP_SYS(memfd_create)},
    {SCMP_SYS(ftruncate)},
    // Threads of this process. clone3() has its flags in memory, where no filter sees them: see below.
    {SCMP_SYS(clone), {0, thread_flags | other_clone_flags, thread_flags}},
    {SCMP_SYS(set_robust_list)},
    {SCMP_SYS(rseq)},
    {SCMP_SYS(futex)},
    {SCMP_SYS(sched_yield)},
    {SCMP_SYS(sched_setaffinity), is(0, 0)},  // of the thread that calls: where its processor runs
    {SCMP_SYS(exit)},
    {SCMP_SYS(exit_group)},
    // Descriptors that are open. The C library's fstat() is another call, a look-up of an empty name, and what the name
    // is no filter sees.
    {SCMP_SYS(read)},
    {SCMP_SYS(pread64)},
    // Disks, which only get holes and zeros within their length.
    {SCMP_SYS(pwrite64)},
    {SCMP_SYS(fdatasync)},
    {SCMP_SYS(fallocate), is(1, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)},
    {SCMP_SYS(fallocate), is(1, FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE)},
    {SCMP_SYS(lseek)},
    {SCMP_SYS(fstat)},
    {SCMP_SYS(fcntl), is(1, F_OFD_SETLK)},  // their locks, of a domain that moves
    {SCMP_SYS(fcntl), is(1, F_OFD_GETLK)},
    {SCMP_SYS(ioctl), is(1, BLKSSZGET)},   // those that are block devices
    {SCMP_SYS(ioctl), is(1, BLKDISCARD)},  // whose descriptors are open for writing, or it fails
    {SCMP_SYS(write)},
    {SCMP_SYS(writev)},
    {SCMP_SYS(close)},
    {SCMP_SYS(poll)},
    {SCMP_SYS(ppoll)},
    {SCMP_SYS(eventfd2)},
    {SCMP_SYS(pipe2)},
    {SCMP_SYS(dup3), is(1, STDERR_FILENO)},  // a new daemon's pipe
    {SCMP_SYS(fcntl), is(1, F_DUPFD_CLOEXEC)},
    {SCMP_SYS(fcntl), is(1, F_GETFD)},  // libnbd, of its connection
    {SCMP_SYS(fcntl), is(1, F_SETFD)},
    {SCMP_SYS(fcntl), is(1, F_GETFL)},
    {SCMP_SYS(fcntl), is(1, F_SETFL)},
    {SCMP_SYS(fcntl), is(1, F_ADD_SEALS)},
    {SCMP_SYS(fcntl), is(1, F_GET_SEALS)},
    {SCMP_SYS(ioctl), is(1, TUNSETOFFLOAD)},  // what a guest's driver takes of an interface on a bridge
    // Connections that came in. send() and recv() are sendto() and recvfrom() without an address.
    {SCMP_SYS(accept4)},
    {SCMP_SYS(getsockopt), is(2, SO_PEERCRED)},
    {SCMP_SYS(getsockopt), is(2, SO_PEERGROUPS)},
    {SCMP_SYS(recvmsg)},
    {SCMP_SYS(sendmsg)},
    {SCMP_SYS(recvfrom), {4, ~std::uint64_t{0}, 0}},
    {SCMP_SYS(sendto), {4, ~std::uint64_t{0}, 0}},
    {SCMP_SYS(shutdown), is(1, SHUT_RD)},  // of one that is turned away
    {SCMP_SYS(shutdown), is(1, SHUT_WR)},  // of a guest's socket that sends no more
    // Time and chance.
    {SCMP_SYS(clock_gettime)},
    {SCMP_SYS(clock_getres)},
    {SCMP_SYS(clock_nanosleep)},
    {SCMP_SYS(nanosleep)},
    {SCMP_SYS(gettimeofday)},
    {SCMP_SYS(getrandom)},
    {SCMP_SYS(restart_syscall)},
    // Signals to itself (below: tgkill), as abort() sends one.
    {SCMP_SYS(rt_sigaction)},  // the C library, at the first thread
    {SCMP_SYS(rt_sigprocmask)},
    {SCMP_SYS(rt_sigreturn)},
    {SCMP_SYS(getpid)},
    {SCMP_SYS(gettid)},
};

struct Release {
  void operator()(void* context) const { ::seccomp_release(context); }
};

int allow(scmp_filter_ctx filter, const AllowedCall& call) {
  const auto& [argument, mask, value] = call.when;
  if (mask == 0) return ::seccomp_rule_add(filter, SCMP_ACT_ALLOW, call.number, 0);
  const scmp_arg_cmp compare{.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
  return ::seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call.number, 1, &compare);
}

/// 0, or an error number below zero, as libseccomp's functions return.
int install(scmp_filter_ctx filter) {
  // A call by another of the processor's interfaces (int 0x80, x32) is no other than a forbidden one.
  int error = ::seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  for (const AllowedCall& call : allowed) {
    if (error == 0) error = allow(filter, call);
  }
  if (error == 0) error = allow(filter, {SCMP_SYS(tgkill), is(0, static_cast<std::uint64_t>(::getpid()))});
  // glibc then takes clone().
  if (error == 0) error = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  return error == 0 ? ::seccomp_load(filter) : error;
}

}  // namespace

tl::expected<void, std::string> install_seccomp_filter() {
  const std::unique_ptr<void, Release> filter(::seccomp_init(SCMP_ACT_KILL_PROCESS));
  const int error = filter == nullptr ? -ENOMEM : install(filter.get());
  if (error != 0) return tl::unexpected(std::string("seccomp: ") + std::strerror(-error));
  return {};
}

}  // namespace cloister::toolstack
