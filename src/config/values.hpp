// Readers of single values: what a key's value must look like, and the error that says so.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "config/xl/parser.hpp"
#include "text/diagnostic.hpp"

namespace cloister::toolstack {

/// A value as a message shows it, without control characters.
std::string shown(const xl::Value& value);
/// "found …, expected …" at the value.
tl::unexpected<Diagnostic> wrong(const xl::Setting& setting, const std::string& expected);

tl::expected<std::string, Diagnostic> read_string(const xl::Setting& setting);
/// A whole number, decimal, 0x hexadecimal or 0 octal, also in quotes. `unit` is what it counts ("MiB", or empty).
tl::expected<u64, Diagnostic> read_integer(const xl::Setting& setting, u64 least, u64 most, std::string_view unit = {});
/// The same with a sign; the lexer wants a negative one in quotes, as libxlu's does.
tl::expected<i64, Diagnostic> read_signed(const xl::Setting& setting, i64 least, i64 most, std::string_view unit = {});
tl::expected<bool, Diagnostic> read_boolean(const xl::Setting& setting);
/// One of the words; the result is its index.
tl::expected<std::size_t, Diagnostic> read_word(const xl::Setting& setting, std::span<const std::string_view> words);

}  // namespace cloister::toolstack
