#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "heap.h"
#include "loader.h"

enum {
  PAGE = 4096,
  ROOM = 256 << 10,
  R = 1,
  W = 2,
  X = 4,
  REG = 2 << 8,
  TRIM = 4 << 8,
  MODIFIED = 1 << 4,
  PR = 1 << 5
};

static struct enclave enclave;

static uint64_t ask(uint64_t function, uint64_t offset, uint64_t bytes, uint64_t more) {
  return enclave_ask(&enclave, function, offset, bytes, more);
}
static void say(const char* name, int right) {
  check("heap", name, right);
  if (!right) printf("heap: errno %d, %s\n", errno, strerror(errno));
}

int main(void) {
  const char* error = enclave_load(&enclave, "/enclaves/heap");
  if (error) printf("heap: %s\n", error);
  check("heap", "load", !error);
  if (error) return 1;
  const uint64_t where = ask(WHERE, 0, 0, 0);
  say("map-room", enclave_map(&enclave, where, ROOM, PROT_READ | PROT_WRITE) == 0);

  // Growth: a page that was not accepted faults with P, W, U and SGX in its error code.
  say("pending-page-faults", ask(POKE, 0, PAGE, 0) == (1ull << 32 | 0x8007));
  say("grow", ask(GROW, 0, ROOM, 0) == 0);
  say("new-pages-are-zero", ask(SUM, 0, ROOM, 0) == 0);
  ask(FILL, 0, ROOM, 3);
  say("new-pages-hold-data", ask(SUM, 0, ROOM, 0) == 3 * ROOM);

  // Code made inside: EMODPE, and then the kernel's mapping.
  ask(WRITE_CODE, PAGE, PAGE, 0);
  say("map-code", mprotect(enclave.base + where + PAGE, PAGE, PROT_READ | PROT_EXEC) == 0);
  say("run-code", ask(RUN_CODE, PAGE, PAGE, 0) == 42);

  // Restriction: in force with EMODPR, agreed to with EACCEPT.
  say("restrict", enclave_restrict(&enclave, where + 2 * PAGE, PAGE, R) == 0);
  say("accept-restriction", ask(ACCEPT, 2 * PAGE, PAGE, R | REG | PR) == 0);
  say("restricted-page-faults", (ask(POKE, 2 * PAGE, PAGE, 0) & 0x8007) == 0x8007);
  say("restricted-page-reads", ask(SUM, 2 * PAGE, PAGE, 0) == 3 * PAGE);

  // Trim: the enclave agrees, the kernel removes, and the addresses may be used again.
  say("trim", enclave_set_type(&enclave, where + 8 * PAGE, 8 * PAGE, 4) == 0);
  say("remove-before-accept", enclave_remove(&enclave, where + 8 * PAGE, 8 * PAGE) == -1 && errno == EPERM);
  say("accept-trim", ask(ACCEPT, 8 * PAGE, 8 * PAGE, TRIM | MODIFIED) == 0);
  say("remove", enclave_remove(&enclave, where + 8 * PAGE, 8 * PAGE) == 0);
  say("grow-again", ask(GROW, 8 * PAGE, 8 * PAGE, 0) == 0);
  say("zero-again", ask(SUM, 8 * PAGE, 8 * PAGE, 0) == 0);
  say("others-untouched", ask(SUM, 16 * PAGE, ROOM - 16 * PAGE, 0) == 3 * (ROOM - 16 * PAGE));
  enclave_unload(&enclave);
  return failures != 0;
}
