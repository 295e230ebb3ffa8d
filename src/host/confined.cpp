// A filter that forbids a few calls rather than allowing some: which ones another program makes is its own affair.
#include "host/confined.hpp"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "arch/try.hpp"
#include "arch/types.hpp"
#include "host/fd.hpp"
#include "host/sanitized.hpp"

namespace cloister::toolstack {

namespace {

constexpr rlim_t confined_memory = rlim_t{8} << 30, confined_files = 256;

using Done = tl::expected<void, std::string>;

tl::unexpected<std::string> confining_failed(const char* what) {
  return tl::unexpected(std::string(what) + ": " + std::strerror(errno));
}

Done bound(__rlimit_resource resource, rlim_t most) {
  rlimit both{};
  if (::getrlimit(resource, &both) != 0) return confining_failed("getrlimit");
  both.rlim_max = both.rlim_max < most ? both.rlim_max : most;
  both.rlim_cur = both.rlim_max;
  if (::setrlimit(resource, &both) != 0) return confining_failed("setrlimit");
  return {};
}

constexpr u64 to_read = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr u64 to_use = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
constexpr u64 all_of_first_version = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

bool allow_below(int rules, int file, u64 access) {
  const landlock_path_beneath_attr rule{.allowed_access = access, .parent_fd = file};
  return ::syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
}

/// Where the kernel has no Landlock, it is off, or a service's filter forbids it, the file's owner's rights are what
/// there is.
Done leave_files(int file, std::span<const int> only_read) {
  const landlock_ruleset_attr handled{.handled_access_fs = all_of_first_version};
  const Fd rules(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0)));
  if (!rules && (errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM)) return {};
  if (!rules) return confining_failed("landlock");
  for (const char* folder : {"/usr", "/lib", "/lib64"}) {
    const Fd opened(::open(folder, O_PATH | O_CLOEXEC));
    if (opened && !allow_below(rules.get(), opened.get(), to_read)) return confining_failed("landlock");
  }
  // Where libraries are, and nothing else of the machine's settings.
  const Fd libraries(::open("/etc/ld.so.cache", O_PATH | O_CLOEXEC));
  if (libraries && !allow_below(rules.get(), libraries.get(), LANDLOCK_ACCESS_FS_READ_FILE))
    return confining_failed("landlock");
  if (!allow_below(rules.get(), file, to_use)) return confining_failed("landlock");
  for (const int one : only_read) {
    if (!allow_below(rules.get(), one, LANDLOCK_ACCESS_FS_READ_FILE)) return confining_failed("landlock");
  }
  if (::syscall(SYS_landlock_restrict_self, rules.get(), 0) != 0) return confining_failed("landlock");
  return {};
}

constexpr u32 forbidden_calls[] = {
    SYS_socket,         SYS_connect, SYS_bind,        SYS_ptrace,      SYS_process_vm_readv, SYS_process_vm_writev,
    SYS_mount,          SYS_umount2, SYS_bpf,         SYS_keyctl,      SYS_perf_event_open,  SYS_userfaultfd,
    SYS_unshare,        SYS_setns,   SYS_kexec_load,  SYS_init_module, SYS_finit_module,     SYS_pidfd_getfd,
    SYS_io_uring_setup, SYS_add_key, SYS_request_key, SYS_kcmp,        SYS_chroot,           SYS_pivot_root};

constexpr sock_filter statement(u32 code, u32 value) {
  return {.code = static_cast<u16>(code), .jt = 0, .jf = 0, .k = value};
}
constexpr sock_filter jump(u32 code, u32 value, u8 if_so, u8 if_not) {
  return {.code = static_cast<u16>(code), .jt = if_so, .jf = if_not, .k = value};
}

Done forbid_calls() {
  constexpr std::size_t count = std::size(forbidden_calls), head = 5;
  constexpr u32 x32_bit = 0x4000'0000, load = BPF_LD | BPF_W | BPF_ABS, equal = BPF_JMP | BPF_JEQ | BPF_K;
  std::array<sock_filter, head + count + 2> program{};
  const auto to_end = [&](std::size_t from) { return static_cast<u8>(program.size() - 1 - from - 1); };
  program[0] = statement(load, offsetof(seccomp_data, arch));
  program[1] = jump(equal, AUDIT_ARCH_X86_64, 0, to_end(1));
  program[2] = statement(load, offsetof(seccomp_data, nr));
  program[3] = jump(BPF_JMP | BPF_JGE | BPF_K, x32_bit, to_end(3), 0);
  program[4] = statement(load, offsetof(seccomp_data, nr));
  for (std::size_t i = 0; i < count; ++i) program[head + i] = jump(equal, forbidden_calls[i], to_end(head + i), 0);
  program[head + count] = statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  program[head + count + 1] = statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
  const sock_fprog filter{.len = static_cast<u16>(program.size()), .filter = program.data()};
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) return confining_failed("seccomp");
  return {};
}

}  // namespace

tl::expected<void, std::string> confine_to_file(int file, std::span<const int> only_read) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return confining_failed("no_new_privs");
  TRY(bound(RLIMIT_CORE, 0));
  if (!sanitized) TRY(bound(RLIMIT_AS, confined_memory));  // a sanitizer's shadow is larger
  TRY(bound(RLIMIT_NOFILE, confined_files));
  TRY(leave_files(file, only_read));
  return forbid_calls();
}

}  // namespace cloister::toolstack
