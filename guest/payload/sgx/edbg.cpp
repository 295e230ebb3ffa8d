// ENCLS[EDBGRD] and ENCLS[EDBGWR]: SDM vol. 3D, 38.3.
#include "tables.hpp"

namespace sgx {

namespace {

using arch::SgxError;

constexpr Result not_debuggable = zf(static_cast<u64>(SgxError::page_not_debuggable));
constexpr u64 value = 0x1122'3344'5566'7788;

void prepare(arch::EnclsLeaf leaf) {
  memcpy(the_plan.data + 8, &value, 8);
  launch();
  epa(version_array(0));
  call_encls(leaf, 0x99, epc_at(place_of(0, data_page)) + 8);
}
void prepare_read() { prepare(arch::EnclsLeaf::edbgrd); }
void prepare_write() { prepare(arch::EnclsLeaf::edbgwr); }

void to_tcs(u64 offset) { call.rcx = epc_at(place_of(0, tcs_page)) + offset; }
void without_debug() { the_plan.secs.attributes.flags &= ~arch::attributes::debug; }
void to_pending() {
  eaug(dynamic_page);
  call.rcx = epc_at(place_of(0, dynamic_page));
}
void to_modified() {
  change_type(data_page, arch::PageType::tcs);
  call.rcx = epc_at(place_of(0, data_page)) + 8;
}
/// In compatibility mode, by the enclave's own mapping, which is below 4 GiB.
void in_32_bits(u64 offset) {
  call.mode = Mode::kernel32;
  call.rcx = in_enclave(data_page) + offset;
}

constexpr Row read_rows[] = {
    row("EDBG.rcx_aligned", "RCX is not a multiple of 8", gp, [] { call.rcx += 4; }),
    row("EDBG.rcx_aligned/32", "RCX is not a multiple of 4 (32-bit)", gp, [] { in_32_bits(10); }),
    row("EDBG.rcx_epc", "RCX is not in the EPC", pf_read(Operand::rcx),
        [] { call.rcx = alias_of(place_of(0, data_page)) + 8; }),
    unit("EDBG.rcx_busy", "RCX is in use by another leaf", gp, "SgxRows.DebuggersMeetAHeldPage", lock),
    alone(row("EDBG.rcx_valid", "RCX is not a valid page", pf_read(Operand::rcx),
              [] { eremove(place_of(0, data_page)); })),
    row("EDBG.rcx_type", "RCX is a SECS", pf_read(Operand::rcx), [] { call.rcx = epc_at(secs_of(0)); }),
    row("EDBG.pending", "the page is pending", not_debuggable, [] { to_pending(); }),
    row("EDBG.modified", "the page is modified", not_debuggable, [] { to_modified(); }),
    row("EDBG.tcs_limit", "the offset is beyond the TCS's fields", gp, [] { to_tcs(72); }),
    planned("EDBG.debug", "the enclave is no debug enclave", gp, without_debug),
    state(
        "EDBGRD:value", "RBX is the word", ok, [] {}, [] { expect("rbx", ending.rbx, value); }),
    state(
        "EDBGRD:value_32", "in 32-bit mode RBX is 32 bits", ok, [] { in_32_bits(12); },
        [] { expect("rbx", ending.rbx, value >> 32); }),
    state(
        "EDBGRD:tcs", "a field of a TCS", ok, [] { to_tcs(24); },
        [] { expect("rbx", ending.rbx, u64{ssa_frames} << 32); }),
    state(
        "EDBGRD:version", "an empty slot reads 0", ok, [] { call.rcx = epc_at(version_array(0)); },
        [] { expect("rbx", ending.rbx, 0); }),
    state(
        "EDBGRD:version_there", "a used slot reads all ones", ok,
        [] {
          evict(place_of(0, data_page), 3);
          call.rcx = epc_at(version_array(0)) + 24;
        },
        [] { expect("rbx", ending.rbx, ~0ul); }),
};

constexpr Row write_rows[] = {
    row("EDBG.rcx_aligned", "RCX is not a multiple of 8", gp, [] { call.rcx += 4; }),
    row("EDBG.rcx_aligned/32", "RCX is not a multiple of 4 (32-bit)", gp, [] { in_32_bits(10); }),
    row("EDBG.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx),
        [] { call.rcx = alias_of(place_of(0, data_page)) + 8; }),
    unit("EDBG.rcx_busy", "RCX is in use by another leaf", gp, "SgxRows.DebuggersMeetAHeldPage", lock),
    alone(row("EDBG.rcx_valid", "RCX is not a valid page", pf_write(Operand::rcx),
              [] { eremove(place_of(0, data_page)); })),
    row("EDBG.rcx_type", "RCX is a SECS", pf_write(Operand::rcx), [] { call.rcx = epc_at(secs_of(0)); }),
    row("EDBG.rcx_type/va", "RCX is a version array", pf_write(Operand::rcx),
        [] { call.rcx = epc_at(version_array(0)); }),
    row("EDBG.pending", "the page is pending", not_debuggable, [] { to_pending(); }),
    row("EDBG.modified", "the page is modified", not_debuggable, [] { to_modified(); }),
    row("EDBG.tcs_limit", "the offset is not that of FLAGS in a TCS", gp, [] { to_tcs(16); }),
    planned("EDBG.debug", "the enclave is no debug enclave", gp, without_debug),
    state(
        "EDBGWR:value", "the word is RBX", ok, [] {},
        [] {
          expect("word", peek(place_of(0, data_page), 8), 0x99);
          expect("next", peek(place_of(0, data_page), 16), 0);
        }),
    state(
        "EDBGWR:value_32", "in 32-bit mode 32 bits are written", ok, [] { in_32_bits(8); },
        [] { expect("word", peek(place_of(0, data_page), 8), (value >> 32 << 32) | 0x99); }),
    state(
        "EDBGWR:read_only", "permissions do not matter", ok, [] { call.rcx = epc_at(place_of(0, read_only_page)); },
        [] { expect("word", peek(place_of(0, read_only_page), 0), 0x99); }),
    state(
        "EDBGWR:tcs", "FLAGS of a TCS: a debugger opts the thread in", ok,
        [] {
          to_tcs(8);
          call.rbx = 1;
        },
        [] { expect("flags", peek(place_of(0, tcs_page), 8), 1); }),
};

}  // namespace

const Table edbgrd_table = table("EDBGRD", prepare_read, read_rows);
const Table edbgwr_table = table("EDBGWR", prepare_write, write_rows);

}  // namespace sgx
