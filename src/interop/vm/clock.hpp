// A Vm's clock in words and numbers that several formats share. libvirt's <clock> has words for all of it
// (formatdomain, "Time keeping"), and so has xl (xl.cfg(5), `localtime`, `rtc_timeoffset`); QEMU's -rtc has one base.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "interop/vm/vm.hpp"

namespace cloister::toolstack::vm {

/// "clock 60 s ahead of local time": for a Loss.
std::string clock_in_words(const Clock& clock);

/// A whole number of seconds, decimal, with a sign or without; nullopt for anything else.
std::optional<i64> read_seconds(std::string_view text);

/// xl's keys, which are the domain's too, a line each: none for UTC.
std::string clock_keys(const Clock& clock);

}  // namespace cloister::toolstack::vm
