#include "vmm/saver.hpp"

#include <cerrno>
#include <cstring>

#include "arch/try.hpp"
#include "host/files.hpp"
#include "host/threads.hpp"
#include "stream/reader.hpp"
#include "stream/writer.hpp"

namespace cloister::toolstack {

namespace {

/// Each write waits for the disk.
constexpr std::size_t write_bytes = 4 << 20;

}  // namespace

Saver::~Saver() {
  if (thread_.joinable()) thread_.join();
}

Lifecycle::Done Saver::start(Fd file, SavingOrder order, u64 ram, AfterSave then) {
  if (then == AfterSave::goes_on && order.session) return tl::unexpected(std::string("its enclaves stay with it"));
  const auto domain = lifecycle_.begin_save();
  if (!domain) return tl::unexpected(domain.error());
  if (thread_.joinable()) thread_.join();  // of a save that has failed
  page_.start_save(ram);
  if (!page_.take_save(order.offer())) {
    Lifecycle::Done late = tl::unexpected(std::string("it comes too late"));
    lifecycle_.end_save(late, then, false);
    return late;
  }
  try {
    thread_ = start_thread([this, &its = **domain, file = std::move(file), order = std::move(order), then] {
      bool left = false;
      const Lifecycle::Done saved = write(its, file.get(), order, then, left);
      lifecycle_.end_save(saved, then, left);
    });
  } catch (const std::system_error& error) {
    Lifecycle::Done none = tl::unexpected(std::string(error.what()));
    lifecycle_.end_save(none, then, false);
    return none;
  }
  return {};
}

Lifecycle::Done Saver::write(hypervisor::Domain& domain, int file, const SavingOrder& order, AfterSave then,
                             bool& left) {
  std::vector<u8> pending;
  const auto flush = [&]() -> Lifecycle::Done {
    if (lifecycle_.save_is_off()) return tl::unexpected(std::string("it was to end"));
    if (!write_all(file, pending)) return tl::unexpected(std::string(std::strerror(errno)));
    page_.save()->bytes += pending.size();
    pending.clear();
    return {};
  };
  stream::Sealer sealer(
      [&](std::span<const u8> bytes) -> Lifecycle::Done {
        pending.insert(pending.end(), bytes.begin(), bytes.end());
        return pending.size() < write_bytes ? Lifecycle::Done() : flush();
      },
      order.key, order.id);
  stream::Writer writer(sealer.sink());
  TRY(writer.value(config_kind(order.session.has_value(), then), order.config));
  if (order.session) {
    TRY(domain.save(writer, *order.session, left));
  } else {
    TRY(domain.save(writer));
  }
  TRY(sealer.finish());
  return flush();
}

tl::expected<stream::Reader, std::string> open_saved(int file, const stream::SealKey& key) {
  stream::Reader reader(stream::unsealed([file](std::span<u8> to) { return read_some(file, to); }, key));
  const auto first = TRY(reader.next());
  if (!is_config(first.kind)) return tl::unexpected(stream::Reader::wrong(first, "expected config"));
  return reader;
}

}  // namespace cloister::toolstack
