#include "enclave/measure.hpp"

#include <openssl/evp.h>

#include <memory>

namespace cloister::enclave {
namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void add(std::span<const u8> bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  arch::Bytes32 finish() {
    arch::Bytes32 digest{};
    EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
    return digest;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

}  // namespace

arch::Bytes32 sha256(std::span<const u8> bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.finish();
}

arch::Bytes32 measure(const Stream& stream) {
  Sha256 hash;
  hash.add(create_header(stream));
  for (const Record& record : stream.records) {
    if (record.kind == RecordKind::unmeasured) continue;
    hash.add(header_of(record));
    if (record.kind == RecordKind::extend) hash.add(record.data);
  }
  return hash.finish();
}

}  // namespace cloister::enclave
