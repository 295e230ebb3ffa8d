// The sandbox of a VMM, by the word of the kernel: a process inside it makes one call, and does or does not live on.
#include "vmm/sandbox.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <barrier>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "host/log.hpp"
#include "host/memfd.hpp"
#include "protocol/launch.hpp"

namespace cloister::toolstack {
namespace {

/// Exit statuses of the process inside.
constexpr int succeeded = 0, refused = 1, no_sandbox = 2;

/// As the daemon hands it over: an empty directory without a name.
bool give_root() {
  char path[] = "/tmp/cloister-sandbox-XXXXXX";
  if (::mkdtemp(path) == nullptr) return false;
  const Fd directory(::open(path, O_RDONLY | O_DIRECTORY));
  return ::rmdir(path) == 0 && ::dup2(directory.get(), launch_fd::root) == launch_fd::root;
}

/// The wait status of a process that enters the sandbox and then does `act`; true is success.
int inside(bool (*act)()) {
  const pid_t child = ::fork();
  if (child == 0) {
    set_up_log("sandbox-test");
    if (!give_root() || !enter_sandbox()) ::_exit(no_sandbox);
    ::_exit(act() ? succeeded : refused);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

struct Case {
  const char* name;
  bool (*act)();
};
std::string case_name(const testing::TestParamInfo<Case>& info) { return info.param.name; }

// ---- what kills

template <typename... Arguments>
bool call(long number, Arguments... arguments) {
  return ::syscall(number, arguments...) >= 0;
}

constexpr int some_fd = launch_fd::message;
int shared_page[1024];

const Case forbidden[] = {
    {"open", [] { return call(SYS_open, "/", O_RDONLY); }},
    {"openat", [] { return call(SYS_openat, AT_FDCWD, "/", O_RDONLY); }},
    {"openat2", [] { return call(SYS_openat2, AT_FDCWD, "/", nullptr, 0); }},
    {"creat", [] { return call(SYS_creat, "/x", 0600); }},
    {"unlink", [] { return call(SYS_unlink, "/x"); }},
    {"rename", [] { return call(SYS_rename, "/x", "/y"); }},
    {"stat", [] { return call(SYS_stat, "/", shared_page); }},
    {"newfstatat", [] { return call(SYS_newfstatat, AT_FDCWD, "/", shared_page, 0); }},
    {"newfstatat_empty", [] { return call(SYS_newfstatat, AT_FDCWD, "/", shared_page, AT_EMPTY_PATH); }},
    {"statx", [] { return call(SYS_statx, AT_FDCWD, "/", 0, 0, shared_page); }},
    {"readlink", [] { return call(SYS_readlink, "/", shared_page, 1); }},
    {"chdir", [] { return call(SYS_chdir, "/"); }},
    {"chroot", [] { return call(SYS_chroot, "/"); }},
    {"mount", [] { return call(SYS_mount, "", "/", "tmpfs", 0, nullptr); }},
    {"socket", [] { return call(SYS_socket, AF_INET, SOCK_STREAM, 0); }},
    {"socketpair", [] { return call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, shared_page); }},
    {"connect", [] { return call(SYS_connect, some_fd, shared_page, sizeof(sockaddr_un)); }},
    {"bind", [] { return call(SYS_bind, some_fd, shared_page, sizeof(sockaddr_un)); }},
    {"sendto_address", [] { return call(SYS_sendto, some_fd, shared_page, 1, 0, shared_page, sizeof(sockaddr_un)); }},
    {"getsockopt", [] { return call(SYS_getsockopt, some_fd, SOL_SOCKET, SO_TYPE, shared_page, shared_page + 1); }},
    {"shutdown_both", [] { return call(SYS_shutdown, some_fd, SHUT_RDWR); }},
    {"execve", [] { return call(SYS_execve, "/proc/self/exe", nullptr, nullptr); }},
    {"execveat", [] { return call(SYS_execveat, some_fd, "", nullptr, nullptr, AT_EMPTY_PATH); }},
    {"fork", [] { return call(SYS_fork); }},
    {"vfork", [] { return call(SYS_vfork); }},
    {"clone_process", [] { return call(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0); }},
    {"clone_namespace",
     [] {
       return call(SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWNET, nullptr, nullptr, nullptr, 0);
     }},
    {"dup2", [] { return call(SYS_dup2, some_fd, STDERR_FILENO); }},
    {"dup3_other", [] { return call(SYS_dup3, STDERR_FILENO, some_fd, 0); }},
    {"unshare", [] { return call(SYS_unshare, CLONE_NEWUSER); }},
    {"setns", [] { return call(SYS_setns, some_fd, 0); }},
    {"mmap_code",
     [] { return call(SYS_mmap, nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }},
    {"mprotect_code", [] { return call(SYS_mprotect, nullptr, 4096, PROT_READ | PROT_EXEC); }},
    {"pkey_mprotect", [] { return call(SYS_pkey_mprotect, nullptr, 4096, PROT_READ | PROT_EXEC, -1); }},
    {"madvise_remove", [] { return call(SYS_madvise, shared_page, 4096, MADV_REMOVE); }},
    {"process_vm_readv", [] { return call(SYS_process_vm_readv, ::getppid(), nullptr, 0, nullptr, 0, 0); }},
    {"ptrace", [] { return call(SYS_ptrace, PTRACE_TRACEME, 0, nullptr, nullptr); }},
    {"kill", [] { return call(SYS_kill, 1, 0); }},
    {"tgkill_other", [] { return call(SYS_tgkill, 1, 1, 0); }},
    {"tkill", [] { return call(SYS_tkill, 1, 0); }},
    {"pidfd_open", [] { return call(SYS_pidfd_open, 1, 0); }},
    {"prctl", [] { return call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); }},
    {"arch_prctl", [] { return call(SYS_arch_prctl, 0, 0); }},
    {"setuid", [] { return call(SYS_setuid, 0); }},
    {"setrlimit", [] { return call(SYS_setrlimit, RLIMIT_CORE, shared_page); }},
    {"prlimit64", [] { return call(SYS_prlimit64, 0, RLIMIT_CORE, nullptr, shared_page); }},
    {"ioctl", [] { return call(SYS_ioctl, STDERR_FILENO, 0x5412 /* TIOCSTI: types into a terminal */, shared_page); }},
    {"ioctl_tap", [] { return call(SYS_ioctl, some_fd, 0x4004'54cb /* TUNSETPERSIST: it stays for ever */, 1); }},
    {"fcntl_owner", [] { return call(SYS_fcntl, some_fd, F_SETOWN, 1); }},
    {"bpf", [] { return call(SYS_bpf, 0, nullptr, 0); }},
    {"perf_event_open", [] { return call(SYS_perf_event_open, nullptr, 0, -1, -1, 0); }},
    {"io_uring_setup", [] { return call(SYS_io_uring_setup, 1, shared_page); }},
    {"userfaultfd", [] { return call(SYS_userfaultfd, 0); }},
    {"keyctl", [] { return call(SYS_keyctl, 0, 0, 0, 0, 0); }},
    {"shmget", [] { return call(SYS_shmget, 1, 4096, 0600); }},
    {"x32_getpid", [] { return call(0x4000'0000 | SYS_getpid); }},
    {"no_such_call", [] { return call(100'000); }},
};

class Forbidden : public testing::TestWithParam<Case> {};
TEST_P(Forbidden, Kills) {
  if (!sandbox_is_whole()) GTEST_SKIP() << "no filter with this sanitizer";
  const int status = inside(GetParam().act);
  ASSERT_TRUE(WIFSIGNALED(status)) << "exit status " << WEXITSTATUS(status);
  EXPECT_EQ(WTERMSIG(status), SIGSYS);
  EXPECT_FALSE(WCOREDUMP(status));
}
INSTANTIATE_TEST_SUITE_P(Sandbox, Forbidden, testing::ValuesIn(forbidden), case_name);

TEST(Sandbox, AForbiddenCallOfAThreadEndsTheProcess) {
  if (!sandbox_is_whole()) GTEST_SKIP() << "no filter with this sanitizer";
  const int status = inside([] {
    std::thread([] { call(SYS_getppid); }).join();
    return true;
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << status;
}

// ---- what is as before

const Case allowed[] = {
    {"threads",
     [] {
       int sum = 0;
       for (int i = 0; i < 8; ++i) std::thread([&] { sum += i; }).join();
       return sum == 28;
     }},
    {"memory",
     [] {
       auto large = std::make_unique<std::vector<char>>(64 << 20, 'x');
       large->resize(128 << 20);
       return large->back() == 0;
     }},
    // What libraries do only from some count on, or once they have to give something back.
    {"memory_of_many_threads",
     [] {
       constexpr int count = 20;
       std::barrier together(count);
       std::vector<std::thread> threads;
       for (int i = 0; i < count; ++i) {
         threads.emplace_back([&] {
           std::vector<std::unique_ptr<char[]>> blocks;
           together.arrive_and_wait();
           for (int block = 0; block < 16; ++block) blocks.push_back(std::make_unique<char[]>(100'000));
           together.arrive_and_wait();
         });
       }
       for (std::thread& thread : threads) thread.join();
       return true;
     }},
    {"memory_given_back",
     [] {
       bool done = false;
       std::thread([&] {
         std::vector<std::unique_ptr<char[]>> blocks;
         for (int block = 0; block < 600; ++block) blocks.push_back(std::make_unique<char[]>(120'000));
         blocks.clear();
         done = ::malloc_trim(0) >= 0;
       }).join();
       return done;
     }},
    {"exceptions_of_threads",
     [] {
       int caught = 0;
       for (int i = 0; i < 20; ++i) {
         std::thread([&] {
           try {
             std::vector<char>().at(1);
           } catch (const std::out_of_range& error) {
             caught += error.what() != nullptr;
           }
         }).join();
       }
       return caught == 20;
     }},
    {"random_numbers_and_digests",
     [] {
       std::array<u8, 64> bytes{}, digest{};
       // The generator seeds itself anew after 2^16 requests.
       for (int i = 0; i < 70'000; ++i) {
         if (::RAND_bytes(bytes.data(), 16) != 1) return false;
       }
       unsigned size = 0;
       return ::EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, ::EVP_sha512(), nullptr) == 1 &&
              size == 64;
     }},
    {"words_of_errors",
     [] {
       for (int error = 0; error < 140; ++error) {
         if (std::strerror(error) == nullptr) return false;
       }
       return true;
     }},
    {"local_time",
     [] {
       const std::time_t now = std::time(nullptr);
       std::tm local{};
       std::string text(64, ' ');
       return ::localtime_r(&now, &local) != nullptr && std::strftime(text.data(), text.size(), "%c %Z", &local) != 0;
     }},
    {"memfd",
     [] {
       const Fd fd = fixed_memfd("test", 4096);
       return is_fixed_memfd(fd.get(), 4096) && SharedMapping(fd.get(), 4096).data() != nullptr;
     }},
    {"standard_error_of_a_new_daemon",
     [] {
       int ends[2];
       return ::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0 && ::dup3(ends[1], STDERR_FILENO, O_CLOEXEC) == STDERR_FILENO;
     }},
    {"eventfd",
     [] {
       const Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
       return ::eventfd_write(event.get(), 1) == 0;
     }},
    {"sleep",
     [] {
       std::this_thread::sleep_for(std::chrono::milliseconds(1));
       std::this_thread::yield();
       return true;
     }},
    {"log",
     [] {
       for (int i = 0; i < 100; ++i) log(LogLevel::info, "inside", {{"line", std::to_string(i)}});
       return std::fputs("from inside the sandbox\n", stderr) >= 0;
     }},
};

class Allowed : public testing::TestWithParam<Case> {};
TEST_P(Allowed, Works) {
  if (!sandbox_is_whole()) GTEST_SKIP() << "no filter with this sanitizer";
  const int status = inside(GetParam().act);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == succeeded) << status;
}
INSTANTIATE_TEST_SUITE_P(Sandbox, Allowed, testing::ValuesIn(allowed), case_name);

TEST(Sandbox, LetsAFailedAssertionEndTheProcessAsAlways) {
  if (!sandbox_is_whole()) GTEST_SKIP() << "no filter with this sanitizer";
  const int status = inside([]() -> bool { std::abort(); });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
}

// ---- privileges

/// Of /proc/PID/status.
std::string status_line(pid_t pid, const std::string& key) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key + ":\t")) return line.substr(key.size() + 2);
  }
  return "no such line";
}

TEST(Sandbox, LeavesNoPrivileges) {
  if (!sandbox_is_whole()) GTEST_SKIP() << "root stays root with this sanitizer";
  if (::geteuid() != 0) GTEST_SKIP() << "only root has privileges to lose";
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  Fd ours(ends[0]), theirs(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(theirs.get(), launch_fd::control);
    char byte = 0;
    if (!give_root() || !enter_sandbox()) ::_exit(no_sandbox);
    const bool seen = ::write(launch_fd::control, &byte, 1) == 1 && ::read(launch_fd::control, &byte, 1) == 1;
    ::_exit(seen ? succeeded : refused);
  }
  theirs = Fd();
  char byte = 0;
  ASSERT_EQ(::read(ours.get(), &byte, 1), 1) << "it did not get in";
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"})
    EXPECT_EQ(status_line(child, set), "0000000000000000") << set;
  for (const char* ids : {"Uid", "Gid"}) EXPECT_EQ(status_line(child, ids).find("0\t"), std::string::npos) << ids;
  EXPECT_EQ(status_line(child, "Groups").find_first_not_of(' '), std::string::npos) << status_line(child, "Groups");
  EXPECT_EQ(status_line(child, "NoNewPrivs"), "1");
  EXPECT_EQ(status_line(child, "Seccomp"), "2");
  const std::filesystem::path root = "/proc/" + std::to_string(child) + "/root/";
  EXPECT_TRUE(std::filesystem::is_empty(root));
  EXPECT_EQ(::open((root / "file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600), -1) << "its root takes files";
  ASSERT_EQ(::write(ours.get(), &byte, 1), 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == succeeded) << status;
}

}  // namespace
}  // namespace cloister::toolstack
