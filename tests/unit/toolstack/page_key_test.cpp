// Who gets past the door of `cloister dashboard`.
#include "client/page_key.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace cloister::toolstack::client {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;

class Key : public testing::Test {
 protected:
  static HttpServer::Request get(const std::string& path, const std::string& token = "") {
    HttpServer::Request request{.method = "GET", .path = path, .body = "", .peer = {}, .query = {}, .target = path};
    if (!token.empty()) request.query.emplace("token", token);
    return request;
  }
  int refused(const HttpServer::Request& request) const {
    const auto opened = key_->open(request);
    return opened ? 0 : opened.error().status;
  }
  std::string token() const { return key_->entrance().substr(std::string("/?token=").size()); }
  /// The fields of the answer to the token.
  std::map<std::string, std::string> entered() const {
    const auto opened = key_->open(get("/", token()));
    EXPECT_FALSE(opened);
    if (opened) return {};
    EXPECT_EQ(opened.error().status, 303);
    return {opened.error().fields.begin(), opened.error().fields.end()};
  }

  tl::expected<PageKey, std::string> key_ = PageKey::make();
};

TEST_F(Key, IsAnotherOneEachTime) {
  ASSERT_TRUE(key_);
  EXPECT_EQ(token().size(), 32u);
  EXPECT_NE(key_->entrance(), PageKey::make()->entrance());
}

TEST_F(Key, TokenGivesACookieToGetAlone) {
  for (const char* const method : {"POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}) {
    HttpServer::Request request = get("/", token());
    request.method = method;
    EXPECT_EQ(key_->open(request).value_or(""), "/") << "which the dashboard then refuses (405)";
    request.query = {{"token", "wrong"}};
    EXPECT_EQ(refused(request), 401) << method;
  }
}

TEST_F(Key, TokenGivesACookieForAFolder) {
  auto fields = entered();
  const std::string folder = fields["Location"];
  EXPECT_EQ(folder.size(), 34u);
  EXPECT_THAT(folder, EndsWith("/"));
  EXPECT_EQ(fields["Set-Cookie"], "cloister=" + token() + "; Path=" + folder + "; HttpOnly; SameSite=Strict");
  EXPECT_EQ(folder.find(token()), std::string::npos) << "who sees the one has not seen the other";

  HttpServer::Request request = get(folder + "v1/domains?all=%20");
  EXPECT_EQ(refused(request), 401) << "the folder's name alone";
  const std::string cookie = "cloister=" + token();
  for (const std::string& field :
       {cookie, "a=b; " + cookie, cookie + "; c=d", "cloister=x; " + cookie, ";; " + cookie}) {
    request.cookies = {field};
    EXPECT_EQ(key_->open(request).value_or(""), "/v1/domains?all=%20") << field;
  }
  request.cookies = {"a=b", cookie};
  EXPECT_EQ(key_->open(request).value_or(""), "/v1/domains?all=%20");
  for (const std::string& field :
       {std::string(), std::string("cloister="), cookie + "0", cookie.substr(0, cookie.size() - 1), "x" + cookie,
        "Cloister=" + token(), token(), std::string("cloister"), std::string(";"), "cloister=" + folder}) {
    request.cookies = {field};
    EXPECT_EQ(refused(request), 401) << field;
  }
  request = get("/v1/domains");
  request.cookies = {cookie};
  EXPECT_EQ(refused(request), 401) << "the cookie outside of its folder";
}

TEST_F(Key, WithoutItOneIsAskedForIt) {
  std::string wrong = token();
  wrong.back() = wrong.back() == '0' ? '1' : '0';
  for (const HttpServer::Request& request :
       {get("/"), get("/", wrong), get("/", token().substr(1)), get("/", token() + "0"), get("/v1/domains", token()),
        get("//", token()), get("*")}) {
    const auto opened = key_->open(request);
    ASSERT_FALSE(opened) << request.target;
    EXPECT_EQ(opened.error().status, 401) << request.target;
    EXPECT_THAT(opened.error().body, AllOf(HasSubstr("<form action=\"/\">"), HasSubstr("name=\"token\"")));
    EXPECT_EQ(opened.error().body.find(token()), std::string::npos);
    std::map<std::string, std::string> fields(opened.error().fields.begin(), opened.error().fields.end());
    EXPECT_TRUE(fields.contains("WWW-Authenticate"));
    EXPECT_THAT(fields["Content-Security-Policy"], HasSubstr("default-src 'none'"));
    EXPECT_FALSE(fields.contains("Set-Cookie"));
  }
  EXPECT_THAT(key_->open(get("/", wrong)).error().body, HasSubstr("That is not the token."));
}

}  // namespace
}  // namespace cloister::toolstack::client
