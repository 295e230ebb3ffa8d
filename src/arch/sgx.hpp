// SGX: structures, leaf numbers, page types, attributes and error codes (SDM vol. 3D, ch. 35 "Enclave access control
// and data structures", tables 35-1 to 35-23; error codes: table 38-4). Fields that hardware keeps inside the reserved
// parts of a SECS are the silicon's (silicon/sgx/epc/secs.hpp).
#pragma once

#include <array>
#include <cstddef>

#include "arch/types.hpp"

namespace cloister::arch {

// ------------------------------------------------------------------------------------------------ numbers

/// EPCM page types (SDM vol. 3D, table 35-18).
enum class PageType : u8 { secs = 0, tcs = 1, reg = 2, va = 3, trim = 4, ss_first = 5, ss_rest = 6 };

/// ENCLS leaves, in EAX (SDM vol. 3D, 38.3).
enum class EnclsLeaf : u32 {
  ecreate = 0x00,
  eadd = 0x01,
  einit = 0x02,
  eremove = 0x03,
  edbgrd = 0x04,
  edbgwr = 0x05,
  eextend = 0x06,
  eldb = 0x07,
  eldu = 0x08,
  eblock = 0x09,
  epa = 0x0a,
  ewb = 0x0b,
  etrack = 0x0c,
  eaug = 0x0d,
  emodpr = 0x0e,
  emodt = 0x0f,
  erdinfo = 0x10,
  etrackc = 0x11,
  eldbc = 0x12,
  elduc = 0x13,
  eupdatesvn = 0x18,
};
/// By EnclsLeaf, as the manual writes them; empty: no such leaf.
inline constexpr std::array<const char*, 25> encls_names = {
    "ECREATE", "EADD",  "EINIT", "EREMOVE", "EDBGRD", "EDBGWR", "EEXTEND",   "ELDB",    "ELDU",
    "EBLOCK",  "EPA",   "EWB",   "ETRACK",  "EAUG",   "EMODPR", "EMODT",     "ERDINFO", "ETRACKC",
    "ELDBC",   "ELDUC", "",      "",        "",       "",       "EUPDATESVN"};

/// ENCLU leaves, in EAX (SDM vol. 3D, 38.4).
enum class EncluLeaf : u32 {
  ereport = 0,
  egetkey = 1,
  eenter = 2,
  eresume = 3,
  eexit = 4,
  eaccept = 5,
  emodpe = 6,
  eacceptcopy = 7,
  edeccssa = 9,
};
/// By EncluLeaf; empty: no such leaf.
inline constexpr std::array<const char*, 10> enclu_names = {"EREPORT", "EGETKEY", "EENTER",      "ERESUME", "EEXIT",
                                                            "EACCEPT", "EMODPE",  "EACCEPTCOPY", "",        "EDECCSSA"};

/// ENCLV leaves, in EAX (SDM vol. 3D, 38.5).
enum class EnclvLeaf : u32 { edecvirtchild = 0, eincvirtchild = 1, esetcontext = 2 };

/// Error codes in RAX (SDM vol. 3D, table 38-4).
enum class SgxError : u64 {
  success = 0,
  invalid_sig_struct = 1,
  invalid_attribute = 2,
  blkstate = 3,
  invalid_measurement = 4,
  notblockable = 5,
  pg_invld = 6,
  epc_page_conflict = 7,
  invalid_signature = 8,
  mac_compare_fail = 9,
  page_not_blocked = 10,
  not_tracked = 11,
  va_slot_occupied = 12,
  child_present = 13,
  enclave_act = 14,
  entryepoch_locked = 15,
  invalid_einittoken = 16,
  prev_trk_incmpl = 17,
  pg_is_secs = 18,
  page_attributes_mismatch = 19,
  page_not_modifiable = 20,
  page_not_debuggable = 21,
  invalid_counter = 25,
  pg_nonepc = 26,
  track_not_required = 27,
  insufficient_entropy = 29,
  epc_not_ready = 30,
  no_update = 31,
  invalid_cpusvn = 32,
  invalid_isvsvn = 64,
  unmasked_event = 128,
  invalid_keyname = 256,
};

/// ATTRIBUTES bits 63:0 (SDM vol. 3D, table 35-3).
namespace attributes {
inline constexpr u64 init = 1u << 0, debug = 1u << 1, mode64bit = 1u << 2, provisionkey = 1u << 4,
                     einittokenkey = 1u << 5, cet = 1u << 6, kss = 1u << 7, aexnotify = 1u << 10;
}

/// MISCSELECT bits (SDM vol. 3D, table 35-4).
namespace miscselect {
inline constexpr u32 exinfo = 1u << 0;
}

/// KEYPOLICY bits (SDM vol. 3D, table 35-21).
namespace keypolicy {
inline constexpr u16 mrenclave = 1u << 0, mrsigner = 1u << 1, noisvprodid = 1u << 2, configid = 1u << 3,
                     isvfamilyid = 1u << 4, isvextprodid = 1u << 5;
inline constexpr u16 defined = 0x3f, needs_kss = noisvprodid | configid | isvfamilyid | isvextprodid;
}  // namespace keypolicy

/// KEYNAME (SDM vol. 3D, table 38-64).
enum class KeyName : u16 { einittoken = 0, provision = 1, provision_seal = 2, report = 3, seal = 4 };

// ------------------------------------------------------------------------------------------------ structures

using Bytes16 = std::array<u8, 16>;
using Bytes32 = std::array<u8, 32>;
using Bytes64 = std::array<u8, 64>;
using Modulus = std::array<u8, 384>;  ///< 3072 bits, little-endian

struct Attributes {
  u64 flags = 0;
  u64 xfrm = 0;
  bool operator==(const Attributes&) const = default;
};

/// SGX Enclave Control Structure, as software fills it in and as far as the manual fixes it.
struct Secs {
  u64 size;
  u64 base;
  u32 ssa_frame_size;  ///< pages
  u32 miscselect;
  u64 cet_leg_bitmap_offset;
  u8 cet_attributes;
  std::array<u8, 15> reserved1;
  Attributes attributes;
  Bytes32 mrenclave;
  Bytes32 reserved2;
  Bytes32 mrsigner;
  Bytes32 reserved3;
  Bytes64 configid;
  u16 isvprodid;
  u16 isvsvn;
  u16 configsvn;
  std::array<u8, 3834> reserved4;
};
static_assert(sizeof(Secs) == 4096);
static_assert(offsetof(Secs, attributes) == 48 && offsetof(Secs, mrenclave) == 64 && offsetof(Secs, mrsigner) == 128 &&
              offsetof(Secs, configid) == 192 && offsetof(Secs, isvprodid) == 256 && offsetof(Secs, reserved4) == 262);

/// Thread Control Structure.
struct Tcs {
  u64 state;  ///< 0 inactive, 1 active
  u64 flags;
  u64 ossa;
  u32 cssa;
  u32 nssa;
  u64 oentry;
  u64 aep;
  u64 ofsbase;
  u64 ogsbase;
  u32 fslimit;
  u32 gslimit;
  std::array<u8, 4024> reserved;
};
static_assert(sizeof(Tcs) == 4096);
static_assert(offsetof(Tcs, cssa) == 24 && offsetof(Tcs, oentry) == 32 && offsetof(Tcs, fslimit) == 64 &&
              offsetof(Tcs, reserved) == 72);
namespace tcs_flags {
inline constexpr u64 dbgoptin = 1u << 0, aexnotify = 1u << 1, defined = 3;
}

/// General registers of an SSA frame, at its end (SDM vol. 3D, table 35-9).
struct Gprsgx {
  u64 rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
  u64 rflags, rip, ursp, urbp;
  u32 exitinfo;
  std::array<u8, 3> reserved;
  u8 aexnotify;
  u64 fsbase, gsbase;
};
static_assert(sizeof(Gprsgx) == 184 && offsetof(Gprsgx, rflags) == 128 && offsetof(Gprsgx, exitinfo) == 160 &&
              offsetof(Gprsgx, fsbase) == 168);

/// EXITINFO: vector, type, valid (SDM vol. 3D, table 35-10).
namespace exitinfo {
inline constexpr u32 hardware = 3u << 8, software = 6u << 8, valid = 1u << 31;
}

/// EXINFO, below GPRSGX (SDM vol. 3D, table 35-14).
struct Exinfo {
  u64 maddr;
  u32 errcd;
  u32 reserved;
};
static_assert(sizeof(Exinfo) == 16);

struct Pageinfo {
  u64 linaddr;
  u64 srcpge;
  u64 secinfo;  ///< or PCMD
  u64 secs;
};
static_assert(sizeof(Pageinfo) == 32);

/// SECINFO.FLAGS (SDM vol. 3D, table 35-17).
namespace secinfo_flags {
inline constexpr u64 r = 1u << 0, w = 1u << 1, x = 1u << 2, rwx = 7, pending = 1u << 3, modified = 1u << 4,
                     pr = 1u << 5;
inline constexpr unsigned page_type_shift = 8;
inline constexpr u64 page_type = 0xff00, defined = rwx | pending | modified | pr | page_type;
}  // namespace secinfo_flags
struct Secinfo {
  u64 flags;
  std::array<u8, 56> reserved;
  constexpr PageType type() const { return static_cast<PageType>((flags >> secinfo_flags::page_type_shift) & 0xff); }
};
static_assert(sizeof(Secinfo) == 64);

struct Pcmd {
  Secinfo secinfo;
  u64 enclaveid;
  std::array<u8, 40> reserved;
  Bytes16 mac;
};
static_assert(sizeof(Pcmd) == 128 && offsetof(Pcmd, mac) == 112);

/// What ERDINFO tells of a page (SDM vol. 3D, 35.12). Its flags are SECINFO's, and BLOCKED.
struct Rdinfo {
  u64 status;
  u64 flags;
  u64 enclavecontext;
  u64 reserved;
};
static_assert(sizeof(Rdinfo) == 32 && offsetof(Rdinfo, flags) == 8 && offsetof(Rdinfo, enclavecontext) == 16);
namespace rdinfo {
inline constexpr u64 child_present = 1u << 0, virtual_child_present = 1u << 1;  // STATUS
inline constexpr u64 blocked = u64{1} << 63;                                    // FLAGS
}  // namespace rdinfo

struct Sigstruct {
  Bytes16 header;
  u32 vendor;
  u32 date;
  Bytes16 header2;
  u32 swdefined;
  std::array<u8, 84> reserved1;
  Modulus modulus;
  u32 exponent;
  Modulus signature;
  u32 miscselect;
  u32 miscmask;
  u8 cet_attributes;
  u8 cet_attributes_mask;
  std::array<u8, 2> reserved2;
  Bytes16 isvfamilyid;
  Attributes attributes;
  Attributes attributemask;
  Bytes32 enclavehash;
  Bytes16 reserved3;
  Bytes16 isvextprodid;
  u16 isvprodid;
  u16 isvsvn;
  std::array<u8, 12> reserved4;
  Modulus q1;
  Modulus q2;
};
static_assert(sizeof(Sigstruct) == 1808);
static_assert(offsetof(Sigstruct, modulus) == 128 && offsetof(Sigstruct, signature) == 516 &&
              offsetof(Sigstruct, miscselect) == 900 && offsetof(Sigstruct, attributes) == 928 &&
              offsetof(Sigstruct, enclavehash) == 960 && offsetof(Sigstruct, isvprodid) == 1024 &&
              offsetof(Sigstruct, q1) == 1040);
inline constexpr Bytes16 sigstruct_header{6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0};
inline constexpr Bytes16 sigstruct_header2{1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0};

struct Einittoken {
  u32 valid;
  std::array<u8, 44> reserved1;
  Attributes attributes;
  Bytes32 mrenclave;
  Bytes32 reserved2;
  Bytes32 mrsigner;
  Bytes32 reserved3;
  Bytes16 cpusvnle;
  u16 isvprodidle;
  u16 isvsvnle;
  u8 cet_masked_attributes_le;
  std::array<u8, 23> reserved4;
  u32 maskedmiscselectle;
  Attributes maskedattributesle;
  Bytes32 keyid;
  Bytes16 mac;
};
static_assert(sizeof(Einittoken) == 304 && offsetof(Einittoken, cpusvnle) == 192 &&
              offsetof(Einittoken, maskedmiscselectle) == 236 && offsetof(Einittoken, keyid) == 256);
inline constexpr std::size_t einittoken_maced_bytes = 192;

struct Keyrequest {
  u16 keyname;
  u16 keypolicy;
  u16 isvsvn;
  u8 cet_attributes_mask;
  u8 reserved1;
  Bytes16 cpusvn;
  Attributes attributemask;
  Bytes32 keyid;
  u32 miscmask;
  u16 configsvn;
  std::array<u8, 434> reserved2;
};
static_assert(sizeof(Keyrequest) == 512 && offsetof(Keyrequest, keyid) == 40 && offsetof(Keyrequest, configsvn) == 76);

struct Targetinfo {
  Bytes32 measurement;
  Attributes attributes;
  u8 cet_attributes;
  u8 reserved1;
  u16 configsvn;
  u32 miscselect;
  std::array<u8, 8> reserved2;
  Bytes64 configid;
  std::array<u8, 384> reserved3;
};
static_assert(sizeof(Targetinfo) == 512 && offsetof(Targetinfo, configid) == 64);

struct Report {
  Bytes16 cpusvn;
  u32 miscselect;
  u8 cet_attributes;
  std::array<u8, 11> reserved1;
  Bytes16 isvextprodid;
  Attributes attributes;
  Bytes32 mrenclave;
  Bytes32 reserved2;
  Bytes32 mrsigner;
  Bytes32 reserved3;
  Bytes64 configid;
  u16 isvprodid;
  u16 isvsvn;
  u16 configsvn;
  std::array<u8, 42> reserved4;
  Bytes16 isvfamilyid;
  Bytes64 reportdata;
  Bytes32 keyid;
  Bytes16 mac;
};
static_assert(sizeof(Report) == 432 && offsetof(Report, configid) == 192 && offsetof(Report, isvfamilyid) == 304 &&
              offsetof(Report, keyid) == 384);
inline constexpr std::size_t report_maced_bytes = 384;

}  // namespace cloister::arch
