// Which tool's file a text is. The readers of vm/ and lint/ take those of libvirt, Nova, QEMU and, but for lint/, Cloud
// Hypervisor; of others that people bring, it can be said what they are, and where what they become can be had.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "text/diagnostic.hpp"

namespace cloister::toolstack::vm {

/// The text without a byte-order mark. The error: it is UTF-16.
tl::expected<std::string_view, Diagnostic> without_mark(std::string_view text);
/// Without the command before XML or JSON that was copied from a terminal, as "$ virsh dumpxml web"; the end of its
/// line is left, so that the other lines keep their numbers.
std::string_view without_prompt(std::string_view text);
/// The same of a machine's settings. The error: it is UTF-16, or the file of a tool whose words are not read here.
tl::expected<std::string_view, Diagnostic> readable(std::string_view text);

/// Where QEMU's program is in a command: by its name, behind words of sudo and the like, or a path before options that
/// QEMU alone has. nullopt: there is none.
std::optional<std::size_t> qemu_of(const std::vector<std::string>& argv);

/// The program has KVM by itself: Debian's `kvm` adds -enable-kvm, and Red Hat's qemu-kvm has it for its default.
bool brings_kvm(std::string_view program);
/// Of a command's arguments for a shell: the first value that counts for a processor, its SGX or who runs it, or word
/// that is no value, of which the shell makes something else, or which begins another command of QEMU's: an error where
/// it stands. argv: without the program.
std::optional<Diagnostic> not_of_command(const std::vector<std::string>& argv);
/// A program of QEMU's for processors that have no SGX is an error, which says so.
std::optional<Diagnostic> of_other_architecture(std::string_view program);

/// Where Cloud Hypervisor's program is.
std::optional<std::size_t> cloud_hypervisor_of(const std::vector<std::string>& argv);

/// The text is a command that runs one of the two, or a listing of options that QEMU has: by its first word that says
/// so.
bool is_command(std::string_view text);

/// What begins like no configuration of a domain, JSON or a file of sections, is an error that says so; `expected`: in
/// its place.
std::optional<Diagnostic> no_configuration(std::string_view text, std::string_view expected);

/// The text has a line "[NAME]", of any case.
bool has_section(std::string_view text, std::string_view name);

}  // namespace cloister::toolstack::vm
