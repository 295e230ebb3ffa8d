// The SGXS stream: an enclave before it is loaded, as the records that the build instructions measure, in their order
// (SDM vol. 3D, 35.1.2 "MRENCLAVE"; the blocks are those of ECREATE, EADD and EEXTEND in 38.3).
//
// Every record starts with a header of 64 bytes whose first eight are its tag. EEXTEND and UNMEASRD are followed by the
// 256 bytes of one chunk; UNMEASRD ones are loaded without being measured.
#pragma once

#include <array>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "arch/sgx.hpp"

namespace cloister::enclave {

template <class T>
using Result = tl::expected<T, std::string>;

inline constexpr u64 chunk_bytes = 256;
inline constexpr u64 header_bytes = 64;
using Chunk = std::array<u8, chunk_bytes>;
using Header = std::array<u8, header_bytes>;

enum class RecordKind : u8 { add, extend, unmeasured };

struct Record {
  RecordKind kind = RecordKind::add;
  u64 offset = 0;  ///< from the enclave's base
  u64 flags = 0;   ///< SECINFO.FLAGS of an added page
  Chunk data{};    ///< of the other kinds
  bool operator==(const Record&) const = default;
};

struct Stream {
  u64 size = 0;  ///< of the linear address range
  u32 ssa_frame_pages = 1;
  std::vector<Record> records;
  bool operator==(const Stream&) const = default;
};

Header create_header(const Stream& stream);
Header header_of(const Record& record);

/// One page, its content whole, and measured whole or not at all: the order in which Linux builds an enclave.
void add_page(Stream& stream, u64 offset, u64 flags, std::span<const u8, arch::page_size> content,
              bool measured = true);

/// Reads a stream and checks all that ECREATE, EADD and EEXTEND would refuse in it.
Result<Stream> read_sgxs(std::span<const u8> bytes);
std::vector<u8> write_sgxs(const Stream& stream);

}  // namespace cloister::enclave
