// Fuzzes the readers of QEMU's command line: any bytes give words or one error inside the text; the words give a domain
// or one error at a word; a domain that was read is written with one -cpu, and read again.
#include <algorithm>

#include "check.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/qemu_options.hpp"
#include "silicon/backend.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  namespace vm = toolstack::vm;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = static_cast<u32>(std::ranges::count(text, '\n')) + 1;
  if (const auto earlier = vm::earlier_starts(text)) check(earlier->at.line <= lines && !earlier->message.empty());
  auto words = vm::read_argv(text);
  if (!words) {
    check(words.error().at.line <= lines && words.error().at.column <= size + 1 && !words.error().message.empty());
    return 0;
  }
  check(!words->empty());
  if (const auto domain = vm::from_command(*words); !domain) check(!domain.error().message.empty());
  words->erase(words->begin());
  check(vm::qemu_options(*words).size() <= words->size());

  const auto read = vm::from_qemu(*words);
  const auto inside = [&](toolstack::Position at) { return at.line <= words->size() && at.column <= size + 1; };
  if (!read) {
    check(inside(read.error().at) && !read.error().message.empty());
    return 0;
  }
  for (const toolstack::Diagnostic& ignored : read->ignored) check(inside(ignored.at) && !ignored.message.empty());
  const std::vector<std::string> argv = vm::qemu_argv(read->vm);
  check(std::ranges::count(argv, "-cpu") == 1);
  const auto again = vm::from_qemu(argv);
  check(again.has_value() && again->vm.memory_kib == read->vm.memory_kib &&
        again->vm.epc.size() == read->vm.epc.size());
  auto shell = vm::read_argv(vm::to_qemu(read->vm).text);
  check(shell.has_value());
  shell->erase(shell->begin());
  check(*shell == argv || read->vm.type != "kvm");  // without KVM SGX is a loss
  check(vm::from_libvirt(vm::to_libvirt(read->vm).text).has_value());
  check(!vm::to_config(read->vm, silicon::backend()).text.empty());
  return 0;
}
