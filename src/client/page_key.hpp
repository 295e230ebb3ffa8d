// Who may use the page of `cloister dashboard`: who has the token that its command line printed. A port of this machine
// can be reached by each of its users, and by every page that a browser has open.
//
// The token is given once, in the printed address or in the form that is shown without it, and changed for a cookie
// (RFC 6265) which no script sees and no other site's request has. Browsers send a cookie to every port of a host: so
// it is for a folder whose name nobody else knows either, or another user's server here could have it.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "http/server.hpp"

namespace cloister::toolstack::client {

class PageKey {
 public:
  /// A new one, of random bytes.
  static tl::expected<PageKey, std::string> make();

  /// The path and query with which a browser begins.
  std::string entrance() const { return "/?token=" + token_; }
  /// Of a request with the key, the path and query that it is for; of another one, its answer.
  tl::expected<std::string, HttpServer::Response> open(const HttpServer::Request& request) const;

 private:
  PageKey(std::string token, std::string folder) : token_(std::move(token)), folder_(std::move(folder)) {}
  bool fits(std::string_view token) const;
  bool has_cookie(const HttpServer::Request& request) const;

  std::string token_;
  std::string folder_;  ///< "/NAME/"
};

}  // namespace cloister::toolstack::client
