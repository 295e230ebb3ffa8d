// The test program, which its tests also start as what a daemon starts, and as a daemon that dies.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>

#include <string_view>

#include "daemon/opener.hpp"
#include "unit/daemon/doomed_daemon.hpp"
#include "unit/daemon/fake_vmm.hpp"

namespace {

bool is_child = false;

}  // namespace

/// The leak sanitizer's hook. It looks for leaks from a process of its own that traces the one that ends: killed at
/// that moment, neither of the two can be reaped at once.
extern "C" int __lsan_is_turned_off() { return is_child ? 1 : 0; }  // NOLINT: the sanitizer's name

int main(int argc, char** argv) {
  using namespace cloister;
  ::signal(SIGPIPE, SIG_IGN);
  const std::string_view word = argc > 1 ? argv[1] : "";
  is_child = tests::is_vmm(argv[0]) || word == toolstack::opener_word || word == tests::doomed_word;
  if (tests::is_vmm(argv[0])) return tests::run_fake_vmm();
  if (word == toolstack::opener_word) return toolstack::run_opener();
  if (argc == 4 && word == tests::doomed_word) return tests::run_doomed_daemon(argv[2], std::stoi(argv[3]));
  // What a daemon leaves when it dies is this process's to see and to reap.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
