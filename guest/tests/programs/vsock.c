// Sockets between the guest and its host (vsock(7)):
//
//   vsock call PORT BYTES COUNT    so many connections at once to the host's port, each of which sends so many bytes,
//                                  ends what it sends, and must get the same back and then an end
//   vsock serve PORT COUNT         accepts so many, and sends to each what comes from it
//   vsock hold PORT                connects, and waits for the end
//   vsock date PORT                accepts one, prints the line that comes from it, and answers as QEMU's guest agent
//   does vsock cid                      prints the guest's own number
//
// Exit status 0: all of it was so; else the errno of what was not.
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { most = 16, piece = 1 << 16 };

static struct sockaddr_vm address(unsigned cid, unsigned port) {
  struct sockaddr_vm all;
  memset(&all, 0, sizeof all);
  all.svm_family = AF_VSOCK;
  all.svm_cid = cid;
  all.svm_port = port;
  return all;
}

static void die(const char* what) {
  const int why = errno != 0 ? errno : EIO;
  printf("vsock: %s: %s\n", what, strerror(why));
  exit(why);
}

static int connected(unsigned port) {
  const struct sockaddr_vm host = address(VMADDR_CID_HOST, port);
  const int one = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (one < 0 || connect(one, (const struct sockaddr*)&host, sizeof host) != 0) die("connect");
  return one;
}

static int listening_at(unsigned port, int backlog) {
  const struct sockaddr_vm here = address(VMADDR_CID_ANY, port);
  const int one = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (one < 0 || bind(one, (const struct sockaddr*)&here, sizeof here) != 0 || listen(one, backlog) != 0) die("listen");
  return one;
}

static unsigned char byte_at(size_t at, int salt) { return (unsigned char)(at * 7 + at / 251 + (size_t)salt); }

struct call {
  int socket, salt;
  size_t bytes;
};

static void* speak(void* of) {
  const struct call* call = of;
  static __thread unsigned char buffer[piece];
  for (size_t sent = 0; sent < call->bytes;) {
    size_t n = call->bytes - sent < piece ? call->bytes - sent : piece;
    for (size_t i = 0; i < n; ++i) buffer[i] = byte_at(sent + i, call->salt);
    for (size_t done = 0; done < n;) {
      const ssize_t some = write(call->socket, buffer + done, n - done);
      if (some <= 0) die("write");
      done += (size_t)some;
    }
    sent += n;
  }
  if (shutdown(call->socket, SHUT_WR) != 0) die("shutdown");
  return NULL;
}

static void* listen_to(void* of) {
  const struct call* call = of;
  static __thread unsigned char buffer[piece];
  size_t got = 0;
  for (;;) {
    const ssize_t some = read(call->socket, buffer, piece);
    if (some < 0) die("read");
    if (some == 0) break;
    for (ssize_t i = 0; i < some; ++i, ++got) {
      errno = 0;
      if (got == call->bytes || buffer[i] != byte_at(got, call->salt)) die("other bytes than were sent");
    }
  }
  errno = 0;
  if (got != call->bytes) die("fewer bytes than were sent");
  return NULL;
}

static void* echo(void* of) {
  const int one = *(const int*)of;
  static __thread unsigned char buffer[piece];
  ssize_t some;
  while ((some = read(one, buffer, piece)) > 0) {
    for (ssize_t done = 0; done < some;) {
      const ssize_t n = write(one, buffer + done, (size_t)(some - done));
      if (n <= 0) die("write");
      done += n;
    }
  }
  if (some < 0) die("read");
  close(one);
  return NULL;
}

int main(int count, char** words) {
  pthread_t threads[2 * most];
  if (count == 2 && strcmp(words[1], "cid") == 0) {
    unsigned cid = 0;
    const int device = open("/dev/vsock", O_RDONLY);
    if (device < 0 || ioctl(device, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) != 0) die("/dev/vsock");
    printf("%u\n", cid);
    return 0;
  }
  if (count < 3) return EINVAL;
  const unsigned port = (unsigned)atoi(words[2]);
  if (count == 5 && strcmp(words[1], "call") == 0) {
    struct call calls[most];
    const int all = atoi(words[4]);
    if (all > most) return EINVAL;
    for (int i = 0; i < all; ++i) {
      calls[i] = (struct call){connected(port), i, (size_t)atol(words[3])};
      pthread_create(&threads[2 * i], NULL, speak, &calls[i]);
      pthread_create(&threads[2 * i + 1], NULL, listen_to, &calls[i]);
    }
    for (int i = 0; i < 2 * all; ++i) pthread_join(threads[i], NULL);
    return 0;
  }
  if (count == 4 && strcmp(words[1], "serve") == 0) {
    static int sockets[most];
    const int all = atoi(words[3]);
    if (all > most) return EINVAL;
    const int listening = listening_at(port, all);
    printf("TEST vsock: listens\n");
    fflush(stdout);
    for (int i = 0; i < all; ++i) {
      sockets[i] = accept(listening, NULL, NULL);
      if (sockets[i] < 0) die("accept");
      pthread_create(&threads[i], NULL, echo, &sockets[i]);
    }
    for (int i = 0; i < all; ++i) pthread_join(threads[i], NULL);
    return 0;
  }
  if (count == 3 && strcmp(words[1], "date") == 0) {
    static const char answer[] = "{\"return\": {}}\n";
    char line[256];
    size_t got = 0;
    const int one = accept(listening_at(port, 1), NULL, NULL);
    if (one < 0) die("accept");
    while (got < sizeof line && (got == 0 || line[got - 1] != '\n')) {
      const ssize_t some = read(one, line + got, sizeof line - got);
      if (some <= 0) die("read");
      got += (size_t)some;
    }
    printf("told %.*s", (int)got, line);
    fflush(stdout);
    return write(one, answer, sizeof answer - 1) < 0 ? errno : 0;
  }
  if (count == 3 && strcmp(words[1], "hold") == 0) {
    char byte;
    const int one = connected(port);
    printf("TEST vsock: holds\n");
    fflush(stdout);
    const ssize_t got = read(one, &byte, 1);
    return got < 0 ? errno : got == 0 ? 0 : EIO;
  }
  return EINVAL;
}
