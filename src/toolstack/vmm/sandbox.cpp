// No privileges by exec(), no core files with a guest's memory and the platform's secret, no descriptors but the
// launch's and standard error.
#include "toolstack/vmm/sandbox.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "toolstack/vmm/launch.hpp"

namespace cloister::toolstack {

namespace {
tl::unexpected<std::string> failed(const char* what) {
  return tl::unexpected(std::string(what).append(": ").append(std::strerror(errno)));
}
}  // namespace

tl::expected<void, std::string> enter_sandbox() {
  if (::close_range(launch_fd::last + 1, ~0U, 0) != 0) return failed("close_range");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("no_new_privs");
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return failed("RLIMIT_CORE");
  return {};
}

}  // namespace cloister::toolstack
