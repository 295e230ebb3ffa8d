// A stand-in for cloisterd on a Unix socket, for tests of what `cloister`'s verbs ask, say and print.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "client/api.hpp"
#include "client/client.hpp"
#include "host/mutex.hpp"
#include "host/unix_socket.hpp"

namespace cloister::toolstack::client {

/// A folder with the socket of a stand-in for cloisterd, which has answers and no domains.
class Client : public testing::Test {
 protected:
  Client() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cloister-client-XXXXXX").string();
    if (::mkdtemp(pattern.data()) != nullptr) folder_ = pattern;
    common_.run_folder = folder_;
  }
  ~Client() override {
    if (thread_.joinable()) {
      server_.stop();
      thread_.join();
    }
    std::filesystem::remove_all(folder_);
  }

  /// From now on requests of `method` to `path` are answered so. tag: an ETag; empty: none.
  void serve(const std::string& method, const std::string& path, int status, const std::string& body,
             const std::string& tag = {}) {
    serve(method, path, [status, body, tag](const httplib::Request&, httplib::Response& response) {
      response.status = status;
      response.set_content(body, "application/json");
      if (!tag.empty()) response.set_header("ETag", tag);
    });
  }
  void serve(const std::string& method, const std::string& path, httplib::Server::Handler handler) {
    const auto answer = [this, handler = std::move(handler)](const httplib::Request& request,
                                                             httplib::Response& response) {
      const MutexLock held(lock_);
      seen_ = request;
      asked_.push_back(request.method + " " + request.target);
      handler(request, response);
    };
    if (method == "GET") server_.Get(path, answer);
    if (method == "POST") server_.Post(path, answer);
    if (method == "PUT") server_.Put(path, answer);
    if (method == "PATCH") server_.Patch(path, answer);
    if (method == "DELETE") server_.Delete(path, answer);
  }
  void start() {
    server_.set_address_family(AF_UNIX);
    ASSERT_TRUE(server_.bind_to_port(folder_ + "/cloisterd.sock", 80));
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  /// At the stand-in's place: a socket that nobody serves.
  Fd listen() const {
    const Fd folder(::open(folder_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    auto listening = listen_at(folder.get(), "cloisterd.sock", SOCK_STREAM, 0600, folder_);
    EXPECT_TRUE(listening);
    return std::move(*listening);
  }
  struct Result {
    int status;
    std::string out, err{};
  };
  Result capture(const std::function<int()>& verb) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    std::fflush(stdout);
    const auto before = spdlog::default_logger();
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("client-test", std::make_shared<spdlog::sinks::stderr_sink_mt>()));
    spdlog::set_pattern("%v");
    const int status = verb();
    spdlog::set_default_logger(before);
    std::string err = testing::internal::GetCapturedStderr();
    return {status, testing::internal::GetCapturedStdout(), std::move(err)};
  }

  std::string folder_;
  Common common_;
  httplib::Server server_;
  Mutex lock_;
  httplib::Request seen_;           ///< the last
  std::vector<std::string> asked_;  ///< all: method and target
  std::thread thread_;
};

}  // namespace cloister::toolstack::client
