// The table of system calls: what was opened before is read, memory is taken and sealed, and one answer is sent.
#include "boot/reader_limits.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>

#include "arch/try.hpp"
#include "arch/types.hpp"
#include "host/sanitized.hpp"

namespace cloister::boot {

namespace {

constexpr rlim_t most_descriptors = 16, most_file = rlim_t{1} << 32;
constexpr rlim_t most_memory = 256 << 20;  // beside what it began with

using Done = tl::expected<void, std::string>;

tl::unexpected<std::string> failed(const char* what) {
  return tl::unexpected(std::string(what).append(": ").append(std::strerror(errno)));
}

/// From `most` on there is a signal where the kernel has one, and no way beyond `last`.
Done limit(__rlimit_resource resource, rlim_t most, rlim_t last) {
  const rlimit both{.rlim_cur = most, .rlim_max = last};
  if (::setrlimit(resource, &both) != 0) return failed("setrlimit");
  return {};
}

Done limit(__rlimit_resource resource, rlim_t most) { return limit(resource, most, most); }

/// Pages that this process has mapped now.
rlim_t mapped_bytes() {
  unsigned long pages = 0;
  const std::unique_ptr<FILE, int (*)(FILE*)> file(::fopen("/proc/self/statm", "re"), ::fclose);
  if (file == nullptr || ::fscanf(file.get(), "%lu", &pages) != 1) return rlim_t{1} << 30;
  return pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
}

struct Row {
  int number;
  int argument = -1;  ///< whose `mask` bits are `value`; -1: any
  std::uint64_t mask = 0, value = 0;
};
constexpr std::uint64_t whole_word = 0xffff'ffff;

constexpr Row rows[] = {
    {SCMP_SYS(brk)},
    {SCMP_SYS(mmap), 2, PROT_EXEC, 0},
    {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
    {SCMP_SYS(mremap)},
    {SCMP_SYS(munmap)},
    {SCMP_SYS(madvise), 2, whole_word, MADV_DONTNEED},
    {SCMP_SYS(memfd_create)},
    {SCMP_SYS(write)},
    {SCMP_SYS(lseek)},
    {SCMP_SYS(fcntl), 1, whole_word, F_ADD_SEALS},
    {SCMP_SYS(pread64)},
    // By what serves another format.
    {SCMP_SYS(recvmsg)},
    {SCMP_SYS(recvfrom), 4, ~std::uint64_t{0}, 0},
    {SCMP_SYS(sendto), 4, ~std::uint64_t{0}, 0},
    {SCMP_SYS(poll)},
    {SCMP_SYS(fcntl), 1, whole_word, F_GETFD},
    {SCMP_SYS(fcntl), 1, whole_word, F_SETFD},
    {SCMP_SYS(fcntl), 1, whole_word, F_GETFL},
    {SCMP_SYS(fcntl), 1, whole_word, F_SETFL},
    {SCMP_SYS(fcntl), 1, whole_word, F_DUPFD_CLOEXEC},
    {SCMP_SYS(close)},
    {SCMP_SYS(sendmsg)},
    {SCMP_SYS(futex)},
    {SCMP_SYS(getrandom)},
    {SCMP_SYS(clock_gettime)},
    {SCMP_SYS(restart_syscall)},
    // abort() among them.
    {SCMP_SYS(rt_sigprocmask)},
    {SCMP_SYS(getpid)},
    {SCMP_SYS(gettid)},
    {SCMP_SYS(exit)},
    {SCMP_SYS(exit_group)},
};

struct Release {
  void operator()(void* filter) const { ::seccomp_release(filter); }
};

int add_row(scmp_filter_ctx filter, const Row& row) {
  if (row.argument < 0) return ::seccomp_rule_add(filter, SCMP_ACT_ALLOW, row.number, 0);
  const scmp_arg_cmp compare{
      .arg = static_cast<unsigned>(row.argument), .op = SCMP_CMP_MASKED_EQ, .datum_a = row.mask, .datum_b = row.value};
  return ::seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, row.number, 1, &compare);
}

Done install_rows() {
  const std::unique_ptr<void, Release> filter(::seccomp_init(SCMP_ACT_KILL_PROCESS));
  int error =
      filter == nullptr ? -ENOMEM : ::seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  for (const Row& row : rows) {
    if (error == 0) error = add_row(filter.get(), row);
  }
  if (error == 0) error = ::seccomp_load(filter.get());
  if (error != 0) return tl::unexpected(std::string("seccomp: ") + std::strerror(-error));
  return {};
}

}  // namespace

Done give_up_boot_privileges() {
  TRY(limit(RLIMIT_CORE, 0));
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("no_new_privs");
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capset, &header, none) != 0) return failed("capset");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return failed("not dumpable");
  return {};
}

Done enter_boot_limits(unsigned seconds) {
  if constexpr (sanitized) return {};
  TRY(limit(RLIMIT_AS, mapped_bytes() + most_memory));
  TRY(limit(RLIMIT_CPU, seconds, seconds + 1));
  TRY(limit(RLIMIT_FSIZE, most_file));
  TRY(limit(RLIMIT_NOFILE, most_descriptors));
  return install_rows();
}

}  // namespace cloister::boot
