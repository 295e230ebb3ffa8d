// Building: reserve addresses, ECREATE, a page at a time EADD (and EEXTEND), EINIT, and map the pages with the
// permissions that they were added with. The input is the SGXS stream and the SIGSTRUCT that cloister-enclave wrote;
// the attributes are those of the SIGSTRUCT.
#include "loader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, HEADER = 64, CHUNK = 256, CHUNKS = PAGE / CHUNK, SIGSTRUCT_BYTES = 1808 };
enum { FLAG_R = 1, FLAG_W = 2, FLAG_X = 4, TYPE_TCS = 1 << 8, TYPE_MASK = 0xff00 };
enum { ATTRIBUTE_PROVISIONKEY = 1 << 4 };

static char failure[256];
#define FAIL(...) return snprintf(failure, sizeof failure, __VA_ARGS__), failure

static uint64_t word64(const uint8_t* from) {
  uint64_t value;
  memcpy(&value, from, sizeof value);
  return value;
}

// The whole file, in memory that starts a page and may be mapped executable, as ADD_PAGES wants it.
static uint8_t* read_file(const char* name, const char* ending, size_t* size) {
  char path[256];
  snprintf(path, sizeof path, "%s.%s", name, ending);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0) return NULL;
  *size = (size_t)status.st_size;
  uint8_t* bytes = mmap(NULL, *size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  size_t got = 0;
  while (bytes != MAP_FAILED && got < *size) {
    const ssize_t part = read(file, bytes + got, *size - got);
    if (part <= 0) break;
    got += (size_t)part;
  }
  close(file);
  return bytes != MAP_FAILED && got == *size ? bytes : NULL;
}

// A range of addresses of `size` bytes that starts at a multiple of its size.
static uint8_t* reserve(uint64_t size) {
  uint8_t* area = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) return NULL;
  uint8_t* base = (uint8_t*)(((uintptr_t)area + size - 1) & ~(size - 1));
  munmap(area, (size_t)(base - area));
  munmap(base + size, (size_t)(area + size - base));
  return base;
}

// Linux lets an enclave that has been created have the provisioning key if who builds it may open this device.
static const char* allow_provisioning(struct enclave* enclave) {
  const int device = open("/dev/sgx_provision", O_RDONLY | O_CLOEXEC);
  if (device < 0) FAIL("/dev/sgx_provision: %s", strerror(errno));
  struct sgx_enclave_provision argument = {.fd = (uint64_t)device};
  const int allowed = ioctl(enclave->device, SGX_IOC_ENCLAVE_PROVISION, &argument);
  const int error = errno;
  close(device);
  if (allowed != 0) FAIL("/dev/sgx_provision: %s", strerror(error));
  return NULL;
}

static const char* create(struct enclave* enclave, const uint8_t* header, const uint8_t* sigstruct) {
  static uint8_t secs[PAGE] __attribute__((aligned(PAGE)));
  memset(secs, 0, sizeof secs);
  memcpy(secs + 0, &enclave->size, 8);
  memcpy(secs + 8, &enclave->base, 8);
  memcpy(secs + 16, header + 8, 4);        // SSAFRAMESIZE
  memcpy(secs + 20, sigstruct + 900, 4);   // MISCSELECT
  memcpy(secs + 48, sigstruct + 928, 16);  // ATTRIBUTES
  const int provision = (sigstruct[928] & ATTRIBUTE_PROVISIONKEY) != 0;
  struct sgx_enclave_create argument = {.src = (uintptr_t)secs};
  if (ioctl(enclave->device, SGX_IOC_ENCLAVE_CREATE, &argument) == 0)
    return provision ? allow_provisioning(enclave) : NULL;
  if (provision && errno == EIO)
    FAIL("create: refused, since this machine does not give enclaves the provisioning key");
  FAIL("create: %s", strerror(errno));
}

// One page: its EADD record and the records of its sixteen chunks, in order and all of one kind. `*at` moves on.
static const char* add(struct enclave* enclave, const uint8_t** at, const uint8_t* end, uint64_t* flags) {
  static uint8_t page[PAGE] __attribute__((aligned(PAGE)));
  const uint8_t* header = *at;
  const uint64_t offset = word64(header + 8);
  const uint8_t* chunk = header + HEADER;
  if (end - header < HEADER + CHUNKS * (HEADER + CHUNK) || memcmp(header, "EADD\0\0\0", 8) != 0) {
    FAIL("the stream is not a sequence of whole pages");
  }
  const int measured = memcmp(chunk, "EEXTEND", 8) == 0;
  for (int i = 0; i < CHUNKS; i++, chunk += HEADER + CHUNK) {
    if (memcmp(chunk, measured ? "EEXTEND" : "UNMEASRD", 8) != 0 || word64(chunk + 8) != offset + (uint64_t)i * CHUNK) {
      FAIL("page %#lx is not whole", offset);
    }
    memcpy(page + i * CHUNK, chunk + HEADER, CHUNK);
  }
  uint8_t secinfo[64] __attribute__((aligned(64)));
  memcpy(secinfo, header + 16, 48);
  memset(secinfo + 48, 0, 16);
  *flags = word64(secinfo);
  struct sgx_enclave_add_pages argument = {.src = (uintptr_t)page,
                                           .offset = offset,
                                           .length = PAGE,
                                           .secinfo = (uintptr_t)secinfo,
                                           .flags = measured ? SGX_PAGE_MEASURE : 0};
  if (ioctl(enclave->device, SGX_IOC_ENCLAVE_ADD_PAGES, &argument) != 0) {
    FAIL("add page %#lx: %s", offset, strerror(errno));
  }
  if ((*flags & TYPE_MASK) == TYPE_TCS) {
    if (enclave->threads == ENCLAVE_MAX_THREADS) FAIL("more than %d threads", ENCLAVE_MAX_THREADS);
    enclave->tcs[enclave->threads++] = (uint64_t)enclave->base + offset;
  }
  *at = chunk;
  return NULL;
}

int enclave_map(struct enclave* enclave, uint64_t offset, uint64_t bytes, int protection) {
  void* at = enclave->base + offset;
  return mmap(at, bytes, protection, MAP_SHARED | MAP_FIXED, enclave->device, 0) == at ? 0 : -1;
}

// Linux gives no more than a page has; a TCS is reached as if it were readable and writable.
static int protection_of(uint64_t flags) {
  if ((flags & TYPE_MASK) == TYPE_TCS) return PROT_READ | PROT_WRITE;
  return (flags & FLAG_R ? PROT_READ : 0) | (flags & FLAG_W ? PROT_WRITE : 0) | (flags & FLAG_X ? PROT_EXEC : 0);
}

// Maps neighbours of the same protection together.
static const char* map_pages(struct enclave* enclave, const uint8_t* stream, const uint8_t* end) {
  uint64_t from = 0, to = 0;
  int protection = -1;
  for (const uint8_t* at = stream;; at += HEADER + CHUNKS * (HEADER + CHUNK)) {
    const int last = at == end;
    const uint64_t offset = last ? 0 : word64(at + 8);
    const int wanted = last ? -1 : protection_of(word64(at + 16));
    if (!last && offset == to && wanted == protection) {
      to += PAGE;
      continue;
    }
    if (to > from && enclave_map(enclave, from, to - from, protection) != 0) {
      FAIL("map %#lx-%#lx: %s", from, to, strerror(errno));
    }
    if (last) return NULL;
    from = offset;
    to = offset + PAGE;
    protection = wanted;
  }
}

static const char* build(struct enclave* enclave, const uint8_t* stream, size_t size, uint8_t* sigstruct) {
  const uint8_t *end = stream + size, *pages = stream + HEADER;
  if (size < HEADER || memcmp(stream, "ECREATE", 8) != 0) FAIL("the stream does not begin with ECREATE");
  enclave->size = word64(stream + 12);
  enclave->base = reserve(enclave->size);
  if (!enclave->base) FAIL("no room for %#lx bytes of addresses", enclave->size);
  const char* error = create(enclave, stream, sigstruct);
  uint64_t flags;
  for (const uint8_t* at = pages; !error && at < end;) error = add(enclave, &at, end, &flags);
  if (error) return error;
  struct sgx_enclave_init argument = {.sigstruct = (uintptr_t)sigstruct};
  const int result = ioctl(enclave->device, SGX_IOC_ENCLAVE_INIT, &argument);
  if (result != 0) FAIL("init: %s", result < 0 ? strerror(errno) : "refused by the processor");
  memcpy(enclave->mrenclave, sigstruct + 960, 32);
  return map_pages(enclave, pages, end);
}

const char* enclave_load(struct enclave* enclave, const char* name) {
  memset(enclave, 0, sizeof *enclave);
  enclave->device = -1;
  enclave->vdso_enter = vdso_function("__vdso_sgx_enter_enclave");
  if (!enclave->vdso_enter) FAIL("the vDSO has no __vdso_sgx_enter_enclave");
  size_t stream_size, sigstruct_size;
  uint8_t* stream = read_file(name, "sgxs", &stream_size);
  if (!stream) FAIL("%s.sgxs: %s", name, strerror(errno));
  uint8_t* sigstruct = read_file(name, "sig", &sigstruct_size);
  if (!sigstruct || sigstruct_size != SIGSTRUCT_BYTES) FAIL("%s.sig is no SIGSTRUCT", name);
  enclave->device = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
  if (enclave->device < 0) FAIL("/dev/sgx_enclave: %s", strerror(errno));
  const char* error = build(enclave, stream, stream_size, sigstruct);
  munmap(stream, stream_size + PAGE);
  munmap(sigstruct, sigstruct_size + PAGE);
  if (error) enclave_unload(enclave);
  return error;
}

void enclave_unload(struct enclave* enclave) {
  if (enclave->base) munmap(enclave->base, enclave->size);
  if (enclave->device >= 0) close(enclave->device);
  enclave->base = NULL;
  enclave->device = -1;
}

int enclave_restrict(struct enclave* enclave, uint64_t offset, uint64_t bytes, uint64_t permissions) {
  struct sgx_enclave_restrict_permissions argument = {.offset = offset, .length = bytes, .permissions = permissions};
  const int result = ioctl(enclave->device, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &argument);
  return argument.result ? (int)argument.result : result;
}

int enclave_set_type(struct enclave* enclave, uint64_t offset, uint64_t bytes, uint64_t type) {
  struct sgx_enclave_modify_types argument = {.offset = offset, .length = bytes, .page_type = type};
  const int result = ioctl(enclave->device, SGX_IOC_ENCLAVE_MODIFY_TYPES, &argument);
  return argument.result ? (int)argument.result : result;
}

int enclave_remove(struct enclave* enclave, uint64_t offset, uint64_t bytes) {
  struct sgx_enclave_remove_pages argument = {.offset = offset, .length = bytes};
  return ioctl(enclave->device, SGX_IOC_ENCLAVE_REMOVE_PAGES, &argument);
}
