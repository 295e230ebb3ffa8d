// ENCLS[ECREATE]: SDM vol. 3D, 38.3.
#include "rows.hpp"
#include "tables.hpp"

namespace sgx {

namespace {

namespace a = arch::attributes;

arch::Secs& secs() { return *reinterpret_cast<arch::Secs*>(operands.source); }

void prepare() {
  memcpy(operands.source, &the_plan.secs, sizeof the_plan.secs);
  operands.pageinfo = {
      .linaddr = 0, .srcpge = address(operands.source), .secinfo = address(&operands.secinfo), .secs = 0};
  call_encls(arch::EnclsLeaf::ecreate, address(&operands.pageinfo), epc_at(secs_of(0)));
}

constexpr Row rows[] = {
    row("ECREATE.rbx_aligned", "RBX is not a multiple of 32", gp,
        [] {
          memcpy(operands.image + 8, &operands.pageinfo, 32);
          call.rbx = address(operands.image) + 8;
        }),
    row("ECREATE.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 64; }),
    row("ECREATE.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx), [] { call.rcx = alias_of(secs_of(0)); }),
    row("ECREATE.srcpge_aligned", "SRCPGE is not a multiple of 4096", gp,
        [] {
          memcpy(operands.source + 64, &the_plan.secs, 4032);
          operands.pageinfo.srcpge += 64;
        }),
    row("ECREATE.secinfo_aligned", "SECINFO is not a multiple of 64", gp,
        [] { operands.pageinfo.secinfo = address(operands.image) + 8; }),
    row("ECREATE.linaddr", "LINADDR is not 0", gp, [] { operands.pageinfo.linaddr = enclave_base; }),
    row("ECREATE.secs", "PAGEINFO.SECS is not 0", gp, [] { operands.pageinfo.secs = epc_at(secs_of(1)); }),
    row("ECREATE.secinfo_reserved", "SECINFO.FLAGS has a reserved bit", gp, [] { operands.secinfo.flags = 1 << 16; }),
    row("ECREATE.secinfo_reserved/bytes", "SECINFO's reserved bytes are not 0", gp,
        [] { operands.secinfo.reserved[55] = 1; }),
    row("ECREATE.page_type", "SECINFO's page type is not PT_SECS", gp, [] { operands.secinfo.flags = type_reg; }),
    unit("ECREATE.rcx_busy", "RCX is in use by another leaf", gp, "SgxRows.EcreateMeetsAHeldPage", lock),
    row("ECREATE.rcx_free", "RCX is a valid page", pf_write(Operand::rcx), [] { epa(secs_of(0)); }),
    row("ECREATE.xfrm_x87_sse", "XFRM[1:0] is not 3", gp, [] { secs().attributes.xfrm = 1; }),
    row("ECREATE.xfrm", "XFRM has a component that CPUID.12.1 does not list", gp,
        [] { secs().attributes.xfrm = 0x203; }),
    row("ECREATE.cet_attributes", "CET_ATTRIBUTES is not 0, without ATTRIBUTES.CET", gp,
        [] { secs().cet_attributes = 1; }),
    row("ECREATE.cet_bitmap", "CET_LEG_BITMAP_OFFSET is not 0, without ATTRIBUTES.CET", gp,
        [] { secs().cet_leg_bitmap_offset = 4096; }),
    excluded("ECREATE.cet_ibt", "bitmap or CET_ATTRIBUTES[5:2] without IBT; the bitmap's place and alignment", gp,
             cet_ibt),
    excluded("ECREATE.cet_ss", "CET_ATTRIBUTES[1:0] without shadow stacks; reserved bits", gp, cet_ss),
    row("ECREATE.miscselect", "MISCSELECT has a bit that CPUID.12.0:EBX does not list", gp,
        [] { secs().miscselect = 2; }),
    row("ECREATE.ssa_frame_size", "SSAFRAMESIZE does not hold XSAVE area, MISC and GPRSGX", gp,
        [] { secs().ssa_frame_size = 0; }),
    row("ECREATE.base_canonical", "BASEADDR is not canonical (64-bit)", gp, [] { secs().base = 0x8000'0000'0000; }),
    row("ECREATE.base_32", "BASEADDR has bits above 31 (32-bit)", gp,
        [] {
          secs().attributes.flags &= ~a::mode64bit;
          secs().base = 0x1'0000'0000;
        }),
    row("ECREATE.size_limit_64", "SIZE is beyond CPUID.12.0:EDX[15:8]", gp,
        [] {
          secs().size = u64{1} << (cpu::cpuid(0x12).edx >> 8 & 0xff);
          secs().base = 0;
        }),
    row("ECREATE.size_limit_32", "SIZE is beyond CPUID.12.0:EDX[7:0] (32-bit)", gp,
        [] {
          secs().attributes.flags &= ~a::mode64bit;
          secs().size = u64{1} << (cpu::cpuid(0x12).edx & 0xff);
          secs().base = 0;
        }),
    row("ECREATE.size_least", "SIZE is less than two pages", gp, [] { secs().size = 4096; }),
    row("ECREATE.size_power", "SIZE is not a power of two", gp,
        [] {
          secs().size = 0x3000;
          secs().base = 0;
        }),
    row("ECREATE.base_aligned", "BASEADDR is not a multiple of SIZE", gp, [] { secs().base += enclave_bytes / 2; }),
    row("ECREATE.attributes", "ATTRIBUTES has a bit that CPUID.12.1 does not list", gp,
        [] { secs().attributes.flags |= 1 << 8; }),
    row("ECREATE.attributes/init", "ATTRIBUTES.INIT is set", gp, [] { secs().attributes.flags |= a::init; }),
    row("ECREATE.reserved", "reserved bytes are not 0 (33)", gp, [] { secs().reserved1[0] = 1; }),
    row("ECREATE.reserved/96", "reserved bytes are not 0 (96)", gp, [] { secs().reserved2[31] = 1; }),
    row("ECREATE.reserved/160", "reserved bytes are not 0 (160)", gp, [] { secs().reserved3[0] = 1; }),
    row("ECREATE.reserved/end", "reserved bytes are not 0 (the last)", gp, [] { secs().reserved4[3833] = 1; }),
    row("ECREATE.configid", "CONFIGID is not 0, without ATTRIBUTES.KSS", gp, [] { secs().configid[5] = 1; }),
    row("ECREATE.configsvn", "CONFIGSVN is not 0, without ATTRIBUTES.KSS", gp, [] { secs().configsvn = 1; }),
    state(
        "ECREATE:made", "a valid PT_SECS without children, known by the address that paging gave", done, [] {},
        [] {
          const arch::Rdinfo info = look(secs_of(0));
          expect("flags", info.flags, 0);
          expect("status", info.status, 0);
          // Measured from here on: pages can be added, and the launch finds the measurement of all of them.
          eremove(secs_of(0));
          launch();
          expect("flags_again", look(secs_of(0)).flags, 0);
          expect("children", look(secs_of(0)).status, arch::rdinfo::child_present);
        }),
    state(
        "ECREATE:kss", "with ATTRIBUTES.KSS, CONFIGID and CONFIGSVN may be set", done,
        [] {
          secs().attributes.flags |= a::kss;
          secs().configid[5] = 1;
          secs().configsvn = 1;
        },
        [] { expect("status", look(secs_of(0)).status, 0); }),
    state(
        "ECREATE:versions", "ISVPRODID, ISVSVN and the hashes of the source do not matter", done,
        [] {
          secs().isvprodid = secs().isvsvn = 7;
          secs().mrenclave[0] = secs().mrsigner[0] = 1;
        },
        [] { expect("status", look(secs_of(0)).status, 0); }),
};

}  // namespace

const Table ecreate_table = table("ECREATE", prepare, rows);

}  // namespace sgx
