// ENCLU[EENTER] and [ERESUME]: SDM vol. 3D, 38.4.
#include "tables.hpp"

namespace sgx {

namespace {

namespace a = arch::attributes;

constexpr Result bad_tcs = pf_user_read(Operand::rbx), tcs_fault = pf_user_write(Operand::rbx),
                 bad_ssa = pf_user_write(Operand::chosen);

void plan_32() { the_plan.secs.attributes.flags &= ~a::mode64bit; }
void call_32() {
  call.mode = Mode::user32;
  call.adjust = [](Context& c) { c.rsp = stack_top - 64; };
}
void disable_sse_in_xcr0() {
  cpu::set_cr4(cpu::cr4() | CR4_OSXSAVE);
  asm volatile("xsetbv" ::"c"(0), "a"(1), "d"(0));
}
constexpr u16 scratch = SCRATCH_SELECTOR | 3;
/// A user data or code segment that differs from the flat ones.
void set_scratch(u32 base, u32 limit, u32 attributes) {
  set_gdt(SCRATCH_SELECTOR, descriptor(base, limit, attributes | attr_dpl3));
}
constexpr Row row_32(const char* name, const char* condition, void (*arrange)()) {
  return planned(name, condition, gp, plan_32, arrange);
}

/// The frame that is used next, or that is left: frame 0 for EENTER, and for ERESUME after one asynchronous exit.
template <unsigned page>
struct Frame {
  static void aim() { choose(in_enclave(page)); }
  static void not_epc() {
    aim();
    map_alias(in_enclave(page), place_of(0, page), pte::p | pte::w | pte::u);
  }
  static void not_valid() {
    aim();
    eremove(place_of(0, page));
  }
  static void blocked() {
    aim();
    block(place_of(0, page));
  }
  static void pending() {
    aim();
    eremove(place_of(0, page));
    eaug(page);
  }
  static void another_enclaves() {
    aim();
    launch(1);
    map_enclave_page(page, place_of(1, page));
  }
  static void elsewhere() {
    aim();
    map_enclave_page(page, place_of(0, second_ssa_page));
  }
  static void read_only() {
    aim();
    restrict_rights(page, rights::r);
  }
  static void not_mapped() {
    aim();
    map(in_enclave(page), 0, 0);
  }
};
using Xsave = Frame<ssa_page>;
using Gpr = Frame<ssa_page + 1>;

#define FRAME_ROWS(check, rows, text)                                                                 \
  alone(row(check ".epc", text " is not in the EPC", bad_ssa, rows::not_epc)),                        \
      alone(row(check ".valid", text " is not a valid page", bad_ssa, rows::not_valid)),              \
      alone(row(check ".blocked", text " is blocked", bad_ssa, rows::blocked)),                       \
      alone(row(check ".settled", text " is pending", bad_ssa, rows::pending)),                       \
      alone(row(check ".address", text " is a page of another address", bad_ssa, rows::elsewhere)),   \
      unit(check ".type", text " is not PT_REG", bad_ssa, "SgxRows.FramesAreRegularPages",            \
           "pages of other types have no permissions"),                                               \
      alone(row(check ".owner", text " is another enclave's page", bad_ssa, rows::another_enclaves)), \
      alone(row(check ".rights", text " is not readable and writable", bad_ssa, rows::read_only)),    \
      alone(row("SSA:" check "_mapped", text " is not mapped (before the checks of the EPC)",         \
                Result{.vector = vec::pf, .error = 6, .at = Operand::chosen}, rows::not_mapped))

void prepare_eenter() {
  if (the_plan.tcs.oentry == run_leaf) the_plan.tcs.oentry = come_out;
  the_plan.skip_launch ? build() : launch();
  call_enclu(arch::EncluLeaf::eenter, in_enclave(tcs_page), aep);
}

/// What both leaves check before the frame.
#define FIRST_ROWS                                                                                                     \
  row_32("ENTER.cs_base", "CS has a base (32-bit)",                                                                    \
         [] {                                                                                                          \
           call_32();                                                                                                  \
           set_scratch(0x1000, 0xfffff, attr_code32);                                                                  \
           call.adjust = [](Context& c) {                                                                              \
             c.cs = scratch;                                                                                           \
             c.rip -= 0x1000;                                                                                          \
           };                                                                                                          \
         }),                                                                                                           \
      row_32("ENTER.ds_base", "DS has a base (32-bit)",                                                                \
             [] {                                                                                                      \
               call_32();                                                                                              \
               set_scratch(0x1000, 0xfffff, attr_data);                                                                \
               call.es = USER_DS | 3;                                                                                  \
               call.rbx -= 0x1000;                                                                                     \
               call.adjust = [](Context& c) { c.data = scratch; };                                                     \
             }),                                                                                                       \
      row_32("ENTER.ss_base", "SS has a base (32-bit)",                                                                \
             [] {                                                                                                      \
               call_32();                                                                                              \
               set_scratch(0x1000, 0xfffff, attr_data);                                                                \
               call.adjust = [](Context& c) { c.ss = scratch; };                                                       \
             }),                                                                                                       \
      row_32("ENTER.ss_big", "SS is a 16-bit segment (32-bit)",                                                        \
             [] {                                                                                                      \
               call_32();                                                                                              \
               set_scratch(0, 0xfffff, attr_data & ~0x4000u);                                                          \
               call.adjust = [](Context& c) { c.ss = scratch; };                                                       \
             }),                                                                                                       \
      row("ENTER.rbx_aligned", "RBX is not a multiple of 4096", gp, [] { call.rbx += 8; }),                            \
      row("ENTER.rbx_epc", "RBX is not in the EPC", bad_tcs,                                                           \
          [] { map_alias(in_enclave(tcs_page), place_of(0, tcs_page), pte::p | pte::w | pte::u); }),                   \
      row("ENTER.aep_canonical", "the AEP is not canonical", gp, [] { call.rcx = 0x8000'0000'0000; }),                 \
      unit("ENTER.tcs_busy", "the TCS is in use by another leaf", gp, "SgxRows.EntryMeetsAHeldTcs", lock),             \
      alone(row("ENTER.tcs_valid", "the TCS is not a valid page", tcs_fault, [] { eremove(place_of(0, tcs_page)); })), \
      alone(row("ENTER.tcs_blocked", "the TCS is blocked", tcs_fault, [] { block(place_of(0, tcs_page)); })),          \
      alone(row("ENTER.tcs_address", "the TCS is at another address", tcs_fault,                                       \
                [] {                                                                                                   \
                  map(window_va, physical_of(in_enclave(tcs_page)), pte::p | pte::w | pte::u);                         \
                  call.rbx = window_va;                                                                                \
                })),                                                                                                   \
      alone(row("ENTER.tcs_type", "RBX is not a TCS", tcs_fault, [] { call.rbx = in_enclave(data_page); })),           \
      alone(row("ENTER.tcs_settled", "the TCS is modified", tcs_fault, [] {                                            \
        change_type(data_page, arch::PageType::tcs);                                                                   \
        call.rbx = in_enclave(data_page);                                                                              \
      }))

#define TCS_ROWS(use)                                                                             \
  planned("ENTER.ossa", "OSSA is not a multiple of 4096", gp, [] { use.ossa += 8; }),             \
      planned("ENTER.ofsbase", "OFSBASE is not a multiple of 4096", gp, [] { use.ofsbase = 8; }), \
      planned("ENTER.ogsbase", "OGSBASE is not a multiple of 4096", gp, [] { use.ogsbase = 8; }), \
      planned("ENTER.flags", "FLAGS have a reserved bit", gp, [] { use.flags = 4; })

constexpr Row osfxsr = row("ENTER.osfxsr", "CR4.OSFXSR is 0", gp, [] { cpu::set_cr4(cpu::cr4() & ~u64{CR4_OSFXSR}); });

constexpr Row eenter_rows[] = {
    FIRST_ROWS,
    row_32("ENTER.es_base", "ES has a base (32-bit)",
           [] {
             call_32();
             set_scratch(0x1000, 0xfffff, attr_data);
             call.es = scratch;
           }),
    TCS_ROWS(the_plan.tcs),
    alone(planned("ENTER.initialised", "the enclave is not initialised", gp, [] { the_plan.skip_launch = true; })),
    planned("ENTER.mode", "the processor is in another mode than the enclave", gp, plan_32),
    osfxsr,
    unit("ENTER.xfrm_legacy", "CR4.OSXSAVE is 0, and XFRM is not 3", gp, "SgxRows.EntryWithoutXsaveWantsLegacyState",
         "another XFRM needs AVX, which not every host has"),
    row("ENTER.xfrm", "XFRM has a component that XCR0 does not", gp, [] { disable_sse_in_xcr0(); }),
    planned("ENTER.aexnotify", "TCS and SECS differ on AEX-Notify", gp,
            [] { the_plan.tcs.flags = arch::tcs_flags::aexnotify; }),
    planned("EENTER.cssa", "CSSA is not below NSSA", gp, [] { the_plan.tcs.nssa = 0; }),
    FRAME_ROWS("SSA.xsave", Xsave, "the XSAVE page"),
    FRAME_ROWS("SSA.gpr", Gpr, "the GPR page"),
    row_32("ENTER.target_limit", "the entry is beyond CS's limit (32-bit)",
           [] {
             call_32();
             set_scratch(0, 0x4ffff, attr_code32);
             call.adjust = [](Context& c) { c.cs = scratch; };
           }),
    planned(
        "ENTER.fs_limit", "FS does not fit in DS (32-bit)", gp,
        [] {
          plan_32();
          the_plan.tcs.fslimit = 0xffff'ffff;
          the_plan.tcs.ofsbase = page_bytes;
        },
        [] { call_32(); }),
    planned(
        "ENTER.gs_limit", "GS does not fit in DS (32-bit)", gp,
        [] {
          plan_32();
          the_plan.tcs.gslimit = 0xffff'ffff;
          the_plan.tcs.ogsbase = page_bytes;
        },
        [] { call_32(); }),
    planned("ENTER.target_canonical", "the entry is not canonical", gp, [] { the_plan.tcs.oentry = u64{1} << 47; }),
    planned("ENTER.fs_canonical", "FS's base is not canonical", gp, [] { the_plan.tcs.ofsbase = u64{1} << 47; }),
    planned("ENTER.gs_canonical", "GS's base is not canonical", gp, [] { the_plan.tcs.ogsbase = u64{1} << 47; }),
    row("ENTER.active", "the TCS is active", gp,
        [] {
          call.with_thread = [] {};
          call.rbx = in_enclave(second_tcs_page);
        }),
    excluded("ENTER.cet", "CET: CR4.CET, OCETSSA and the save area's page", gp, cet_ss),
    state(
        "EENTER:entered", "runs at OENTRY with CSSA and the address to return to; comes out by EEXIT", done, [] {},
        [] {
          expect("entered_and_left", ending.trap.vector, vec::done);
          expect("rcx_is_aep", ending.trap.gpr[1], aep);
          expect("state", peek(place_of(0, tcs_page), 0), 0);
          expect("aep", peek(place_of(0, tcs_page), 40), aep);
        }),
    state(
        "EENTER:outside_saved", "RSP and RBP outside are kept in the frame", done, [] {},
        [] {
          expect("ursp", saved(144), stack_top);
          expect("urbp", saved(152), 0);
        }),
    state(
        "EENTER:entered_32", "a 32-bit enclave from 32-bit mode", done, [] { call_32(); },
        [] { expect("entered_and_left", ending.trap.vector, vec::done); }, plan_32),
    state(
        "EENTER:exit_notes", "an exception inside is an asynchronous exit to the AEP, with synthetic state",
        {.vector = vec::ud}, [] {},
        [] {
          const Trap& t = ending.trap;
          expect("rax", t.gpr[0], static_cast<u64>(arch::EncluLeaf::eresume));
          expect("rbx", t.gpr[3], in_enclave(tcs_page));
          expect("rcx", t.gpr[1], aep);
          expect("rdx", t.gpr[2], 0);
          expect("saved_rip", saved(136), enclave_base + break_off);
          expect("exitinfo", static_cast<u32>(saved(160)), 0x80000306);
          expect("cssa", static_cast<u32>(peek(place_of(0, tcs_page), 24)), 1);
          expect("state", peek(place_of(0, tcs_page), 0), 0);
        },
        [] { the_plan.tcs.oentry = break_off; }),
};

/// After one asynchronous exit, at an instruction that then leaves the enclave.
void prepare_eresume() {
  the_plan.tcs.oentry = break_off;
  launch();
  if (!the_plan.skip_exit) enter_enclave();
  call_enclu(arch::EncluLeaf::eresume, in_enclave(tcs_page), aep);
}
constexpr Row resume_notify = planned(
    "ERESUME.notify_cssa", "AEX-Notify is on, and CSSA is not below NSSA", gp,
    [] {
      the_plan.secs.attributes.flags |= a::aexnotify;
      the_plan.tcs.flags = arch::tcs_flags::aexnotify;
      the_plan.tcs.nssa = 1;
    },
    [] { poke(place_of(0, ssa_page + 1), saved_offset + 160, u64{1} << 56); });

constexpr Row eresume_rows[] = {
    FIRST_ROWS,
    row_32("ENTER.es_base", "ES has a base (32-bit)",
           [] {
             call_32();
             set_scratch(0x1000, 0xfffff, attr_data);
             call.es = scratch;
           }),
    unit("ENTER.ossa", "OSSA, OFSBASE, OGSBASE, FLAGS", gp, "SgxRows.ResumingChecksTheTcs",
         "a TCS that was entered is in order, and only a debugger can change its FLAGS"),
    unit("ENTER.ofsbase", "OFSBASE is not a multiple of 4096", gp, "SgxRows.ResumingChecksTheTcs", "as above"),
    unit("ENTER.ogsbase", "OGSBASE is not a multiple of 4096", gp, "SgxRows.ResumingChecksTheTcs", "as above"),
    row("ENTER.flags", "FLAGS have a reserved bit", gp, [] { poke(place_of(0, tcs_page), 8, 4); }),
    unit("ENTER.initialised", "the enclave is not initialised", gp, "SgxRows.ResumingChecksTheTcs",
         "nothing was entered that could be resumed"),
    row("ENTER.mode", "the processor is in another mode than the enclave", gp, [] { call_32(); }),
    osfxsr,
    unit("ENTER.xfrm_legacy", "CR4.OSXSAVE is 0, and XFRM is not 3", gp, "SgxRows.EntryWithoutXsaveWantsLegacyState",
         "another XFRM needs AVX, which not every host has"),
    row("ENTER.xfrm", "XFRM has a component that XCR0 does not", gp, [] { disable_sse_in_xcr0(); }),
    row("ENTER.aexnotify", "TCS and SECS differ on AEX-Notify", gp,
        [] { poke(place_of(0, tcs_page), 8, arch::tcs_flags::aexnotify); }),
    alone(planned("ERESUME.cssa", "CSSA is 0", gp, [] { the_plan.skip_exit = true; })),
    FRAME_ROWS("SSA.xsave", Xsave, "the XSAVE page"),
    FRAME_ROWS("SSA.gpr", Gpr, "the GPR page"),
    resume_notify,
    row_32("ENTER.target_limit", "the saved RIP is beyond CS's limit (32-bit)",
           [] {
             call_32();
             set_scratch(0, 0x4ffff, attr_code32);
             call.adjust = [](Context& c) { c.cs = scratch; };
           }),
    unit("ENTER.fs_limit", "FS does not fit in DS (32-bit)", gp, "SgxRows.ResumingChecksTheTcs",
         "a TCS that was entered is in order"),
    unit("ENTER.gs_limit", "GS does not fit in DS (32-bit)", gp, "SgxRows.ResumingChecksTheTcs",
         "a TCS that was entered is in order"),
    row("ENTER.target_canonical", "the saved RIP is not canonical", gp,
        [] { poke(place_of(0, ssa_page + 1), saved_offset + 136, u64{1} << 47); }),
    row("ENTER.fs_canonical", "the saved FS base is not canonical", gp,
        [] { poke(place_of(0, ssa_page + 1), saved_offset + 168, u64{1} << 47); }),
    row("ENTER.gs_canonical", "the saved GS base is not canonical", gp,
        [] { poke(place_of(0, ssa_page + 1), saved_offset + 176, u64{1} << 47); }),
    row("ERESUME.xrstor", "the frame's XSTATE_BV has a component that XFRM does not", gp,
        [] { poke(place_of(0, ssa_page), 512, 4); }),
    row("ERESUME.xrstor/header", "the frame's XSAVE header has reserved bits", gp,
        [] { poke(place_of(0, ssa_page), 528, 1); }),
    row("ERESUME.xrstor/mxcsr", "the frame's MXCSR has reserved bits", gp,
        [] { poke(place_of(0, ssa_page), 24, 0xffff'ffff); }),
    unit("ENTER.active", "the TCS is active", gp, "SgxRows.ResumingAnActiveTcs",
         "a thread that is inside has CSSA 0 here"),
    excluded("ENTER.cet", "CET: CR4.CET, OCETSSA and the save area", gp, cet_ss),
    state(
        "ERESUME:resumed", "goes on at the saved RIP with the saved registers; the frame is free", done,
        [] {
          poke(place_of(0, ssa_page + 1), saved_offset + 136, enclave_base + come_out),
              poke(place_of(0, ssa_page + 1), saved_offset + 8, after_enclu);
        },
        [] {
          expect("resumed_and_left", ending.trap.vector, vec::done);
          expect("cssa", static_cast<u32>(peek(place_of(0, tcs_page), 24)), 0);
        }),
    state(
        "ERESUME:notified", "with AEX-Notify, enters at OENTRY on the next frame", {.vector = vec::ud},
        [] { poke(place_of(0, ssa_page + 1), saved_offset + 160, u64{1} << 56); },
        [] {
          expect("cssa", static_cast<u32>(peek(place_of(0, tcs_page), 24)), 2);
          expect("rip_of_frame_1", saved(136, 1), enclave_base + break_off);
          expect("rax_was_cssa", saved(0, 1), 1);
        },
        [] {
          the_plan.secs.attributes.flags |= a::aexnotify;
          the_plan.tcs.flags = arch::tcs_flags::aexnotify;
        }),
};

// ---- EEXIT

void prepare_eexit() {
  launch();
  call_inside(arch::EncluLeaf::eexit, after_enclu, 0);
}
constexpr Row eexit_rows[] = {
    alone(row("ENCLU.inside", "EENTER or ERESUME in an enclave", gp,
              [] { call_inside(arch::EncluLeaf::eenter, in_enclave(second_tcs_page), aep); })),
    row("EEXIT.canonical", "RBX is not canonical", gp, [] { call.rbx = 0x8000'0000'0000; }),
    unit("EEXIT.limit", "RBX is beyond CS's limit (32-bit)", gp, "SgxRows.LeavingBeyondTheLimit",
         "the enclave's code here is 64-bit"),
    excluded("EEXIT.cet", "the tracker and the shadow stack", gp, cet_ss),
    state(
        "EEXIT:left", "goes on at RBX outside, with the AEP in RCX; the TCS is free", done, [] {},
        [] {
          expect("rcx", ending.trap.gpr[1], aep);
          expect("state", peek(place_of(0, tcs_page), 0), 0);
          expect("cssa", static_cast<u32>(peek(place_of(0, tcs_page), 24)), 0);
        }),
};

// ---- EDECCSSA: in the second frame, after an asynchronous exit

void prepare_edeccssa() {
  launch();
  if (!the_plan.skip_exit) enter_enclave();
  call_inside(arch::EncluLeaf::edeccssa, 0, 0);
  call.frame = the_plan.skip_exit ? 0 : 1;
}
constexpr Row edeccssa_rows[] = {
    unit("EDECCSSA.tcs_busy", "the TCS is in use by another leaf", gp, "SgxRows.EdeccssaMeetsAHeldTcs", lock),
    alone(planned("EDECCSSA.cssa", "CSSA is 0", gp, [] { the_plan.skip_exit = true; })),
    FRAME_ROWS("SSA.xsave", Xsave, "the XSAVE page"),
    FRAME_ROWS("SSA.gpr", Gpr, "the GPR page"),
    excluded("EDECCSSA.cet", "the CET save area", gp, cet_ss),
    state(
        "EDECCSSA:back", "the frame before is in use again", done, [] {},
        [] { expect("cssa", static_cast<u32>(peek(place_of(0, tcs_page), 24)), 0); }),
};

}  // namespace

const Table eenter_table = table("EENTER", prepare_eenter, eenter_rows);
const Table eresume_table = table("ERESUME", prepare_eresume, eresume_rows);
const Table edeccssa_table = table("EDECCSSA", prepare_edeccssa, edeccssa_rows);
const Table eexit_table = table("EEXIT", prepare_eexit, eexit_rows);

}  // namespace sgx
