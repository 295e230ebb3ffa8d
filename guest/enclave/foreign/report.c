// Runs an enclave that was not made with this toolkit, if a test has brought it as /enclaves/report.sgxs and .sig: one
// that executes EREPORT with what it finds in its page at 0x3000 and returns with the report copied to where RDI
// pointed. The target is the enclave of the example `attest`, which verifies the report.
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attest.h"
#include "check.h"
#include "loader.h"

enum { HEADER = 64, CHUNK = 256, EENTER = 2, EEXIT = 4 };
enum { PARAMETERS = 0x3000, REPORTDATA = 0x3000 + 512 };

// Of the loader: what goes through RDI is the enclave's affair.
int enter_enclave(void* rdi, uint64_t rsi, uint64_t leaf, struct sgx_enclave_run* run, void* vdso);

static uint8_t stream[1 << 20], sigstruct[1808];

static ssize_t read_file(const char* path, uint8_t* to, size_t room) {
  const int file = open(path, O_RDONLY);
  if (file < 0) return -1;
  const ssize_t got = read(file, to, room);
  close(file);
  return got;
}

static int write_file(const char* path, const uint8_t* from, size_t bytes) {
  const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int done = file >= 0 && write(file, from, bytes) == (ssize_t)bytes;
  close(file);
  return done;
}

// Data of the stream's unmeasured chunks from `offset` on becomes `bytes` of `from`.
static int fill(size_t size, uint64_t offset, const uint8_t* from, size_t bytes) {
  size_t filled = 0;
  for (size_t at = 0; at + HEADER <= size; at += HEADER) {
    const int unmeasured = memcmp(stream + at, "UNMEASRD", 8) == 0;
    if (!unmeasured && memcmp(stream + at, "EEXTEND", 8) != 0) continue;
    uint64_t chunk;
    memcpy(&chunk, stream + at + 8, sizeof chunk);
    if (unmeasured && chunk >= offset && chunk < offset + bytes) {
      const size_t done = chunk - offset, part = bytes - done < CHUNK ? bytes - done : CHUNK;
      memcpy(stream + at + HEADER, from + done, part);
      filled += part;
    }
    at += CHUNK;
  }
  return filled == bytes;
}

static int verified(struct enclave* verifier, const uint8_t* report) {
  struct enclave_call call = {.function = VERIFY};
  memcpy(call.text, report, REPORT_BYTES);
  return enclave_call(verifier, 0, &call, NULL) == 0 && call.result == 1;
}

int main(void) {
  const ssize_t size = read_file("/enclaves/report.sgxs", stream, sizeof stream);
  if (size < 0) {
    puts("report: nobody has brought an enclave");
    return 0;
  }
  struct enclave verifier, foreign;
  const char* error = enclave_load(&verifier, "/enclaves/attest");
  struct enclave_call target = {.function = TARGET};
  if (!error && enclave_call(&verifier, 0, &target, NULL) != 0) error = "the verifier does not answer";
  static const uint8_t data[CHALLENGE_BYTES] = "to be reported";
  check("report", "signature-there", read_file("/enclaves/report.sig", sigstruct, sizeof sigstruct) == 1808);
  check("report", "room-for-parameters",
        fill((size_t)size, PARAMETERS, target.text, TARGET_BYTES) && fill((size_t)size, REPORTDATA, data, sizeof data));
  check("report", "copied",
        write_file("/tmp/report.sgxs", stream, (size_t)size) &&
            write_file("/tmp/report.sig", sigstruct, sizeof sigstruct));
  if (!error) error = enclave_load(&foreign, "/tmp/report");
  if (error) printf("report: %s\n", error);
  check("report", "load", !error);
  if (error) return 1;

  static uint8_t report[REPORT_BYTES];
  struct sgx_enclave_run run = {.tcs = foreign.tcs[0]};
  check("report", "enter", enter_enclave(report, 0, EENTER, &run, foreign.vdso_enter) == 0 && run.function == EEXIT);
  check("report", "mrenclave", memcmp(report + 64, foreign.mrenclave, 32) == 0);
  check("report", "reportdata", memcmp(report + 320, data, sizeof data) == 0);
  check("report", "verified-by-the-target", verified(&verifier, report));
  report[64] ^= 1;
  check("report", "a-flipped-bit-is-refused", !verified(&verifier, report));
  enclave_unload(&foreign);
  enclave_unload(&verifier);
  return failures != 0;
}
