#include "enclave/describe.hpp"

#include <fmt/format.h>

#include "enclave/measure.hpp"

namespace cloister::enclave {
namespace {

struct Flag {
  u64 bit;
  const char* name;
};
constexpr Flag attribute_names[] = {
    {arch::attributes::init, "init"},
    {arch::attributes::debug, "debug"},
    {arch::attributes::mode64bit, "mode64bit"},
    {arch::attributes::provisionkey, "provision_key"},
    {arch::attributes::einittokenkey, "einittoken_key"},
    {arch::attributes::cet, "cet"},
    {arch::attributes::kss, "kss"},
    {arch::attributes::aexnotify, "aexnotify"},
};

std::string attribute_words(u64 flags) {
  std::string words;
  for (const Flag& flag : attribute_names) {
    if ((flags & flag.bit) != 0) words += fmt::format(" {}", flag.name);
  }
  return words;
}

/// Neighbouring pages of the same kind, for one line.
struct Run {
  u64 from = 0, to = 0, flags = 0;
  u64 measured = 0, unmeasured = 0;  // chunks
};

std::string line(const Run& run) {
  using namespace arch::secinfo_flags;
  const bool tcs = (run.flags & page_type) >> page_type_shift == static_cast<u8>(arch::PageType::tcs);
  const std::string kind = tcs ? "tcs"
                               : fmt::format("{}{}{}", (run.flags & r) != 0 ? 'r' : '-',
                                             (run.flags & w) != 0 ? 'w' : '-', (run.flags & x) != 0 ? 'x' : '-');
  const u64 pages = (run.to - run.from) / arch::page_size, chunks = pages * (arch::page_size / chunk_bytes);
  std::string text = fmt::format("  {:#010x}-{:#010x}  {}  {} KiB", run.from, run.to - 1, kind, pages * 4);
  if (run.measured != chunks) text += fmt::format(", {} of {} chunks measured", run.measured, chunks);
  return text + "\n";
}

}  // namespace

std::string hex(std::span<const u8> bytes) {
  std::string text;
  for (u8 byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

std::string describe(const Stream& stream) {
  std::string text = fmt::format("size            {:#x}\n", stream.size);
  text += fmt::format("ssa_frame_pages {}\n", stream.ssa_frame_pages);
  text += fmt::format("mrenclave       {}\n", hex(measure(stream)));
  text += "pages\n";
  Run run;
  for (const Record& record : stream.records) {
    if (record.kind == RecordKind::extend) run.measured++;
    if (record.kind == RecordKind::unmeasured) run.unmeasured++;
    if (record.kind != RecordKind::add) continue;
    if (run.to == record.offset && run.flags == record.flags && run.to != 0) {
      run.to += arch::page_size;
      continue;
    }
    if (run.to != 0) text += line(run);
    run = {.from = record.offset, .to = record.offset + arch::page_size, .flags = record.flags};
  }
  if (run.to != 0) text += line(run);
  return text;
}

std::string describe(const arch::Sigstruct& s) {
  std::string text = fmt::format("mrenclave       {}\n", hex(s.enclavehash));
  text += fmt::format("mrsigner        {}\n", hex(mrsigner(s)));
  text += fmt::format("isvprodid       {}\n", s.isvprodid);
  text += fmt::format("isvsvn          {}\n", s.isvsvn);
  text += fmt::format("date            {:08x}\n", s.date);
  text += fmt::format("attributes      {:#x} of {:#x}:{}\n", s.attributes.flags, s.attributemask.flags,
                      attribute_words(s.attributes.flags));
  text += fmt::format("xfrm            {:#x} of {:#x}\n", s.attributes.xfrm, s.attributemask.xfrm);
  text += fmt::format("miscselect      {:#x} of {:#x}\n", s.miscselect, s.miscmask);
  if (s.isvfamilyid != arch::Bytes16{}) text += fmt::format("isvfamilyid     {}\n", hex(s.isvfamilyid));
  if (s.isvextprodid != arch::Bytes16{}) text += fmt::format("isvextprodid    {}\n", hex(s.isvextprodid));
  const auto good = check(s);
  text += fmt::format("signature       {}\n", good ? "good" : good.error());
  return text;
}

}  // namespace cloister::enclave
