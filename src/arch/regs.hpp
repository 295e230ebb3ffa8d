// Control-register, RFLAGS, EFER and DR bits, vectors and page-fault codes (SDM vol. 3A, ch. 2, 4.7, 6.3, 17.2).
#pragma once

#include "arch/types.hpp"

namespace cloister::arch {

/// General registers in the order of their encoding.
enum Gpr : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };

/// Segment registers in the order of their encoding.
enum SegReg : u8 { seg_es, seg_cs, seg_ss, seg_ds, seg_fs, seg_gs };
inline constexpr unsigned seg_count = 6;

namespace rflags {
inline constexpr u64 cf = 1u << 0, fixed1 = 1u << 1, pf = 1u << 2, af = 1u << 4, zf = 1u << 6, sf = 1u << 7,
                     tf = 1u << 8, if_ = 1u << 9, df = 1u << 10, of = 1u << 11, iopl = 3u << 12, nt = 1u << 14,
                     rf = 1u << 16, vm = 1u << 17, ac = 1u << 18, vif = 1u << 19, vip = 1u << 20, id = 1u << 21;
inline constexpr u64 status = cf | pf | af | zf | sf | of;
/// Every bit that is not reserved.
inline constexpr u64 defined = status | tf | if_ | df | iopl | nt | rf | vm | ac | vif | vip | id;
}  // namespace rflags

namespace cr0 {
inline constexpr u64 pe = 1u << 0, mp = 1u << 1, em = 1u << 2, ts = 1u << 3, et = 1u << 4, ne = 1u << 5, wp = 1u << 16,
                     am = 1u << 18, nw = 1u << 29, cd = 1u << 30, pg = 1u << 31;
inline constexpr u64 defined = pe | mp | em | ts | et | ne | wp | am | nw | cd | pg;
}  // namespace cr0

namespace cr4 {
inline constexpr u64 vme = 1u << 0, pvi = 1u << 1, tsd = 1u << 2, de = 1u << 3, pse = 1u << 4, pae = 1u << 5,
                     mce = 1u << 6, pge = 1u << 7, pce = 1u << 8, osfxsr = 1u << 9, osxmmexcpt = 1u << 10,
                     umip = 1u << 11, la57 = 1u << 12, vmxe = 1u << 13, smxe = 1u << 14, fsgsbase = 1u << 16,
                     pcide = 1u << 17, osxsave = 1u << 18, smep = 1u << 20, smap = 1u << 21, pke = 1u << 22,
                     cet = 1u << 23;
}  // namespace cr4

namespace efer {
inline constexpr u64 sce = 1u << 0, lme = 1u << 8, lma = 1u << 10, nxe = 1u << 11;
}  // namespace efer

namespace dr6 {
inline constexpr u64 b0 = 1u << 0, bd = 1u << 13, bs = 1u << 14, bt = 1u << 15, fixed1 = 0xffff'0ff0;
}
namespace dr7 {
inline constexpr u64 fixed1 = 1u << 10, gd = 1u << 13, enable_mask = 0xff;
}

/// Vectors of the architecture's own exceptions (SDM vol. 3A, table 6-1).
namespace vector {
inline constexpr u8 de = 0, db = 1, nmi = 2, bp = 3, of = 4, br = 5, ud = 6, nm = 7, df = 8, ts = 10, np = 11, ss = 12,
                    gp = 13, pf = 14, mf = 16, ac = 17, mc = 18, xm = 19, cp = 21;
}  // namespace vector

/// Page-fault error code (SDM vol. 3A, figure 4-12).
namespace pfec {
inline constexpr u32 p = 1u << 0, wr = 1u << 1, us = 1u << 2, rsvd = 1u << 3, id = 1u << 4, pk = 1u << 5,
                     sgx = 1u << 15;
}  // namespace pfec

/// Page-table entry bits (SDM vol. 3A, tables 4-15 to 4-20).
namespace pte {
inline constexpr u64 p = 1u << 0, rw = 1u << 1, us = 1u << 2, pwt = 1u << 3, pcd = 1u << 4, a = 1u << 5, d = 1u << 6,
                     ps = 1u << 7, g = 1u << 8, nx = u64{1} << 63;
}  // namespace pte

}  // namespace cloister::arch
