// The page that shows the machine in a browser: dashboard.html, which is part of the program.
#pragma once

#include <string>
#include <string_view>

namespace cloister::toolstack {

std::string_view dashboard_page();
/// Its Content-Security-Policy: the page's own script and style, and requests to where it came from; nothing else.
const std::string& dashboard_policy();

}  // namespace cloister::toolstack
