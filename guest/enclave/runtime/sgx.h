// ENCLU's leaves and their structures, for code inside an enclave (SDM vol. 3D, ch. 35 and 38.4).
#pragma once
#include <stdint.h>

#define SGX_ALIGNED(bytes) __attribute__((aligned(bytes)))

struct sgx_attributes {
  uint64_t flags, xfrm;
};

struct SGX_ALIGNED(512) sgx_targetinfo {
  uint8_t measurement[32];
  struct sgx_attributes attributes;
  uint8_t cet_attributes, reserved1;
  uint16_t configsvn;
  uint32_t miscselect;
  uint8_t reserved2[8], configid[64], reserved3[384];
};
_Static_assert(sizeof(struct sgx_targetinfo) == 512, "");

struct SGX_ALIGNED(128) sgx_reportdata {
  uint8_t bytes[64];
};

struct sgx_report {
  uint8_t cpusvn[16];
  uint32_t miscselect;
  uint8_t cet_attributes, reserved1[11], isvextprodid[16];
  struct sgx_attributes attributes;
  uint8_t mrenclave[32], reserved2[32], mrsigner[32], reserved3[32], configid[64];
  uint16_t isvprodid, isvsvn, configsvn;
  uint8_t reserved4[42], isvfamilyid[16], reportdata[64];
  uint8_t keyid[32];  // from here on not under the MAC
  uint8_t mac[16];
};
_Static_assert(sizeof(struct sgx_report) == 432, "");
enum { SGX_REPORT_MACED = 384 };

struct SGX_ALIGNED(512) sgx_keyrequest {
  uint16_t keyname, keypolicy, isvsvn;
  uint8_t cet_attributes_mask, reserved1, cpusvn[16];
  struct sgx_attributes attributemask;
  uint8_t keyid[32];
  uint32_t miscmask;
  uint16_t configsvn;
  uint8_t reserved2[434];
};
_Static_assert(sizeof(struct sgx_keyrequest) == 512, "");
enum { SGX_KEY_REPORT = 3, SGX_KEY_SEAL = 4 };
enum { SGX_POLICY_MRENCLAVE = 1, SGX_POLICY_MRSIGNER = 2 };

struct SGX_ALIGNED(16) sgx_key {
  uint8_t bytes[16];
};

struct SGX_ALIGNED(64) sgx_secinfo {
  uint64_t flags;
  uint8_t reserved[56];
};
enum {
  SGX_R = 1 << 0,
  SGX_W = 1 << 1,
  SGX_X = 1 << 2,
  SGX_PENDING = 1 << 3,
  SGX_MODIFIED = 1 << 4,
  SGX_PR = 1 << 5,
  SGX_TCS = 1 << 8,
  SGX_REG = 2 << 8,
  SGX_TRIM = 4 << 8,
};

// The general registers of a state save area, at its end, and the exception information below them.
struct sgx_exinfo {
  uint64_t address;
  uint32_t error_code, reserved;
};
struct sgx_gprs {
  uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rflags, rip, ursp, urbp;
  uint32_t exitinfo;
  uint8_t reserved[3], aexnotify;
  uint64_t fsbase, gsbase;
};
_Static_assert(sizeof(struct sgx_gprs) == 184, "");
enum { SGX_EXIT_VECTOR = 0xff };
#define SGX_EXIT_VALID (1u << 31)

// RAX: an error code for the leaves that have one.
static inline uint64_t enclu(uint64_t leaf, const void* rbx, const void* rcx, const void* rdx) {
  __asm__ volatile("enclu" : "+a"(leaf) : "b"(rbx), "c"(rcx), "d"(rdx) : "memory", "cc");
  return leaf;
}

static inline void sgx_ereport(const struct sgx_targetinfo* target, const struct sgx_reportdata* data, void* report) {
  enclu(0, target, data, report);
}
static inline uint64_t sgx_egetkey(const struct sgx_keyrequest* request, struct sgx_key* key) {
  return enclu(1, request, key, 0);
}
static inline uint64_t sgx_eaccept(const struct sgx_secinfo* info, void* page) { return enclu(5, info, page, 0); }
static inline void sgx_emodpe(const struct sgx_secinfo* info, void* page) { enclu(6, info, page, 0); }
static inline uint64_t sgx_eacceptcopy(const struct sgx_secinfo* info, void* page, const void* from) {
  return enclu(7, info, page, from);
}
