// Fuzzes the reader of nova.conf: any bytes give settings or one error inside the text, and every word that was read
// stands where the reader says.
#include <algorithm>
#include <string_view>

#include "check.hpp"
#include "interop/vm/nova_conf.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = static_cast<u32>(std::ranges::count(text, '\n')) + 1;
  const auto inside = [&](toolstack::Position at) {
    return at.line >= 1 && at.line <= lines && at.column >= 1 && at.column <= size + 1;
  };
  const auto read = toolstack::vm::read_nova_conf(text);
  if (!read) {
    check(inside(read.error().at) && !read.error().message.empty());
    for (const char c : read.error().message) check(c != '\n' && c != '\0');
    return 0;
  }
  for (const toolstack::vm::Word& model : read->models) check(inside(model.at) && !model.text.empty());
  for (const toolstack::vm::NovaFlag& flag : read->flags) check(inside(flag.at));
  const toolstack::vm::Cpu cpu = toolstack::vm::cpu_of(*read);
  check(cpu.features.size() <= read->flags.size());
  check(cpu.model.empty() || cpu.mode == toolstack::vm::CpuMode::custom);
  return 0;
}
