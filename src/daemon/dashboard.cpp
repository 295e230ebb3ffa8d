// The policy names script and style by their hashes (W3C Content Security Policy Level 3, 6.7.2.4), so that text of a
// guest could not run even if the page had a mistake.
#include "daemon/dashboard.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <array>
#include <cassert>

namespace cloister::toolstack {

namespace {

constexpr std::string_view html =
#include "dashboard_html.inc"
    ;

/// 'sha256-…' of what stands between the page's only tags of this name.
std::string source_of(std::string_view tag) {
  const std::string open = fmt::format("<{}>", tag), close = fmt::format("</{}>", tag);
  const std::size_t begin = html.find(open) + open.size(), end = html.find(close);
  assert(end != html.npos && begin < end);
  const std::string_view text = html.substr(begin, end - begin);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  ::SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::array<unsigned char, 4 * ((SHA256_DIGEST_LENGTH + 2) / 3) + 1> base64;
  ::EVP_EncodeBlock(base64.data(), digest.data(), digest.size());
  return fmt::format("'sha256-{}'", reinterpret_cast<const char*>(base64.data()));
}

}  // namespace

std::string_view dashboard_page() { return html; }

const std::string& dashboard_policy() {
  static const std::string policy = fmt::format(
      "default-src 'none'; connect-src 'self'; img-src data:; script-src {}; style-src {}; base-uri 'none'; "
      "form-action 'none'; frame-ancestors 'none'",
      source_of("script"), source_of("style"));
  return policy;
}

}  // namespace cloister::toolstack
