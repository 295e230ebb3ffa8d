#include "config/interfaces.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "arch/try.hpp"
#include "config/values.hpp"
#include "config/xl/quoted.hpp"
#include "text/nearest.hpp"
#include "text/shown.hpp"
#include "text/trimmed.hpp"

namespace cloister::toolstack {

namespace {

using Failed = tl::unexpected<Diagnostic>;
using Done = tl::expected<void, Diagnostic>;

bool is_address(const std::string& text, int family) {
  in6_addr any;
  if (text.find('\0') != std::string::npos) return false;
  return ::inet_pton(family, text.c_str(), &any) == 1;
}

std::optional<u16> read_port(std::string_view text) {
  u16 port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port != 0 ? std::optional(port) : std::nullopt;
}

/// PROTOCOL:[ADDRESS]:PORT-:PORT, an IPv6 address in brackets. Nullopt: it is none.
std::optional<PortForward> read_forward(std::string_view text) {
  PortForward forward;
  if (text.starts_with("udp:")) forward.udp = true;
  if (!text.starts_with("tcp:") && !forward.udp) return std::nullopt;
  text.remove_prefix(4);
  const bool ipv6 = text.starts_with('[');
  const std::size_t end = ipv6 ? text.find("]:") : text.find(':');
  if (end == std::string_view::npos) return std::nullopt;
  forward.address = text.substr(ipv6 ? 1 : 0, ipv6 ? end - 1 : end);
  text.remove_prefix(end + (ipv6 ? 2 : 1));
  if ((ipv6 || !forward.address.empty()) && !is_address(forward.address, ipv6 ? AF_INET6 : AF_INET))
    return std::nullopt;
  const std::size_t dash = text.find("-:");
  if (dash == std::string_view::npos) return std::nullopt;
  const auto host = read_port(text.substr(0, dash)), guest = read_port(text.substr(dash + 2));
  if (!host || !guest) return std::nullopt;
  forward.host_port = *host;
  forward.guest_port = *guest;
  return forward;
}

/// What the kernel takes for an interface's name, and has nothing in it that means more than itself.
bool is_interface_name(std::string_view name) {
  constexpr std::size_t longest = 15;  // IFNAMSIZ, with its end
  const auto usual = [](char byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           byte == '-' || byte == '_' || byte == '.';
  };
  // The last two are those of sysctl's folders for all interfaces.
  if (name == "." || name == ".." || name == "all" || name == "default") return false;
  return !name.empty() && name.size() <= longest && std::ranges::all_of(name, usual);
}

std::optional<MacAddress> read_mac(std::string_view text) {
  MacAddress mac{};
  constexpr std::size_t each = 3;
  if (text.size() != mac.size() * each - 1) return std::nullopt;
  for (std::size_t i = 0; i < mac.size(); ++i) {
    const char* const digits = text.data() + i * each;
    const auto [end, error] = std::from_chars(digits, digits + 2, mac[i], 16);
    if (error != std::errc() || end != digits + 2 || (i + 1 != mac.size() && *end != ':')) return std::nullopt;
  }
  return mac;
}

class InterfaceReader {
 public:
  static constexpr const char form[] =
      "\"type=user,mac=MAC,hostfwd=tcp:[ADDRESS]:PORT-:PORT,host=allow\" or "
      "\"bridge=NAME,mac=MAC,vifname=NAME,queues=N\", of which all but the first may be left out";

  InterfaceReader(const xl::Setting& list, const xl::Value& value) : list_(list), value_(value) {}

  tl::expected<InterfaceConfig, Diagnostic> read() {
    if (value_.kind != xl::Value::Kind::string) return unexpected(form);
    interface_.at = value_.at;
    for (std::string_view rest = value_.text; !rest.empty();) {
      const std::string_view part = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), part.size() + 1));
      const std::string_view word = trimmed(part);
      if (word.empty()) continue;
      const std::size_t equals = word.find('=');
      if (equals == std::string_view::npos)
        return error(fmt::format("found '{}', expected KEY=VALUE: {}", cut(std::string(word)), form));
      TRY(put(trimmed(word.substr(0, equals)), trimmed(word.substr(equals + 1))));
    }
    const bool on_bridge = !interface_.bridge.empty();
    if (!typed_ && !on_bridge) return unexpected(fmt::format("a type or a bridge: {}", form));
    if (typed_ && on_bridge) return unexpected("type=user or a bridge, and not both");
    if (on_bridge && (hosted_ || !interface_.forwards.empty()))
      return unexpected("neither 'hostfwd' nor 'host' beside a bridge, which has the guest in a network of its own");
    if (!on_bridge && !interface_.host_name.empty()) return unexpected("a bridge beside 'vifname'");
    if (!on_bridge && queued_) return unexpected("a bridge beside 'queues'");
    return std::move(interface_);
  }

 private:
  static constexpr std::size_t most_forwards = 256;
  static constexpr std::array<std::string_view, 7> names{"type",   "mac",     "hostfwd", "host",
                                                         "bridge", "vifname", "queues"};
  /// What xl has beside these.
  static constexpr std::string_view others[] = {"gatewaydev", "script", "ip",     "backend", "rate",   "model",
                                                "devid",      "accel",  "netdev", "mtu",     "trusted"};

  Failed error(const std::string& message) const {
    return Failed(Diagnostic{value_.at, fmt::format("'{}': {}", list_.name, message)});
  }
  Failed unexpected(const std::string& expected) const {
    return error(fmt::format("found {}, expected {}", shown(value_), expected));
  }
  Failed of_key(std::string_view key, std::string_view value, const std::string& expected) const {
    return error(fmt::format("{}: found {}, expected {}", key, shown(std::string(value)), expected));
  }
  Done once(std::string_view key, bool& said) const {
    if (std::exchange(said, true)) return unexpected(fmt::format("'{}' once", key));
    return {};
  }

  Done put(std::string_view key, std::string_view value) {
    if (key == "type") {
      if (value != "user")
        return of_key(key, value, "\"user\", the only one that is supported, or a bridge and no type");
      return once(key, typed_);
    }
    if (key == "mac") return put_mac(key, value);
    if (key == "hostfwd") {
      const auto forward = read_forward(value);
      if (!forward)
        return of_key(key, value, "tcp:[ADDRESS]:PORT-:PORT, or the same of udp, with the guest's port behind '-:'");
      if (interface_.forwards.size() == most_forwards)
        return error(fmt::format("more than {} of hostfwd for one interface", most_forwards));
      interface_.forwards.push_back(*forward);
      return {};
    }
    if (key == "host") {
      if (value != "allow" && value != "deny") return of_key(key, value, "\"allow\" or \"deny\"");
      interface_.reaches_host = value == "allow";
      return once(key, hosted_);
    }
    if (key == "bridge") return put_name(key, value, interface_.bridge);
    if (key == "vifname") return put_name(key, value, interface_.host_name);
    if (key == "queues") return put_queues(key, value);
    if (std::ranges::count(others, key) != 0) return error(fmt::format("'{}' is not supported", key));
    const auto near = text::nearest(key, names);
    return error(fmt::format("unknown key '{}'{}", cut(std::string(key)),
                             near ? fmt::format(", did you mean '{}'?", *near) : ""));
  }

  Done put_name(std::string_view key, std::string_view value, std::string& name) const {
    if (!is_interface_name(value))
      return of_key(key, value, "the name of an interface: 1 to 15 letters, digits, '-', '_' and '.'");
    if (!name.empty()) return unexpected(fmt::format("'{}' once", key));
    name = value;
    return {};
  }

  Done put_queues(std::string_view key, std::string_view value) {
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), interface_.queues);
    const bool number = error == std::errc() && end == value.data() + value.size();
    if (!number || interface_.queues == 0 || interface_.queues > most_interface_queues)
      return of_key(key, value, fmt::format("a number from 1 to {}", most_interface_queues));
    return once(key, queued_);
  }

  Done put_mac(std::string_view key, std::string_view value) {
    const auto mac = read_mac(value);
    if (!mac) return of_key(key, value, "six bytes as 52:54:00:12:34:56");
    if (((*mac)[0] & 1) != 0) return of_key(key, value, "an address of one interface, whose first byte is even");
    if (*mac == MacAddress{}) return of_key(key, value, "an address other than zeros");
    if (interface_.mac) return unexpected("'mac' once");
    interface_.mac = *mac;
    return {};
  }

  const xl::Setting& list_;
  const xl::Value& value_;
  InterfaceConfig interface_;
  bool typed_ = false, hosted_ = false, queued_ = false;
};

/// What it has that those before it have already, or it has twice itself.
std::optional<std::string> doubled(const InterfaceConfig& interface, const std::vector<InterfaceConfig>& before) {
  std::vector<PortForward> seen;
  for (const InterfaceConfig& one : before) {
    if (one.mac && one.mac == interface.mac) return "mac " + mac_text(*one.mac);
    if (!one.host_name.empty() && one.host_name == interface.host_name) return "vifname " + one.host_name;
    seen.insert(seen.end(), one.forwards.begin(), one.forwards.end());
  }
  for (const PortForward& forward : interface.forwards) {
    const auto same = [&](const PortForward& its) {
      return its.udp == forward.udp && its.host_port == forward.host_port && its.address == forward.address;
    };
    if (std::ranges::any_of(seen, same)) return "hostfwd " + forward_text(forward);
    seen.push_back(forward);
  }
  return std::nullopt;
}

}  // namespace

tl::expected<std::vector<InterfaceConfig>, Diagnostic> read_interfaces(const xl::Setting& setting) {
  if (setting.value.kind != xl::Value::Kind::list)
    return wrong(setting, fmt::format("a list of strings {}", InterfaceReader::form));
  std::vector<InterfaceConfig> interfaces;
  for (const xl::Value& value : setting.value.list) {
    if (interfaces.size() == most_interfaces)
      return Failed(Diagnostic{value.at, fmt::format("'vif': found more than {} elements", most_interfaces)});
    auto interface = TRY(InterfaceReader(setting, value).read());
    if (const auto what = doubled(interface, interfaces))
      return Failed(Diagnostic{value.at, fmt::format("'vif': found {} twice, expected it once", *what)});
    interfaces.push_back(std::move(interface));
  }
  return interfaces;
}

std::string mac_text(const MacAddress& mac) { return fmt::format("{:02x}", fmt::join(mac, ":")); }

std::string forward_text(const PortForward& forward) {
  const bool ipv6 = forward.address.find(':') != std::string::npos;
  return fmt::format("{}:{}{}{}:{}-:{}", forward.udp ? "udp" : "tcp", ipv6 ? "[" : "", forward.address, ipv6 ? "]" : "",
                     forward.host_port, forward.guest_port);
}

std::string interface_text(const InterfaceConfig& interface) {
  std::string text = interface.bridge.empty() ? "type=user" : "bridge=" + interface.bridge;
  if (interface.mac) text += ",mac=" + mac_text(*interface.mac);
  for (const PortForward& forward : interface.forwards) text += ",hostfwd=" + forward_text(forward);
  if (interface.reaches_host) text += ",host=allow";
  if (!interface.host_name.empty()) text += ",vifname=" + interface.host_name;
  if (interface.queues != 1) text += fmt::format(",queues={}", interface.queues);
  return text;
}

std::string interfaces_text(const std::vector<InterfaceConfig>& interfaces) {
  std::vector<std::string> texts;
  for (const InterfaceConfig& interface : interfaces) texts.push_back(xl::quoted(interface_text(interface)));
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

}  // namespace cloister::toolstack
