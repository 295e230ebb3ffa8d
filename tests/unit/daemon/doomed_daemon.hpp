// A daemon that creates a domain, and dies in it.
#pragma once

#include <string>

namespace cloister::tests {

/// The first argument that makes this test program one; the others are a folder (TestDaemon) and a point (Faults::die).
inline constexpr const char* doomed_word = "doomed-daemon";
/// 0: the domain was created before that point came, and the daemon died then.
int run_doomed_daemon(const std::string& folder, int point);

/// Points beyond it: the daemon dies while EPC moves between domains that it has (sharing_test.cpp).
inline constexpr int doomed_sharing = 1000;
int run_doomed_sharing(const std::string& folder, int point);
/// And further on, what a guest gave back (balloon_test.cpp).
inline constexpr int doomed_balloon = 2000;
int run_doomed_balloon(const std::string& folder, int point);
/// Runs one, and returns its exit status.
int doom(const std::string& folder, int point);

}  // namespace cloister::tests
