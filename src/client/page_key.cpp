// 128 random bits each: there is nothing to be tried, and what is compared takes the same time wherever it differs.
#include "client/page_key.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace cloister::toolstack::client {

namespace {

using Response = HttpServer::Response;

constexpr std::string_view cookie_name = "cloister=";

/// Asks for the token; `why`: what was wrong with what was given.
Response ask(std::string_view why) {
  constexpr std::string_view page = R"(<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Cloister</title>
<h1>Cloister</h1>
<p>{}This page is for who started it: <code>cloister dashboard</code> has printed its token.</p>
<form action="/"><label>Token <input name="token" type="password" autocomplete="off" autofocus required></label>
<button>Open</button></form>
</html>
)";
  return {.status = 401,
          .type = "text/html; charset=utf-8",
          .body = fmt::format(page, why),
          .fields = {{"WWW-Authenticate", "Token realm=\"cloister dashboard\""},
                     {"Content-Security-Policy",
                      "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"}}};
}

tl::expected<std::string, std::string> random_text() {
  std::array<u8, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return tl::unexpected(fmt::format("cannot make a token: {}", std::strerror(errno)));
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

}  // namespace

tl::expected<PageKey, std::string> PageKey::make() {
  const auto token = random_text(), name = random_text();
  if (!token || !name) return tl::unexpected(token ? name.error() : token.error());
  return PageKey(*token, "/" + *name + "/");
}

bool PageKey::fits(std::string_view token) const {
  return token.size() == token_.size() && CRYPTO_memcmp(token.data(), token_.data(), token_.size()) == 0;
}

/// RFC 6265, 4.2.1: "name=value; name=value".
bool PageKey::has_cookie(const HttpServer::Request& request) const {
  for (std::string_view rest : request.cookies) {
    while (!rest.empty()) {
      const std::string_view pair = rest.substr(0, rest.find(';'));
      if (pair.starts_with(cookie_name) && fits(pair.substr(cookie_name.size()))) return true;
      rest.remove_prefix(std::min(pair.size() + 1, rest.size()));
      rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    }
  }
  return false;
}

tl::expected<std::string, HttpServer::Response> PageKey::open(const HttpServer::Request& request) const {
  if (request.target.starts_with(folder_) && has_cookie(request)) return request.target.substr(folder_.size() - 1);
  const auto token = request.query.find("token");
  if (request.path != "/" || token == request.query.end()) return tl::unexpected(ask(""));
  if (!fits(token->second)) return tl::unexpected(ask("That is not the token. "));
  if (request.method != "GET")
    return request.target;  // whoever has the key learns that it is no way to change anything
  return tl::unexpected(Response{.status = 303,
                                 .type = "text/plain",
                                 .body = "the page is in a folder of its own\n",
                                 .fields = {{"Location", folder_},
                                            {"Set-Cookie", fmt::format("{}{}; Path={}; HttpOnly; SameSite=Strict",
                                                                       cookie_name, token_, folder_)}}});
}

}  // namespace cloister::toolstack::client
