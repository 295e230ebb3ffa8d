// What it costs that a page of EPC is not there: the pager evicts one and loads one, beside two passes of raw AES-GCM
// over 4 KiB, which is what sealing and opening a page cannot be had for less. No processor runs, so exits, and the
// gate that waits for them, are not in it.
//
// Names are ORDER/HALVES: the order of access to a working set of so many halves of the frames. "faults" is how many
// there were for each access, "ns_a_fault" nanoseconds.
#include <benchmark/benchmark.h>
#include <openssl/evp.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>

#include "hypervisor/epc/pager/pager.hpp"
#include "silicon/backend.hpp"
#include "silicon/silicon.hpp"

namespace {

using namespace cloister;
using arch::EnclsLeaf;
using arch::Gpa;
using arch::Mfn;

constexpr u64 frames = 4096, most_times = 4, pages = frames * most_times;
constexpr u64 accesses = 4096;  // of one iteration
constexpr Gpa base{0x1'0000'0000};
constexpr Mfn first{0x10'0000};
constexpr u64 enclave_base = u64{1} << 32;

void must(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "%s failed\n", what);
  std::abort();
}

struct Open final : hypervisor::Gate {
  void close() override {}
  void open() override {}
};

/// An enclave of as many pages as the domain sees, built in root mode; its first page is the SECS.
class Paged {
 public:
  Paged() {
    must(memory_->reserve_epc(base, pages).has_value(), "reserve_epc");
    auto made = hypervisor::Pager::create(
        {.package = package_,
         .memory = *memory_,
         .pages = hypervisor::EpcPages({{.base = base, .bytes = pages * arch::page_size, .node = 0}}),
         .frames = {{first, frames}},
         .vcpus = 1,
         .gate = gate_,
         .handlers = handlers_,
         .leaves = leaves_});
    must(made.has_value(), "Pager::create");
    pager_ = std::move(*made);
    alignas(64) const arch::Secinfo secinfo{};
    alignas(4096) arch::Secs secs{};
    secs.size = enclave_base;
    secs.base = enclave_base;
    secs.ssa_frame_size = 1;
    secs.attributes = {arch::attributes::mode64bit, 3};
    must(!package_.ecreate(need(0), secinfo, secs, at(0)).fault, "ECREATE");
    alignas(4096) static const std::array<std::byte, arch::page_size> contents{};
    for (u64 page = 1; page < pages; ++page) {
      alignas(64)
          arch::Secinfo info{arch::secinfo_flags::r | arch::secinfo_flags::w |
                                 u64{static_cast<u8>(arch::PageType::reg)} << arch::secinfo_flags::page_type_shift,
                             {}};
      const Mfn frame = need(page), owner = need(0);
      alignas(4096) std::array<std::byte, arch::page_size> copy = contents;
      vmx::PageinfoOperand pageinfo{enclave_base + page * arch::page_size, copy,
                                    std::as_writable_bytes(std::span(&info, 1)), owner};
      must(!package_.encls(EnclsLeaf::eadd, {.page = frame, .pageinfo = &pageinfo}).fault, "EADD");
    }
  }
  Mfn need(u64 page) {
    must(pager_->need(at(page), 0) == hypervisor::Pager::Need::there, "a page's load");
    return *pager_->frame_of(at(page));
  }
  u64 loads() const { return pager_->counts().loads; }

 private:
  static Gpa at(u64 page) { return base + page * arch::page_size; }
  silicon::Package package_{{.epc = {{first, frames}}, .root_secret = {1}, .boot = 1}};
  std::unique_ptr<vmx::GuestMemory> memory_ = package_.make_memory();
  Open gate_;
  Mutex handlers_;
  hypervisor::RootLeaves leaves_;
  std::unique_ptr<hypervisor::Pager> pager_;
};

Paged& paged() {
  static Paged p;
  return p;
}

void fault(benchmark::State& state, bool random) {
  Paged& p = paged();
  const u64 set = static_cast<u64>(state.range(0)) * frames / 2;
  std::minstd_rand chance(1);
  u64 next = 0, loads = 0, touched = 0;
  for (u64 page = 1; page < set; ++page) p.need(page);
  for (auto _ : state) {
    const u64 before = p.loads();
    for (u64 i = 0; i < accesses; ++i) {
      next = random ? chance() % (set - 1) + 1 : next % (set - 1) + 1;
      p.need(next);
    }
    loads += p.loads() - before;
    touched += accesses;
  }
  state.counters["faults"] = static_cast<double>(loads) / static_cast<double>(touched);
  state.counters["ns_a_fault"] =
      benchmark::Counter(static_cast<double>(loads) / 1e9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

/// Contexts know their key; what changes from page to page is the initialisation vector.
void raw(benchmark::State& state) {
  struct Free {
    void operator()(EVP_CIPHER_CTX* c) const { EVP_CIPHER_CTX_free(c); }
  };
  const std::unique_ptr<EVP_CIPHER_CTX, Free> context(EVP_CIPHER_CTX_new());
  const u8 key[16] = {1};
  must(EVP_EncryptInit_ex(context.get(), EVP_aes_128_gcm(), nullptr, key, nullptr) == 1, "AES-GCM");
  std::vector<u8> page(pages / 4 * arch::page_size), sealed(page.size());
  u64 at = 0, done = 0;
  for (auto _ : state) {
    for (int pass = 0; pass < 2; ++pass) {
      u8 iv[12] = {}, tag[16], rest[16];
      int bytes = 0;
      ++done;
      std::memcpy(iv, &done, sizeof done);
      EVP_EncryptInit_ex(context.get(), nullptr, nullptr, nullptr, iv);
      EVP_EncryptUpdate(context.get(), &sealed[at], &bytes, &page[at], arch::page_size);
      EVP_EncryptFinal_ex(context.get(), rest, &bytes);
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, sizeof tag, tag);
      at = (at + arch::page_size) % page.size();
    }
  }
  state.counters["ns_a_fault"] = benchmark::Counter(static_cast<double>(state.iterations()) / 1e9,
                                                    benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

}  // namespace

// Halves of the frames.
BENCHMARK_CAPTURE(fault, streaming, false)->Arg(1)->Arg(3)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(fault, uniform, true)->Arg(1)->Arg(3)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond);
BENCHMARK(raw);
BENCHMARK_MAIN();
