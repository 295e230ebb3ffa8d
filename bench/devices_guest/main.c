// The part of bench/devices that runs in a guest: reads and writes a disk past the kernel's cache, one request at a
// time, and sends to and receives from a server on the host. Prints "SPEED WHAT BYTES NANOSECONDS".
//
//   program disk DEVICE MIB        program net ADDRESS PORT MIB
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { mib = 1 << 20, page = 4096, random_requests = 8192 };

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static void say(const char* what, uint64_t bytes, uint64_t since) {
  printf("SPEED %s %" PRIu64 " %" PRIu64 "\n", what, bytes, now() - since);
  fflush(stdout);
}

static uint64_t state = 1;
static uint64_t next_random(void) {  // xorshift64
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static void one(int fd, int writes, char* buffer, size_t bytes, off_t at) {
  const ssize_t done = writes ? pwrite(fd, buffer, bytes, at) : pread(fd, buffer, bytes, at);
  if (done != (ssize_t)bytes) fail(writes ? "pwrite" : "pread");
}

static void disk(const char* device, uint64_t size_mib) {
  const int fd = open(device, O_RDWR | O_DIRECT);
  if (fd < 0) fail(device);
  char* buffer = aligned_alloc(page, mib);
  memset(buffer, 0x5a, mib);
  const char* const names[2][2] = {{"disk-read", "disk-read-4k"}, {"disk-write", "disk-write-4k"}};
  for (int writes = 1; writes >= 0; --writes) {
    uint64_t start = now();
    for (uint64_t at = 0; at < size_mib; ++at) one(fd, writes, buffer, mib, (off_t)(at * mib));
    if (writes && fsync(fd) != 0) fail("fsync");
    say(names[writes][0], size_mib * mib, start);
    start = now();
    for (int n = 0; n < random_requests; ++n)
      one(fd, writes, buffer, page, (off_t)(next_random() % (size_mib * mib / page) * page));
    say(names[writes][1], (uint64_t)random_requests * page, start);
  }
  close(fd);
}

static int connected(const char* address, int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, address, &to.sin_addr) != 1) fail(address);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr*)&to, sizeof to) != 0) fail("connect");
  return fd;
}

// The server takes what comes, and answers with a byte when there is no more.
static void send_all(int fd, uint64_t bytes) {
  char* buffer = calloc(1, mib);
  const uint64_t start = now();
  for (uint64_t sent = 0; sent < bytes;) {
    const ssize_t done = write(fd, buffer, mib);
    if (done <= 0) fail("write");
    sent += (uint64_t)done;
  }
  shutdown(fd, SHUT_WR);
  if (read(fd, buffer, 1) != 1) fail("answer");
  say("net-send", bytes, start);
}

// The server sends so much, and waits for the guest to end the connection.
static void receive_all(int fd, uint64_t bytes) {
  char* buffer = malloc(mib);
  const uint64_t start = now();
  for (uint64_t received = 0; received < bytes;) {
    const ssize_t done = read(fd, buffer, mib);
    if (done <= 0) fail("read");
    received += (uint64_t)done;
  }
  say("net-receive", bytes, start);
}

int main(int argc, char** argv) {
  if (argc == 4 && strcmp(argv[1], "disk") == 0) {
    disk(argv[2], (uint64_t)atoi(argv[3]));
  } else if (argc == 5 && strcmp(argv[1], "net") == 0) {
    const uint64_t bytes = (uint64_t)atoi(argv[4]) * mib;
    int fd = connected(argv[2], atoi(argv[3]));
    if (write(fd, "s", 1) != 1) fail("write");
    send_all(fd, bytes);
    close(fd);
    fd = connected(argv[2], atoi(argv[3]));
    if (write(fd, "r", 1) != 1) fail("write");
    receive_all(fd, bytes);
    close(fd);
  } else {
    return 2;
  }
  return 0;
}
