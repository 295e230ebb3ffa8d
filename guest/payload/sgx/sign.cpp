// Signs the payloads' enclaves when they are built: writes the SIGSTRUCTs of enclave_layout.hpp in their order, then
// the two signers' MRSIGNER. The keys are made afresh each time; nothing depends on them.
#include <cstdio>
#include <fstream>

#include "enclave/measure.hpp"
#include "enclave/sigstruct.hpp"
#include "enclave_layout.hpp"

namespace {

using namespace cloister;

arch::Bytes32 mrenclave() {
  enclave::Stream stream{.size = sgx::enclave_bytes, .ssa_frame_pages = sgx::ssa_frame_pages, .records = {}};
  for (unsigned page = 0; page < sgx::added_pages; ++page) {
    stream.records.push_back(
        {enclave::RecordKind::add, u64{page} * arch::page_size, sgx::flags_of(page), enclave::Chunk{}});
  }
  return enclave::measure(stream);
}

arch::Sigstruct wanted(sgx::Signature which) {
  arch::Sigstruct s{};
  s.header = arch::sigstruct_header;
  s.header2 = arch::sigstruct_header2;
  s.exponent = 3;
  s.enclavehash = mrenclave();
  s.isvprodid = 3;
  s.isvsvn = 5;
  s.isvextprodid.fill(7);
  using namespace arch::attributes;
  switch (which) {
    case sgx::strict:
      s.attributes.flags = debug | mode64bit;
      s.attributemask.flags = ~u64{init};
      s.miscmask = ~u32{0};
      break;
    case sgx::other_xfrm:
      s.attributes.xfrm = 7;
      s.attributemask.xfrm = 4;
      break;
    case sgx::with_family: s.isvfamilyid.fill(9); break;
    default: break;
  }
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto first = enclave::SigningKey::generate(), second = enclave::SigningKey::generate();
  if (!first || !second) return 1;
  std::ofstream file(argv[1], std::ios::binary);
  const auto put = [&](const auto& value) { file.write(reinterpret_cast<const char*>(&value), sizeof value); };
  std::array<arch::Bytes32, 2> signers;
  for (unsigned which = 0; which < sgx::signatures; ++which) {
    arch::Sigstruct s = wanted(static_cast<sgx::Signature>(which));
    const bool other = which == sgx::other_signer;
    if (const auto done = enclave::sign(s, other ? *second : *first); !done) {
      std::fprintf(stderr, "%s\n", done.error().c_str());
      return 1;
    }
    signers[other] = enclave::mrsigner(s);
    put(s);
  }
  put(signers);
  return file.flush() ? 0 : 1;
}
