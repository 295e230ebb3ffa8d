// Where the domain is in a file of libvirt's: the root itself, or inside of what libvirt keeps about a domain.
#pragma once

#include <tl/expected.hpp>

#include "text/diagnostic.hpp"
#include "text/xml.hpp"

namespace cloister::toolstack::vm {

/// The one <domain>. The error: there is none, or another one, which would be lost.
tl::expected<pugi::xml_node, Diagnostic> find_domain(const xml::Document& document);

}  // namespace cloister::toolstack::vm
