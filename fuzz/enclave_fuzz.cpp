// Fuzzes what reads enclaves: SGXS streams, programs, SIGSTRUCTs and settings from anyone. A stream that is taken is
// written back byte for byte; a program that is taken lies within its file.

#include "check.hpp"
#include "enclave/layout.hpp"
#include "enclave/measure.hpp"
#include "enclave/program.hpp"
#include "enclave/sigstruct.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  using namespace cloister::enclave;
  const std::span<const u8> bytes(data, size);

  if (const auto stream = read_sgxs(bytes)) {
    const auto again = write_sgxs(*stream);
    check(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
    measure(*stream);
  } else {
    check(!stream.error().empty());
  }

  if (const auto program = read_program(bytes)) {
    const Segment& last = program->segments.back();
    for (const Segment& segment : program->segments) {
      check(segment.content.size() <= segment.memory_bytes && segment.content.data() >= data &&
            segment.content.data() + segment.content.size() <= data + size);
    }
    if (last.address + last.memory_bytes <= 1 << 20) {
      if (const auto stream = lay_out(bytes, {.stack = 1})) check(read_sgxs(write_sgxs(*stream)).has_value());
    }
  } else {
    check(!program.error().empty());
  }

  if (const auto structure = read_sigstruct(bytes)) (void)enclave::check(*structure);
  (void)read_settings({reinterpret_cast<const char*>(data), size});
  return 0;
}
