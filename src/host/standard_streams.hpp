// Descriptors 0 to 2: programs write to them by number, whatever they are.
#pragma once

#include <fcntl.h>
#include <unistd.h>

namespace cloister {

/// Opens /dev/null on those that are closed, so that no file or socket of ours gets their number and what is meant for
/// a log or a terminal. First thing in a program.
inline void open_standard_streams() {
  int fd = -1;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= STDIN_FILENO && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) ::close(fd);
}

}  // namespace cloister
