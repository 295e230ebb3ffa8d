#include "enclave/stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

namespace cloister::enclave {
namespace {

constexpr u64 tag(const char (&name)[9]) {
  u64 value = 0;
  for (unsigned i = 0; i < 8; i++) value |= u64{static_cast<u8>(name[i])} << (8 * i);
  return value;
}
constexpr u64 tag_create = tag("ECREATE\0"), tag_add = tag("EADD\0\0\0\0"), tag_extend = tag("EEXTEND\0"),
              tag_unmeasured = tag("UNMEASRD");

// Fields of the headers.
constexpr std::size_t at_ssa_frame_pages = 8, at_size = 12, create_end = 20;
constexpr std::size_t at_offset = 8, at_flags = 16, add_end = 24, extend_end = 16;

template <class T>
void put(Header& header, std::size_t at, T value) {
  std::memcpy(header.data() + at, &value, sizeof value);
}
template <class T>
T get(const Header& header, std::size_t at) {
  T value;
  std::memcpy(&value, header.data() + at, sizeof value);
  return value;
}
bool zero_from(const Header& header, std::size_t at) {
  return std::all_of(header.begin() + static_cast<std::ptrdiff_t>(at), header.end(), [](u8 b) { return b == 0; });
}

/// Why a page of these flags cannot be added (EADD's checks), or nothing.
std::string flags_problem(u64 flags) {
  using namespace arch::secinfo_flags;
  const auto type = static_cast<arch::PageType>((flags & page_type) >> page_type_shift);
  if ((flags & ~(rwx | page_type)) != 0) return fmt::format("flags {:#x} have reserved bits", flags);
  if (type != arch::PageType::reg && type != arch::PageType::tcs) return fmt::format("page type {}", u32(type));
  if (type == arch::PageType::tcs && (flags & rwx) != 0) return "a thread control structure with permissions";
  if ((flags & w) != 0 && (flags & r) == 0) return "a page that can be written and not read";
  return "";
}

class Reader {
 public:
  explicit Reader(std::span<const u8> bytes) : bytes_(bytes) {}

  Result<Stream> read() {
    Header header{};
    if (!take(header)) return error("ends inside a header");
    if (get<u64>(header, 0) != tag_create) return error("does not begin with ECREATE");
    stream_.ssa_frame_pages = get<u32>(header, at_ssa_frame_pages);
    stream_.size = get<u64>(header, at_size);
    if (!zero_from(header, create_end)) return error("reserved bytes are not zero");
    if (stream_.size < 2 * arch::page_size || !std::has_single_bit(stream_.size)) {
      return error(fmt::format("size {:#x} is not a power of two of at least 8 KiB", stream_.size));
    }
    if (stream_.ssa_frame_pages == 0) return error("state save areas have no pages");
    while (at_ < bytes_.size()) {
      start_ = at_;
      if (const std::string problem = record(); !problem.empty()) return error(problem);
    }
    return std::move(stream_);
  }

 private:
  tl::unexpected<std::string> error(const std::string& what) const {
    return tl::unexpected(fmt::format("record {} at byte {:#x}: {}", stream_.records.size(), start_, what));
  }

  template <class T>
  bool take(T& out) {
    if (bytes_.size() - at_ < out.size()) return false;
    std::memcpy(out.data(), bytes_.data() + at_, out.size());
    at_ += out.size();
    return true;
  }

  std::string record() {
    Header header{};
    if (!take(header)) return "ends inside a header";
    Record record;
    record.offset = get<u64>(header, at_offset);
    if (record.offset >= stream_.size) return fmt::format("offset {:#x} is outside the enclave", record.offset);
    const u64 page = record.offset & ~arch::page_mask;
    switch (get<u64>(header, 0)) {
      case tag_add: {
        record.flags = get<u64>(header, at_flags);
        if (page != record.offset) return fmt::format("offset {:#x} is not a page's", record.offset);
        if (!zero_from(header, add_end)) return "reserved bytes are not zero";
        if (std::string problem = flags_problem(record.flags); !problem.empty()) return problem;
        if (!loaded_.try_emplace(page, u16{0}).second) return fmt::format("page {:#x} is added twice", page);
        break;
      }
      case tag_extend:
      case tag_unmeasured: {
        record.kind = get<u64>(header, 0) == tag_extend ? RecordKind::extend : RecordKind::unmeasured;
        if (record.offset % chunk_bytes != 0) return fmt::format("offset {:#x} is not a chunk's", record.offset);
        if (!zero_from(header, extend_end)) return "reserved bytes are not zero";
        const auto found = loaded_.find(page);
        if (found == loaded_.end()) return fmt::format("chunk {:#x} is of a page that is not added", record.offset);
        const u16 chunk = static_cast<u16>(1u << ((record.offset - page) / chunk_bytes));
        if ((found->second & chunk) != 0) return fmt::format("chunk {:#x} comes twice", record.offset);
        found->second |= chunk;
        if (!take(record.data)) return "ends inside a chunk";
        break;
      }
      default: return fmt::format("unknown tag {:016x}", get<u64>(header, 0));
    }
    stream_.records.push_back(record);
    return "";
  }

  std::span<const u8> bytes_;
  std::size_t at_ = 0, start_ = 0;
  Stream stream_;
  std::unordered_map<u64, u16> loaded_;  // page -> which chunks had their data
};

}  // namespace

Header create_header(const Stream& stream) {
  Header header{};
  put(header, 0, tag_create);
  put(header, at_ssa_frame_pages, stream.ssa_frame_pages);
  put(header, at_size, stream.size);
  return header;
}

Header header_of(const Record& record) {
  Header header{};
  put(header, at_offset, record.offset);
  switch (record.kind) {
    case RecordKind::add:
      put(header, 0, tag_add);
      put(header, at_flags, record.flags);
      break;
    case RecordKind::extend: put(header, 0, tag_extend); break;
    case RecordKind::unmeasured: put(header, 0, tag_unmeasured); break;
  }
  return header;
}

void add_page(Stream& stream, u64 offset, u64 flags, std::span<const u8, arch::page_size> content, bool measured) {
  stream.records.push_back({.kind = RecordKind::add, .offset = offset, .flags = flags});
  for (u64 at = 0; at < arch::page_size; at += chunk_bytes) {
    Record record{.kind = measured ? RecordKind::extend : RecordKind::unmeasured, .offset = offset + at};
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(at), chunk_bytes, record.data.begin());
    stream.records.push_back(record);
  }
}

Result<Stream> read_sgxs(std::span<const u8> bytes) { return Reader(bytes).read(); }

std::vector<u8> write_sgxs(const Stream& stream) {
  u64 size = header_bytes;
  for (const Record& record : stream.records) size += header_bytes + (record.kind != RecordKind::add ? chunk_bytes : 0);
  std::vector<u8> bytes(size);
  auto to = std::ranges::copy(create_header(stream), bytes.begin()).out;
  for (const Record& record : stream.records) {
    to = std::ranges::copy(header_of(record), to).out;
    if (record.kind != RecordKind::add) to = std::ranges::copy(record.data, to).out;
  }
  return bytes;
}

}  // namespace cloister::enclave
