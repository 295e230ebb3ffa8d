#include "working_set.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>

#include "enclave/measure.hpp"
#include "enclave/sigstruct.hpp"

namespace cloister::payload {
namespace {

namespace its = ::working_set;

/// A page as the payload adds it (cases_sgx_working_set.cpp, fill()).
void make_page(u32 page, u32 threads, std::span<u8, arch::page_size> bytes) {
  const auto put = [&](u64 at, auto value) { std::memcpy(&bytes[at], &value, sizeof value); };
  std::ranges::fill(bytes, u8{0});
  const u32 data = its::data_page(threads);
  if (page >= data) {
    for (u32 line = 0; line < its::lines; ++line)
      put(line * its::line_bytes + its::word_offset, its::word_of(page - data, line));
  } else if (page % 2 == 1) {
    arch::Tcs tcs{};
    tcs.ossa = (page + 1) * arch::page_size;
    tcs.nssa = 1;
    tcs.fslimit = tcs.gslimit = 0xfff;
    put(0, tcs);
  }
}

arch::Sigstruct signature_of(u32 pages, u32 threads) {
  enclave::Stream stream{.size = its::elrange_bytes(pages, threads), .ssa_frame_pages = 1, .records = {}};
  std::array<u8, arch::page_size> bytes;
  for (u32 page = 0; page < its::all_pages(pages, threads); ++page) {
    const u64 offset = page * arch::page_size, flags = its::flags_of(page, threads);
    if (page == its::code_page) {
      stream.records.push_back({enclave::RecordKind::add, offset, flags, enclave::Chunk{}});
      continue;
    }
    make_page(page, threads, bytes);
    enclave::add_page(stream, offset, flags, bytes);
  }
  static const enclave::SigningKey key = *enclave::SigningKey::generate();
  return *enclave::sign(enclave::measure(stream), {}, key);
}

}  // namespace

std::vector<u8> WorkingSet::ramdisk() const {
  its::Header header{};
  header.sigstruct = signature_of(pages, threads);
  const arch::Bytes32 signer = enclave::mrsigner(header.sigstruct);
  std::ranges::copy(signer, header.signer);
  header.pages = pages;
  header.threads = threads;
  header.runs = static_cast<u32>(runs.size());
  std::vector<u32> orders;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Run& run = runs[i];
    header.run[i] = {.first = static_cast<u32>(orders.size()),
                     .count = static_cast<u32>(run.orders.front().size()),
                     .times = run.times,
                     .writes = run.writes};
    for (const std::vector<u32>& order : run.orders) orders.insert(orders.end(), order.begin(), order.end());
  }
  std::vector<u8> bytes(sizeof header + orders.size() * sizeof orders[0]);
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, orders.data(), orders.size() * sizeof orders[0]);
  return bytes;
}

std::optional<Sighting> sighting_of(const std::string& line) {
  Sighting seen{};
  if (std::sscanf(line.c_str(), "AT %llx %llx %llx", reinterpret_cast<unsigned long long*>(&seen.sum),
                  reinterpret_cast<unsigned long long*>(&seen.counters),
                  reinterpret_cast<unsigned long long*>(&seen.touched)) != 3)
    return std::nullopt;
  return seen;
}

u64 expected_sum(const WorkingSet::Run& run) {
  u64 sum = 0;
  for (const std::vector<u32>& order : run.orders) {
    for (const u32 page : order) sum += its::sum_of(page);
  }
  return sum * run.times;
}

std::vector<u32> streaming(u32 pages) {
  std::vector<u32> order(pages);
  std::iota(order.begin(), order.end(), 0u);
  return order;
}

std::vector<u32> uniform(u32 pages, u32 count, u32 seed) {
  std::minstd_rand random(seed);
  std::vector<u32> order(count);
  for (u32& page : order) page = static_cast<u32>(random() % pages);
  return order;
}

std::vector<u32> zipf(u32 pages, u32 count, u32 seed) {
  std::minstd_rand random(seed);
  std::vector<double> up_to(pages);
  double sum = 0;
  for (u32 rank = 0; rank < pages; ++rank) up_to[rank] = sum += std::pow(rank + 1.0, -0.99);
  std::vector<u32> page_of = streaming(pages), order(count);
  std::shuffle(page_of.begin(), page_of.end(), random);
  std::uniform_real_distribution<double> chance(0, sum);
  for (u32& page : order) {
    const auto rank = std::ranges::lower_bound(up_to, chance(random)) - up_to.begin();
    page = page_of[static_cast<std::size_t>(std::min<std::ptrdiff_t>(rank, pages - 1))];
  }
  return order;
}

}  // namespace cloister::payload
