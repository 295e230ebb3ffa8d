#include "daemon/transfer_credentials.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdlib>
#include <memory>

namespace cloister::toolstack {

namespace {

/// Clocks of two machines may differ by so much.
constexpr long certificate_seconds = 3600;

struct FreeTransferPart {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(BIO* bio) const { BIO_free(bio); }
};
template <class Part>
using TransferPart = std::unique_ptr<Part, FreeTransferPart>;

/// OpenSSL refuses only for want of memory.
void must_certify(bool done) {
  if (!done) std::abort();
}

TransferPart<EVP_PKEY> transfer_pair(const Secret& seed) {
  TransferPart<EVP_PKEY> pair(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.data(), seed.size()));
  must_certify(pair != nullptr);
  return pair;
}

void set_name(X509_NAME* name, const char* text) {
  must_certify(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(text), -1,
                                          -1, 0) == 1);
}

constexpr const char *machine_name = "cloister machine", *transfer_name = "cloister transfer";

TransferPart<X509> certificate_of(EVP_PKEY* subject, const char* name, EVP_PKEY* issuer, long ahead) {
  TransferPart<X509> certificate(X509_new());
  must_certify(certificate != nullptr);
  X509* const raw = certificate.get();
  const Secret random = random_secret();
  u64 serial = 0;
  for (std::size_t i = 0; i < 7; ++i) serial = serial << 8 | random[i];
  constexpr long version_3 = 2;
  must_certify(X509_set_version(raw, version_3) == 1 &&
               ASN1_INTEGER_set_uint64(X509_get_serialNumber(raw), serial | 1) &&
               X509_gmtime_adj(X509_getm_notBefore(raw), ahead - certificate_seconds) != nullptr &&
               X509_gmtime_adj(X509_getm_notAfter(raw), ahead + certificate_seconds) != nullptr &&
               X509_set_pubkey(raw, subject) == 1);
  set_name(X509_get_subject_name(raw), name);
  set_name(X509_get_issuer_name(raw), machine_name);
  must_certify(X509_sign(raw, issuer, nullptr) > 0);
  return certificate;
}

template <class Write>
std::string in_pem(Write write) {
  const TransferPart<BIO> bio(BIO_new(BIO_s_secmem()));
  must_certify(bio != nullptr && write(bio.get()) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  must_certify(size > 0);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace

TransferCredentials make_transfer_credentials(const MachineKey& machine, long ahead) {
  const auto own = transfer_pair(machine.seed);
  const auto pair = transfer_pair(random_secret());
  const auto leaf = certificate_of(pair.get(), transfer_name, own.get(), ahead);
  const auto root = certificate_of(own.get(), machine_name, own.get(), ahead);
  return {.certificates = in_pem([&](BIO* to) {
            return PEM_write_bio_X509(to, leaf.get()) == 1 && PEM_write_bio_X509(to, root.get()) == 1 ? 1 : 0;
          }),
          .key = in_pem([&](BIO* to) {
            return PEM_write_bio_PKCS8PrivateKey(to, pair.get(), nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

}  // namespace cloister::toolstack
