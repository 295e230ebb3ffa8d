// The C half of the door: copies calls in and out, and gives the author's functions what they need.
#include "runtime.h"

// Where GS points; entry.S knows the first seven fields.
struct thread {
  uint64_t ocall_rsp, caller[3], handler_caller[3];
  struct enclave_call* outside;  // of the ecall that is under way
  uint64_t handling;
};
static struct thread __seg_gs* const thread = 0;

void leave_for_ocall(void);

void* memcpy(void* to, const void* from, size_t size) {
  void* start = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size)::"memory");
  return start;
}
void* memset(void* to, int byte, size_t size) {
  void* start = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
  return start;
}
int equal(const void* a, const void* b, size_t size) {
  const volatile uint8_t *left = a, *right = b;
  uint8_t difference = 0;
  while (size--) difference |= left[size] ^ right[size];
  return difference == 0;
}

void random_bytes(void* to, size_t size) {
  uint8_t* out = to;
  while (size) {
    unsigned long word;
    uint8_t good;
    do __asm__ volatile("rdrand %0; setc %1" : "=r"(word), "=q"(good)::"cc");
    while (!good);
    const size_t part = size < sizeof word ? size : sizeof word;
    memcpy(out, &word, part);
    out += part;
    size -= part;
  }
}

const struct sgx_report* own_report(void) {
  static SGX_ALIGNED(512) struct sgx_report report;
  static const struct sgx_targetinfo nobody;
  static const struct sgx_reportdata nothing;
  sgx_ereport(&nobody, &nothing, &report);
  return &report;
}

// Whole outside the enclave: writing there cannot hit our own memory.
static int is_outside(const void* start, size_t size) {
  const uint64_t from = (uint64_t)start, base = (uint64_t)enclave_base;
  return from + size > from && (from + size <= base || from >= base + enclave_layout.size);
}

uint64_t ocall(uint64_t function, uint64_t a, uint64_t b, uint64_t c) {
  if (thread->handling) return ~0ull;
  struct enclave_call* outside = thread->outside;
  outside->function = function;
  outside->argument[0] = a;
  outside->argument[1] = b;
  outside->argument[2] = c;
  outside->state = CALL_OCALL;
  leave_for_ocall();
  return outside->result;
}

void print(const char* text) {
  uint8_t* to = thread->outside->text;
  size_t size = 0;
  for (; text[size] && size < CALL_TEXT - 1; size++) to[size] = (uint8_t)text[size];
  to[size] = 0;
  ocall(OCALL_PRINT, 0, 0, 0);
}

void enclave_ecall_door(struct enclave_call* outside) {
  if (!is_outside(outside, sizeof *outside)) return;
  thread->outside = outside;
  struct enclave_call mine;
  memcpy(&mine, outside, sizeof mine);
  const uint64_t result = ecall(&mine);
  memcpy(outside->text, mine.text, sizeof mine.text);
  outside->result = result;
  outside->state = CALL_DONE;
}

__attribute__((weak)) int fault(struct sgx_gprs* registers, const struct sgx_exinfo* information) {
  (void)registers, (void)information;
  return 0;
}

void enclave_exception_door(struct enclave_call* outside, uint8_t* save_area) {
  if (!is_outside(outside, sizeof *outside)) return;
  struct sgx_gprs* registers = (struct sgx_gprs*)(save_area + enclave_layout.ssa_frame_bytes) - 1;
  thread->handling = 1;
  // Only an exception that the processor recorded is one: the program may call at any interruption.
  const int handled = (registers->exitinfo & SGX_EXIT_VALID) && fault(registers, (struct sgx_exinfo*)registers - 1);
  thread->handling = 0;
  outside->state = handled ? CALL_HANDLED : CALL_NOT_HANDLED;
}
