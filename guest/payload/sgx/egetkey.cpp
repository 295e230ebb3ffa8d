// ENCLU[EREPORT] and [EGETKEY]: SDM vol. 3D, 38.4.
#include "operand_rows.hpp"
#include "tables.hpp"

namespace sgx {

namespace {

using arch::SgxError;

constexpr unsigned reportdata_page = second_ssa_page + 1;
using Rbx = OperandRows<&Call::rbx, data_page>;
using Rcx = OperandRows<&Call::rcx, reportdata_page>;
using Rdx = OperandRows<&Call::rdx, output_page>;
using Key = OperandRows<&Call::rcx, output_page>;
constexpr Result bad_rbx = pf_user_read(Operand::rbx), bad_rcx = pf_user_read(Operand::rcx),
                 bad_rdx = pf_user_write(Operand::rdx), bad_key = pf_user_write(Operand::rcx);

void prepare_ereport() {
  launch();
  call_inside(arch::EncluLeaf::ereport, in_enclave(data_page), in_enclave(reportdata_page), in_enclave(output_page));
}
void spoil(u64 offset) { poke16(place_of(0, data_page), offset, 0x100); }

/// OPERAND_PAGE_ROWS with what comes before it.
#define OPERAND_ROWS(check, rows, REG, alignment, step, member, fault, no_rights)                 \
  row(check "_aligned", REG " is not a multiple of " alignment, gp, [] { call.member += step; }), \
      row(check ".elrange", REG " is outside ELRANGE", gp, rows::outside),                        \
      row(check ".epc", REG " is not in the EPC", fault, rows::not_epc),                          \
      OPERAND_PAGE_ROWS(check, rows, REG, fault, no_rights)

constexpr Row ereport_rows[] = {
    OPERAND_ROWS("EREPORT.rbx", Rbx, "RBX", "512", 256, rbx, bad_rbx, Rbx::unreadable),
    row("EREPORT.reserved1", "TARGETINFO's reserved bytes are not 0 (49)", gp, [] { spoil(48); }),
    row("EREPORT.reserved2", "TARGETINFO's reserved bytes are not 0 (56)", gp, [] { spoil(56); }),
    row("EREPORT.reserved3", "TARGETINFO's reserved bytes are not 0 (128)", gp, [] { spoil(510); }),
    OPERAND_ROWS("EREPORT.rcx", Rcx, "RCX", "128", 64, rcx, bad_rcx, Rcx::unreadable),
    OPERAND_ROWS("EREPORT.rdx", Rdx, "RDX", "512", 256, rdx, bad_rdx, Rdx::unwritable),
    state(
        "EREPORT:report", "who the enclave is, with REPORTDATA and a MAC", done,
        [] { poke(place_of(0, reportdata_page), 0, 0x4444); },
        [] {
          const unsigned out = place_of(0, output_page);
          const arch::Sigstruct& s = signature(plain);
          u64 word;
          memcpy(&word, &s.enclavehash, 8);
          expect("mrenclave", peek(out, 64), word);
          memcpy(&word, signer(false), 8);
          expect("mrsigner", peek(out, 128), word);
          expect("attributes", peek(out, 48), the_plan.secs.attributes.flags | arch::attributes::init);
          expect("versions", peek(out, 256), u64{s.isvprodid} | u64{s.isvsvn} << 16);
          expect("isvextprodid", peek(out, 32), 0x0707'0707'0707'0707);
          expect("reportdata", peek(out, 320), 0x4444);
          expect("mac", peek(out, 416) != 0, 1);
        }),
};

constexpr unsigned request = 4;
void prepare_egetkey() {
  launch();
  poke16(place_of(0, data_page), 0, static_cast<u16>(arch::KeyName::seal));
  call_inside(arch::EncluLeaf::egetkey, in_enclave(data_page), in_enclave(output_page));
}
void ask(u64 offset, u16 value) { poke16(place_of(0, data_page), offset, value); }
void plan_kss() { the_plan.secs.attributes.flags |= arch::attributes::kss; }
constexpr Row refused(const char* name, const char* condition, SgxError error, void (*arrange)(),
                      void (*plan)() = nullptr) {
  return planned(name, condition, zf(static_cast<u64>(error)), plan, arrange);
}
u64 key() {
  execute();
  return ending.rax == 0 ? peek(place_of(0, output_page), 0) : 0;
}

constexpr Row egetkey_rows[] = {
    OPERAND_ROWS("EGETKEY.rbx", Rbx, "RBX", "512", 256, rbx, bad_rbx, Rbx::unreadable),
    OPERAND_ROWS("EGETKEY.rcx", Key, "RCX", "16", 8, rcx, bad_key, Key::unwritable),
    row("EGETKEY.reserved1", "KEYREQUEST's reserved bytes are not 0 (7)", gp, [] { spoil(6); }),
    row("EGETKEY.reserved2", "KEYREQUEST's reserved bytes are not 0 (78)", gp, [] { spoil(78); }),
    row("EGETKEY.keypolicy", "KEYPOLICY has a reserved bit", gp, [] { ask(2, 1 << 6); }),
    row("EGETKEY.keypolicy_kss", "KEYPOLICY has a bit of KSS, without ATTRIBUTES.KSS", gp, [] { ask(2, 1 << 2); }),
    row("EGETKEY.configsvn_kss", "CONFIGSVN is not 0, without ATTRIBUTES.KSS", gp, [] { ask(76, 1); }),
    refused("EGETKEY.keyname", "KEYNAME is unknown", SgxError::invalid_keyname, [] { ask(0, 5); }),
    refused("EGETKEY.attribute/einittoken", "EINITTOKEN_KEY without ATTRIBUTES.EINITTOKENKEY",
            SgxError::invalid_attribute, [] { ask(0, 0); }),
    refused("EGETKEY.attribute", "PROVISION_KEY without ATTRIBUTES.PROVISIONKEY", SgxError::invalid_attribute,
            [] { ask(0, 1); }),
    refused("EGETKEY.attribute/seal", "PROVISION_SEAL_KEY without ATTRIBUTES.PROVISIONKEY", SgxError::invalid_attribute,
            [] { ask(0, 2); }),
    refused("EGETKEY.cpusvn", "CPUSVN is beyond the processor's", SgxError::invalid_cpusvn, [] { ask(22, 0xffff); }),
    refused("EGETKEY.isvsvn", "ISVSVN is beyond the enclave's", SgxError::invalid_isvsvn, [] { ask(request, 6); }),
    refused(
        "EGETKEY.configsvn", "CONFIGSVN is beyond the enclave's", SgxError::invalid_isvsvn, [] { ask(76, 1); },
        plan_kss),
    state(
        "EGETKEY:key", "the key depends on the request, and only on it", ok, [] { ask(request, 5); },
        [] {
          const u64 first = key();
          expect("same", key() == first && first != 0, 1);
          ask(request, 4);
          expect("other", key() != first, 1);
        }),
    state(
        "EGETKEY:report", "REPORT_KEY does not look at versions", ok,
        [] {
          ask(0, 3);
          ask(request, 99);
        },
        [] { expect("key", peek(place_of(0, output_page), 0) != 0, 1); }),
};

}  // namespace

const Table ereport_table = table("EREPORT", prepare_ereport, ereport_rows);
const Table egetkey_table = table("EGETKEY", prepare_egetkey, egetkey_rows);

}  // namespace sgx
