#include "config/vsock.hpp"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "config/values.hpp"
#include "config/xl/quoted.hpp"

namespace cloister::toolstack {

namespace {

constexpr const char vsock_form[] = "a number from 3 to 4294967294, \"auto\", or \"cid=auto,path=/PATH\"";
/// Of a path's last component: a port's number comes behind it.
constexpr std::size_t longest_socket_name = 64;

/// True: it is one, and says of what number.
bool read_cid(std::string_view text, std::optional<u32>& cid) {
  if (text == "auto") return true;
  u32 number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  cid = number;
  return error == std::errc() && end == text.data() + text.size() && number >= least_cid && number <= most_cid;
}

bool is_path(std::string_view text) {
  const std::string_view last = text.substr(text.rfind('/') + 1);
  return text.starts_with('/') && text.find('\0') == std::string_view::npos && !last.empty() &&
         last.size() <= longest_socket_name && last != "." && last != "..";
}

}  // namespace

tl::expected<SocketsConfig, Diagnostic> read_vsock(const xl::Setting& setting) {
  if (setting.value.kind == xl::Value::Kind::list || setting.appended) return wrong(setting, vsock_form);
  SocketsConfig sockets;
  std::string_view rest = setting.value.text;
  constexpr std::string_view path_word = "path=", cid_word = "cid=";
  if (!rest.starts_with(path_word) && !rest.starts_with(cid_word)) {
    if (!read_cid(rest, sockets.cid)) return wrong(setting, vsock_form);
    return sockets;
  }
  if (rest.starts_with(cid_word)) {
    rest.remove_prefix(cid_word.size());
    const std::string_view cid = rest.substr(0, rest.find(','));
    if (!read_cid(cid, sockets.cid)) return wrong(setting, vsock_form);
    if (cid.size() == rest.size()) return sockets;
    rest.remove_prefix(cid.size() + 1);
  }
  if (!rest.starts_with(path_word)) return wrong(setting, vsock_form);
  rest.remove_prefix(path_word.size());  // all of the rest: a path may have any byte
  if (!is_path(rest))
    return wrong(setting,
                 fmt::format("path=: an absolute path, whose last part has at most {} bytes", longest_socket_name));
  sockets.path = rest;
  return sockets;
}

std::string vsock_text(const SocketsConfig& sockets) {
  const std::string cid = sockets.cid ? fmt::to_string(*sockets.cid) : "auto";
  if (!sockets.path.empty()) return xl::quoted(fmt::format("cid={},path={}", cid, sockets.path));
  return sockets.cid ? cid : xl::quoted(cid);
}

}  // namespace cloister::toolstack
