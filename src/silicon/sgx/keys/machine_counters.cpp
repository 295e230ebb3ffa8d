// The machine's counters: one page of atomics.
#include "silicon/sgx/keys/machine_counters.hpp"

#include <array>
#include <atomic>

#include "arch/try.hpp"
#include "silicon/memory/sealed_memory.hpp"

namespace cloister::silicon {

namespace {

struct CountersPage {
  static constexpr u64 expected_magic = 0x746e'756f'636c'636d;  // "mclcount"
  static constexpr u64 expected_layout = 1;
  u64 magic, layout;
  u64 boot;
  std::atomic<u64> eid, version;
};
static_assert(sizeof(CountersPage) <= arch::page_size && std::atomic<u64>::is_always_lock_free);

}  // namespace

class MachineCounters::Impl {
 public:
  Fd file;
  HostMapping mapping;
  u64 boot = 0;
  CountersPage& page() const { return *reinterpret_cast<CountersPage*>(mapping.get()); }

  static tl::expected<MachineCounters::Pointer, MemoryError> map(tl::expected<Fd, MemoryError> file,
                                                                 const u64* fresh_boot) {
    if (!file) return tl::unexpected(file.error());
    auto mapping = TRY(map_sealed(*file, arch::page_size));
    auto impl = std::make_unique<Impl>();
    impl->file = std::move(*file);
    impl->mapping = std::move(mapping);
    CountersPage& page = impl->page();
    if (fresh_boot != nullptr) {
      page.boot = *fresh_boot;
      page.eid = page.version = 1;
      page.layout = CountersPage::expected_layout;
      page.magic = CountersPage::expected_magic;
    } else if (page.magic != CountersPage::expected_magic || page.layout != CountersPage::expected_layout) {
      return tl::unexpected(MemoryError::wrong_layout);
    }
    impl->boot = page.boot;
    return std::make_shared<MachineCounters>(std::move(impl));
  }
};

tl::expected<MachineCounters::Pointer, MemoryError> MachineCounters::create(u64 boot) {
  return Impl::map(make_sealed("cloister-counters", arch::page_size), &boot);
}
tl::expected<MachineCounters::Pointer, MemoryError> MachineCounters::adopt(int descriptor) {
  return Impl::map(borrow_sealed(descriptor, arch::page_size), nullptr);
}

MachineCounters::MachineCounters(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MachineCounters::~MachineCounters() = default;
u64 MachineCounters::boot() const { return impl_->boot; }
int MachineCounters::descriptor() const { return impl_->file.get(); }
u64 MachineCounters::next_eid() { return impl_->page().eid.fetch_add(1, std::memory_order_relaxed); }
Counts MachineCounters::counts() const {
  return {.eid = impl_->page().eid.load(std::memory_order_relaxed),
          .version = impl_->page().version.load(std::memory_order_relaxed)};
}
void MachineCounters::raise(const Counts& least) {
  silicon::raise(impl_->page().eid, least.eid);
  silicon::raise(impl_->page().version, least.version);
}
u64 MachineCounters::next_version() { return impl_->page().version.fetch_add(1, std::memory_order_relaxed); }

}  // namespace cloister::silicon
