// ENCLS[EINIT]: SDM vol. 3D, 38.3; launch control: 37.1.4.
#include "keys.hpp"
#include "tables.hpp"

namespace sgx {

namespace {

using arch::SgxError;
namespace a = arch::attributes;

constexpr Result code(SgxError e) { return zf(static_cast<u64>(e)); }
constexpr Result bad_structure = code(SgxError::invalid_sig_struct), bad_attribute = code(SgxError::invalid_attribute),
                 bad_token = code(SgxError::invalid_einittoken);

void prepare() {
  build();
  set_launch_signer();
  operands.sigstruct = signature(the_plan.signature);
  call_encls(arch::EnclsLeaf::einit, address(&operands.sigstruct), epc_at(secs_of(0)), address(&operands.token));
}
constexpr Row refused(const char* name, const char* condition, void (*arrange)()) {
  return row(name, condition, bad_structure, arrange);
}
void sign_strictly() { the_plan.signature = strict; }

/// A token for the enclave, which another signer than the platform's has signed.
void give_token(void (*change)(arch::Einittoken&) = nullptr, void (*change_after)(arch::Einittoken&) = nullptr) {
  operands.sigstruct = signature(other_signer);
  arch::Einittoken& token = operands.token;
  token.valid = 1;
  token.attributes = the_plan.secs.attributes;
  memcpy(&token.mrenclave, &operands.sigstruct.enclavehash, 32);
  memcpy(&token.mrsigner, signer(true), 32);
  if (change) change(token);
  seal_token(token);
  if (change_after) change_after(token);
}

constexpr Row rows[] = {
    row("EINIT.rbx_aligned", "RBX is not a multiple of 4096", gp,
        [] {
          memcpy(operands.image + 8, &operands.sigstruct, sizeof operands.sigstruct);
          call.rbx = address(operands.image) + 8;
        }),
    row("EINIT.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
    row("EINIT.rdx_aligned", "RDX is not a multiple of 512", gp, [] { call.rdx = address(operands.source) + 8; }),
    row("EINIT.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx), [] { call.rcx = alias_of(secs_of(0)); }),
    refused("EINIT.header", "HEADER is not its constant", [] { operands.sigstruct.header[4] ^= 1; }),
    refused("EINIT.vendor", "VENDOR is neither 0 nor 8086H", [] { operands.sigstruct.vendor = 1; }),
    refused("EINIT.header2", "HEADER2 is not its constant", [] { operands.sigstruct.header2[0] ^= 1; }),
    refused("EINIT.exponent", "EXPONENT is not 3", [] { operands.sigstruct.exponent = 5; }),
    refused("EINIT.reserved1", "reserved bytes are not 0 (44)", [] { operands.sigstruct.reserved1[83] = 1; }),
    refused("EINIT.reserved2", "reserved bytes are not 0 (910)", [] { operands.sigstruct.reserved2[0] = 1; }),
    refused("EINIT.reserved3", "reserved bytes are not 0 (992)", [] { operands.sigstruct.reserved3[15] = 1; }),
    refused("EINIT.reserved4", "reserved bytes are not 0 (1028)", [] { operands.sigstruct.reserved4[0] = 1; }),
    never("EINIT:unmasked_event", "an event is pending while the signature is checked", code(SgxError::unmasked_event),
          "the leaf is one instruction, and events wait for its end"),
    row("EINIT.signature", "SIGNATURE is not that of the structure", code(SgxError::invalid_signature),
        [] { operands.sigstruct.date ^= 1; }),
    row("EINIT.signature/q1", "Q1 is wrong", code(SgxError::invalid_signature), [] { operands.sigstruct.q1[0] ^= 1; }),
    row("EINIT.signature/q2", "Q2 is wrong", code(SgxError::invalid_signature), [] { operands.sigstruct.q2[9] ^= 1; }),
    unit("EINIT.rcx_busy", "the SECS is in use by another leaf", gp, "SgxRows.EinitMeetsAHeldSecs", lock),
    row("EINIT.rcx_valid", "RCX is not a valid page", pf_write(Operand::rcx),
        [] {
          for (unsigned page = 0; page < added_pages; page++) eremove(place_of(0, page));
          eremove(secs_of(0));
        }),
    row("EINIT.rcx_type", "RCX is not a SECS", pf_write(Operand::rcx),
        [] { call.rcx = epc_at(place_of(0, data_page)); }),
    row("EINIT.isvfamilyid", "ISVFAMILYID is not 0, without ATTRIBUTES.KSS", bad_structure,
        [] { operands.sigstruct = signature(with_family); }),
    unit("EINIT.measuring", "another leaf updates the measurement", gp, "SgxRows.EinitMeetsAMeasurement", lock),
    alone(row("EINIT.initialised", "the enclave is initialised", gp, [] { initialise(); })),
    row("EINIT.enclavehash", "MRENCLAVE is not ENCLAVEHASH", code(SgxError::invalid_measurement),
        [] { eadd(0, dynamic_page, operands.source); }),
    planned(
        "EINIT.controlled", "ATTRIBUTES.EINITTOKENKEY, signed by another than the launch signer", bad_attribute,
        [] { the_plan.secs.attributes.flags |= a::einittokenkey; }, [] { give_token(); }),
    planned("EINIT.attributes", "ATTRIBUTES differ where ATTRIBUTEMASK is set", bad_attribute,
            [] {
              sign_strictly();
              the_plan.secs.attributes.flags &= ~a::debug;
            }),
    planned("EINIT.xfrm", "XFRM differs where ATTRIBUTEMASK is set", bad_attribute,
            [] { the_plan.signature = other_xfrm; }),
    planned("EINIT.miscselect", "MISCSELECT differs where MISCMASK is set", bad_attribute,
            [] {
              sign_strictly();
              the_plan.secs.miscselect = arch::miscselect::exinfo;
            }),
    excluded("EINIT.cet_attributes", "CET_ATTRIBUTES differ where the mask is set", bad_attribute, cet_ss),
    alone(row("EINIT.launch_signer", "no valid token, and MRSIGNER is not IA32_SGXLEPUBKEYHASH", bad_token,
              [] { set_launch_signer(true); })),
    planned(
        "EINIT.token_debug", "a debug launch enclave's token, for an enclave without DEBUG", bad_token,
        [] { the_plan.secs.attributes.flags &= ~a::debug; }, [] { give_token(); }),
    row("EINIT.token_valid", "the token's VALID has a reserved bit", bad_token,
        [] { give_token([](arch::Einittoken& t) { t.valid = 3; }); }),
    row("EINIT.token_reserved1", "the token's reserved bytes are not 0 (4)", bad_token,
        [] { give_token([](arch::Einittoken& t) { t.reserved1[0] = 1; }); }),
    row("EINIT.token_reserved2", "the token's reserved bytes are not 0 (96)", bad_token,
        [] { give_token([](arch::Einittoken& t) { t.reserved2[31] = 1; }); }),
    row("EINIT.token_reserved3", "the token's reserved bytes are not 0 (160)", bad_token,
        [] { give_token([](arch::Einittoken& t) { t.reserved3[0] = 1; }); }),
    row("EINIT.token_reserved4", "the token's reserved bytes are not 0 (213)", bad_token,
        [] { give_token(nullptr, [](arch::Einittoken& t) { t.reserved4[22] = 1; }); }),
    row("EINIT.token_cpusvn", "the token's CPUSVNLE is beyond the processor's CPUSVN", code(SgxError::invalid_cpusvn),
        [] { give_token(nullptr, [](arch::Einittoken& t) { t.cpusvnle[15] = 0xff; }); }),
    row("EINIT.token_mac", "the token's MAC is not by the launch key", bad_token,
        [] { give_token(nullptr, [](arch::Einittoken& t) { t.mac[0] ^= 1; }); }),
    row("EINIT.token_mrenclave", "the token is for another MRENCLAVE", code(SgxError::invalid_measurement),
        [] { give_token([](arch::Einittoken& t) { t.mrenclave[0] ^= 1; }); }),
    row("EINIT.token_mrsigner", "the token is for another MRSIGNER", code(SgxError::invalid_measurement),
        [] { give_token([](arch::Einittoken& t) { t.mrsigner[31] ^= 1; }); }),
    row("EINIT.token_attributes", "the token is for other ATTRIBUTES", bad_attribute,
        [] { give_token([](arch::Einittoken& t) { t.attributes.flags ^= a::provisionkey; }); }),
    state(
        "EINIT:launched", "the enclave is initialised, with its signer's versions, and can be entered", ok, [] {},
        [] {
          expect("again", attempt([] { einit(0, plain); }).vector, vec::gp);
          expect("entered", enter_enclave().vector, vec::done);
        },
        [] { the_plan.tcs.oentry = come_out; }),
    state(
        "EINIT:token", "another signer's enclave is launched with a token of the launch enclave", ok,
        [] { give_token(); }, [] { expect("entered", enter_enclave().vector, vec::done); },
        [] { the_plan.tcs.oentry = come_out; }),
    state(
        "EINIT:demands", "what the signer demands is so", ok, [] {},
        [] { expect("again", attempt([] { einit(0, plain); }).vector, vec::gp); }, sign_strictly),
    state(
        "EINIT:family", "with ATTRIBUTES.KSS, ISVFAMILYID may be set", ok,
        [] { operands.sigstruct = signature(with_family); }, [] {}, [] { the_plan.secs.attributes.flags |= a::kss; }),
    state(
        "EINIT:retry", "after a refusal the same enclave can be launched", ok,
        [] {
          einit(0, other_signer);
          einit(0, with_family);
        },
        [] {}),
};

}  // namespace

const Table einit_table = table("EINIT", prepare, rows);

}  // namespace sgx
