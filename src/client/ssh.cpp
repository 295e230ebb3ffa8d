// `cloister ssh`: OpenSSH's client, by the guest's vsock if something listens at its port 22, else by the port of the
// host's that leads to port 22 of its network. The guest's key is known by the domain's uuid, whatever its name and
// place are.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "client/api.hpp"
#include "client/client.hpp"
#include "host/exit_status.hpp"

namespace cloister::toolstack::client {
namespace {

constexpr u32 ssh_port = 22;

/// As a word of sh's, in ssh's own form of a command (TOKENS of ssh_config(5)).
std::string sh_word(std::string_view word) {
  std::string text = "'";
  for (const char c : word) {
    if (c == '\'') {
      text += "'\\''";
    } else {
      text += c;
      if (c == '%') text += c;
    }
  }
  return text + "'";
}

/// The address and the port of "tcp:ADDRESS:PORT-:22".
struct Place {
  std::string address, port;
};
std::optional<Place> place_of(std::string_view forward) {
  constexpr std::string_view before = "tcp:", behind = "-:22";
  if (!forward.starts_with(before) || !forward.ends_with(behind)) return std::nullopt;
  forward.remove_prefix(before.size());
  forward.remove_suffix(behind.size());
  const std::size_t colon = forward.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view address = forward.substr(0, colon);
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  if (address.empty() || address == "0.0.0.0") address = "127.0.0.1";
  if (address == "::") address = "::1";
  return Place{std::string(address), std::string(forward.substr(colon + 1))};
}

std::optional<Place> forward_of(const Json& domain) {
  for (const Json& one : domain.value("devices", Json::object()).value("interfaces", Json::array())) {
    for (const Json& forward : one.value("forwards", Json::array())) {
      if (auto place = place_of(forward.get<std::string>())) return place;
    }
  }
  return std::nullopt;
}

/// PROGRAM: this one, as it was started.
std::string proxy(const Common& common, const std::string& uuid) {
  std::string program(4096, '\0');
  const ssize_t bytes = ::readlink("/proc/self/exe", program.data(), program.size());
  program.resize(static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
  return fmt::format("ProxyCommand={} --run {} vsock {} {}", sh_word(program), sh_word(common.run_folder), uuid,
                     ssh_port);
}

}  // namespace

int ssh(const Common& common, const std::string& domain, const std::vector<std::string>& arguments) {
  const auto failed = [](const std::string& why) {
    spdlog::error("cloister: {}", why);
    return int{exit_status::failed};
  };
  const std::size_t at = domain.rfind('@');
  const std::string user = at == std::string::npos ? "root" : domain.substr(0, at);
  const auto found = Api(common.run_folder).get(domain_path(at == std::string::npos ? domain : domain.substr(at + 1)));
  if (!found) {
    spdlog::error("{}", found.error().message);
    return found.error().exit_status;
  }
  const std::string name = found->value("name", domain), uuid = found->value("uuid", "");
  if (found->value("id", u64{0}) == 0) return failed("'" + name + "' is shut off");
  if (const std::string state = found->value("state", ""); state == "paused" || state == "suspended")
    return failed("'" + name + "' is " + state);
  if (user.empty() || user.front() == '-') return failed("found user '" + user + "', expected [USER@]DOMAIN");

  const char* const chosen = std::getenv("CLOISTER_SSH");
  std::vector<std::string> words{chosen != nullptr && *chosen != '\0' ? chosen : "ssh", "-o", "HostKeyAlias=" + uuid};
  std::string host = name;
  if (listens(found->value("vsock", ""), ssh_port)) {
    words.insert(words.end(), {"-o", proxy(common, uuid)});
  } else if (const auto place = forward_of(*found)) {
    words.insert(words.end(), {"-p", place->port});
    host = place->address;
  } else {
    return failed(fmt::format(
        "nobody in '{0}' listens at its vsock's port {1}, and no hostfwd of a vif leads to port {1}", name, ssh_port));
  }
  words.insert(words.end(), {"-l", user, "--", host});
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> list;
  for (std::string& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  ::execvp(list[0], list.data());
  return failed(fmt::format("cannot run {}: {}", words[0], std::strerror(errno)));
}

}  // namespace cloister::toolstack::client
