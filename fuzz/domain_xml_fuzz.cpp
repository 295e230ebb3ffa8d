// Fuzzes the reader of libvirt's domain XML: any bytes give a domain or one error inside the text; a domain that was
// read can be written in every format, and libvirt's and QEMU's are read again.
#include <algorithm>

#include "check.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/nodes.hpp"
#include "silicon/backend.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  namespace vm = toolstack::vm;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = static_cast<u32>(std::ranges::count(text, '\n')) + 1;
  const auto inside = [&](toolstack::Position at) { return at.line <= lines && at.column <= size + 1; };

  const auto read = vm::from_libvirt(text);
  if (!read) {
    check(inside(read.error().at) && !read.error().message.empty());
    return 0;
  }
  for (const toolstack::Diagnostic& ignored : read->ignored) check(inside(ignored.at) && !ignored.message.empty());
  const vm::Vm& domain = read->vm;
  check(!domain.name.empty() && domain.memory_kib >= 1024 && domain.vcpus >= 1);
  check((domain.cpu.mode == vm::CpuMode::custom) == !domain.cpu.model.empty());
  for (const vm::Epc& epc : domain.epc) {
    check(epc.kib > 0 && epc.guest_node.value_or(0) < vm::most_guest_nodes);
    check(std::ranges::is_sorted(epc.host_nodes));
  }
  const std::size_t written = domain.type == "kvm" ? domain.epc.size() : 0;  // without KVM SGX is a loss
  const auto again = vm::from_libvirt(vm::to_libvirt(domain).text);
  check(again.has_value() && again->vm.epc.size() == written && again->vm.memory_kib == domain.memory_kib);
  const std::vector<std::string> argv = vm::qemu_argv(domain);
  check(std::ranges::count(argv, "-cpu") == 1);
  const auto command = vm::from_qemu(argv);
  check(command.has_value() && command->vm.epc.size() == domain.epc.size());
  check(!vm::to_config(domain, silicon::backend()).text.empty());
  return 0;
}
