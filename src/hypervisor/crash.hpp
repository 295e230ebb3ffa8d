// A crash report: why, the registers, the code at RIP, and the exits that led there.
#pragma once

#include <string>

#include "hypervisor/machine.hpp"

namespace cloister::hypervisor {

std::string crash_report(Processor& processor, const std::string& reason);

}  // namespace cloister::hypervisor
