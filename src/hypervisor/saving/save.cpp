#include "hypervisor/saving/save.hpp"

#include <fmt/format.h>

#include "arch/try.hpp"
#include "hypervisor/saving/parts.hpp"
#include "hypervisor/saving/ram.hpp"

namespace cloister::hypervisor {
namespace {

using Done = tl::expected<void, std::string>;

/// The clock chip goes on while nobody runs, and the TSC does not. Of a deterministic domain nothing may be seen of it.
void catch_up(Machine& machine) {
  if (!machine.deterministic()) machine.rtc.catch_up(machine.spec.date, machine.now());
}

template <class Part>
Done load_part(stream::Kind kind, Part& part, stream::Reader& from) {
  using State = std::remove_cvref_t<decltype(part.state())>;
  const auto record = TRY(from.next(kind));
  const auto state = stream::decode<State>(record.body);
  if (!state) return tl::unexpected(stream::Reader::wrong(record, "its body is not what its kind has"));
  if constexpr (requires { Part::can_be(*state); }) {
    if (!Part::can_be(*state)) return tl::unexpected(stream::Reader::wrong(record, "it can be in no such state"));
  }
  if constexpr (std::is_void_v<decltype(part.set_state(*state))>) {
    part.set_state(*state);
  } else if (const Done set = part.set_state(*state); !set) {
    return tl::unexpected(stream::Reader::wrong(record, set.error()));
  }
  return {};
}

}  // namespace

Done save_parts(Machine& machine, stream::Writer& to) {
  const MutexLock held(machine.lock);
  machine.wait_until_all_wait();
  if (machine.stop && !from_outside(machine.stop->ending)) return tl::unexpected(std::string("it has ended"));
  if (machine.sleep == Machine::Sleep::falling_asleep) return tl::unexpected(std::string("it is falling asleep"));
  machine.console.flush();
  return for_each_part(machine, [&to](stream::Kind kind, const auto& part) { return to.value(kind, part.state()); });
}

namespace {

Done save_all_but_enclaves(Machine& machine, stream::Writer& to) {
  TRY(to.value(stream::Kind::domain, shape_of(machine.spec)));
  TRY(save_parts(machine, to));
  return save_ram(machine.memory, machine.spec.map, to);
}

}  // namespace

Done save(Machine& machine, stream::Writer& to) {
  TRY(save_all_but_enclaves(machine, to));
  return to.end();
}

Done save(Machine& machine, stream::Writer& to, const vmx::MoveSession& session, bool& left) {
  left = false;
  TRY(save_all_but_enclaves(machine, to));
  TRY(save_enclaves(machine, to, session, left));
  return to.end();
}

Done may_load(const DomainSpec& spec, stream::Reader& from) {
  const auto shape = TRY(from.value<DomainShape>(stream::Kind::domain));
  if (const std::string differs = difference(shape, shape_of(spec)); !differs.empty())
    return tl::unexpected(fmt::format("it is not the domain that was saved: {}", differs));
  return {};
}

Done load(Machine& machine, stream::Reader& from, ArrivingEnclaves* enclaves,
          const std::function<tl::expected<void, std::string>()>& all_but_root) {
  {
    const MutexLock held(machine.lock);
    const Done parts =
        for_each_part(machine, [&from](stream::Kind kind, auto&& part) { return load_part(kind, part, from); });
    if (!parts) return parts;
    catch_up(machine);
    machine.came();
  }
  for (;;) {
    const auto record = TRY(from.next());
    if (record.kind == stream::Kind::end) return {};
    if (ArrivingEnclaves::has(record.kind)) {
      if (enclaves != nullptr) TRY(enclaves->add(record));
      continue;
    }
    if (record.kind == stream::Kind::all_but_root && all_but_root) {
      TRY(all_but_root());
      continue;
    }
    if (record.kind != stream::Kind::ram) return tl::unexpected(stream::Reader::wrong(record, "expected ram or end"));
    TRY(load_ram(machine.memory, record));
  }
}

}  // namespace cloister::hypervisor
