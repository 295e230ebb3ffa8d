// libvirt's formats with a domain inside: the status of one that runs (src/conf/domain_conf.c, virDomainObjFormat), a
// snapshot (https://libvirt.org/formatsnapshot.html), whose <inactiveDomain> is a whole domain too, and a checkpoint.
#include "interop/vm/libvirt_domain.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "interop/vm/among.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

using Node = pugi::xml_node;

constexpr std::string_view wrappers[] = {"domstatus", "domainsnapshot", "domaincheckpoint"};
constexpr std::string_view domains[] = {"domain", "inactiveDomain"};

/// What libvirt says of a host, which `cloister cpu probe` reads.
struct OfAHost {
  std::string_view root, what;
};
constexpr OfAHost of_hosts[] = {{"domainCapabilities", "libvirt's domain capabilities"},
                                {"capabilities", "libvirt's capabilities of a host"},
                                {"cpudata", "libvirt's CPU data of a host"},
                                {"qemuCaps", "libvirt's cache of QEMU's capabilities"}};

/// In document order, with elements beside the root. <metadata> is anybody's.
Node next_domain(Node document, Node first) {
  struct Walker : pugi::xml_tree_walker {
    Node first, found;
    bool for_each(Node& node) override {
      const auto in_metadata = [&] {
        for (Node up = node.parent(); up; up = up.parent())
          if (std::string_view(up.name()) == "metadata") return true;
        return false;
      };
      if (node != first && among(node.name(), domains) && !in_metadata()) found = node;
      return !found;
    }
  } walker;
  walker.first = first;
  document.traverse(walker);
  return walker.found;
}

}  // namespace

tl::expected<Node, Diagnostic> find_domain(const xml::Document& document) {
  const Node root = document.root();
  const std::string_view name = root.name();
  const Node domain = name == "domain" ? root : among(name, wrappers) ? root.child("domain") : Node();
  if (!domain) {
    const auto* const host = std::ranges::find(of_hosts, name, &OfAHost::root);
    const std::string_view expected = "expected 'domain'";
    return document.error(
        root, host != std::end(of_hosts)
                  ? fmt::format("found {}, {}; 'cloister cpu probe' says what that host can give", host->what, expected)
              : among(name, wrappers) ? fmt::format("found no 'domain' in {}, {}", shown(name), expected)
                                      : fmt::format("found the element {}, {}", shown(name), expected));
  }
  if (const Node second = next_domain(root.parent(), domain))
    return document.error(
        second,
        fmt::format("found a second <domain>{}, expected one in a file",
                    std::string_view(second.name()) == "domain" ? "" : fmt::format(" ({})", shown(second.name()))));
  return domain;
}

}  // namespace cloister::toolstack::vm
