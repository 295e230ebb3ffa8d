// `vif`: a list with a string for each network interface, as xl-network-configuration(5) has it: KEY=VALUE with commas
// between them. `hostfwd` is QEMU's of `-netdev user`, and may be there several times.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/domain_config.hpp"
#include "config/xl/parser.hpp"

namespace cloister::toolstack {

/// The error stands at the element.
tl::expected<std::vector<InterfaceConfig>, Diagnostic> read_interfaces(const xl::Setting& setting);
std::string interfaces_text(const std::vector<InterfaceConfig>& interfaces);
/// One as an element of that list, without its quotes; and its parts.
std::string interface_text(const InterfaceConfig& interface);
std::string forward_text(const PortForward& forward);
std::string mac_text(const MacAddress& mac);

}  // namespace cloister::toolstack
