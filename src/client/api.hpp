// cloisterd's REST API (docs/openapi.json) over its Unix socket.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <tl/expected.hpp>

#include "arch/types.hpp"
#include "host/fd.hpp"

namespace httplib {
struct Response;
}

namespace cloister::toolstack::client {

using Json = nlohmann::ordered_json;

/// Why a request came to nothing: one line for a person, and the program's exit status.
struct Failure {
  std::string message;
  int exit_status;
  int http_status = 0;     ///< of cloisterd's answer; 0: there was none
  bool forbidden = false;  ///< there was none, and asking again changes nothing
};

/// What a refusal of cloisterd's says.
Failure failure_of(const httplib::Response& response);

/// An answer with what HTTP says of it.
struct Reply {
  Json body;
  int status = 0;
  std::string tag{};  ///< the entity-tag of what it shows (RFC 9110, 8.8.3); empty: it has none
};

template <class T>
using Answer = tl::expected<T, Failure>;

/// Where cloisterd answers: in a folder that is this user's or root's and nobody else can write (own_folder.hpp), so
/// that nobody else can answer in its place.
class DaemonSocket {
 public:
  explicit DaemonSocket(const std::string& run_folder);
  const std::string& shown() const { return shown_; }      ///< its path, for messages
  const std::string& address() const { return address_; }  ///< the same by a descriptor, of any length; empty: refused
  const std::string& refused() const { return refused_; }  ///< why
  bool untrusted() const { return untrusted_; }            ///< refused, though it is there
  bool forbidden() const { return forbidden_; }            ///< refused, and by nothing that passes
 private:
  Fd folder_;
  std::string shown_, address_, refused_;
  bool untrusted_ = false, forbidden_ = false;
};

/// One request a call; any thread.
class Api {
 public:
  /// A domain's creation reads its kernel; its destruction cleans its EPC.
  static constexpr std::chrono::milliseconds longest_answer = std::chrono::seconds(120);

  /// for_an_answer: how long each request waits for it.
  explicit Api(const std::string& run_folder, std::chrono::milliseconds for_an_answer = longest_answer);

  Answer<Json> get(const std::string& path) const;
  Answer<std::string> get_text(const std::string& path) const;
  /// body: null for none.
  Answer<Json> post(const std::string& path, const Json& body = nullptr) const;
  Answer<Json> patch(const std::string& path, const Json& body) const;
  Answer<Json> remove(const std::string& path) const;

  /// A connection that goes on with the protocol that moves domains (docs/migration.md), and what the answer calls it.
  struct Upgraded {
    Fd socket;
    std::string session;
    std::string answer;  ///< to who proves which machine it is; empty: none
  };
  Answer<Upgraded> upgrade(const std::string& path, const Json& body) const;

  Answer<Reply> get_tagged(const std::string& path) const;
  /// if_match: the entity-tag of what is to be replaced; empty: whatever is there.
  Answer<Reply> put(const std::string& path, const Json& body, const std::string& if_match = {}) const;

 private:
  struct Text {
    std::string text, tag;
    int status;
  };
  Answer<Text> request(const std::string& method, const std::string& path, const std::string& body,
                       const std::string& if_match = {}) const;
  Answer<Reply> request_json(const std::string& method, const std::string& path, const Json& body,
                             const std::string& if_match = {}) const;

  DaemonSocket socket_;
  const std::chrono::milliseconds for_an_answer_;
};

/// The path of a domain's resource. A name may hold what a URL may not.
std::string domain_path(const std::string& domain, const std::string& below = "");
std::string key_path(const std::string& key);
std::string ticket_path(const std::string& ticket);

}  // namespace cloister::toolstack::client
