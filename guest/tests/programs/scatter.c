// Writes blocks of a disk at random places, and now and then flushes, until somebody ends the machine: a fourth of the
// disk each by four processes. What stands where is known to who knows the seed (tests/daemon/cases_blocks.py has the
// same order of writes): each 8 bytes of a block say by which batch of which run they were written, and where they
// belong.
//
//   scatter DEVICE SEED       seed: 1 to 255
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

enum { block_bytes = 4096, most_blocks = 16, processes = 4 };

static uint64_t state;

/* xorshift64* (Vigna, 2014) */
static uint64_t below(uint64_t limit) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return (state * 2685821657736338717u >> 32) % limit;
}

static void die(const char* what) {
  perror(what);
  printf("FAIL scatter: %s\n", what);
  exit(1);
}

static void write_for_ever(const char* device, uint64_t seed, unsigned number) {
  const int fd = open(device, O_RDWR | O_DIRECT);
  uint64_t bytes = 0;
  uint64_t* buffer = NULL;

  if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes) != 0) die(device);
  if (posix_memalign((void**)&buffer, block_bytes, most_blocks * block_bytes) != 0) die("memory");
  const uint64_t blocks = bytes / block_bytes / processes, first = blocks * number;
  state = (seed * processes + number + 1) * 0x9e3779b97f4a7c15u;
  for (uint64_t batch = 1;; batch++) {
    for (uint64_t writes = 1 + below(8); writes > 0; writes--) {
      const uint64_t from = below(blocks);
      uint64_t count = 1 + below(most_blocks);
      if (count > blocks - from) count = blocks - from;
      for (uint64_t i = 0; i < count * block_bytes / 8; i++)
        buffer[i] = seed << 56 | batch << 32 | (first + from + i * 8 / block_bytes);
      const ssize_t size = (ssize_t)(count * block_bytes);
      if (pwrite(fd, buffer, (size_t)size, (off_t)((first + from) * block_bytes)) != size) die("write");
    }
    if (below(2) == 0) {
      char line[64];
      if (fdatasync(fd) != 0) die("flush");
      const int length = snprintf(line, sizeof line, "BLOCKS %u flushed %llu\n", number, (unsigned long long)batch);
      if (write(STDOUT_FILENO, line, (size_t)length) != length) die("console");
    }
  }
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  for (unsigned number = 1; number < processes; number++)
    if (fork() == 0) write_for_ever(argv[1], strtoull(argv[2], NULL, 10), number);
  write_for_ever(argv[1], strtoull(argv[2], NULL, 10), 0);
}
