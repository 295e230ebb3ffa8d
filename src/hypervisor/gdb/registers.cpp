// One row a register, in the order of GDB's 64bit-core.xml, 64bit-sse.xml and 64bit-segments.xml. The x87 environment
// comes from the FXSAVE image (SDM vol. 1, table 10-2), whose tag word is abridged (10.5.1.1).
#include "hypervisor/gdb/registers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace cloister::hypervisor::gdb {
namespace {

constexpr unsigned fcw = 0, fsw = 2, ftw = 4, fop = 6, fip = 8, fdp = 16, mxcsr = 24, st0 = 32, xmm0 = 160;
constexpr unsigned slot = 16;  // bytes of an st or xmm slot

u64 load(const vmx::FxsaveImage& image, unsigned offset, unsigned bytes) {
  u64 value = 0;
  std::memcpy(&value, image.data() + offset, bytes);
  return value;
}

/// Two bits a physical register: 0 valid, 1 zero, 2 special, 3 empty (SDM vol. 1, 8.1.7).
u64 full_tag_word(const vmx::FxsaveImage& image) {
  const unsigned top = static_cast<unsigned>(load(image, fsw, 2) >> 11) & 7;
  u64 tags = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    u64 tag = 3;
    if (((load(image, ftw, 1) >> physical) & 1) != 0) {
      const unsigned at = st0 + ((physical - top) & 7) * slot;
      const u64 mantissa = load(image, at, 8), exponent = load(image, at + 8, 2) & 0x7fff;
      if (exponent == 0 && mantissa == 0) {
        tag = 1;
      } else {
        tag = exponent == 0 || exponent == 0x7fff || (mantissa >> 63) == 0 ? 2 : 0;
      }
    }
    tags |= tag << (2 * physical);
  }
  return tags;
}

u64 abridged_tag_word(u64 tags) {
  u64 valid = 0;
  for (unsigned i = 0; i < 8; ++i) valid |= u64{((tags >> (2 * i)) & 3) != 3} << i;
  return valid;
}

enum class Source : u8 { gpr, rip, rflags, selector, segment_base, fpu, upper, tag_word, control, zero };

struct RegisterRow {
  const char* name;
  u16 bits;
  const char* type;
  Source source;
  u16 index;  ///< register number, also of an upper half; offset in the FXSAVE image
};

enum Control : u16 { cr0, cr2, cr3, cr4, cr8, efer };

u64 control_of(const vmx::SystemRegs& system, u16 index) {
  switch (index) {
    case cr0: return system.cr0;
    case cr2: return system.cr2;
    case cr3: return system.cr3;
    case cr4: return system.cr4;
    case cr8: return system.cr8;
    default: return system.efer;
  }
}

constexpr RegisterRow core[] = {
    {"rax", 64, "int64", Source::gpr, arch::rax},
    {"rbx", 64, "int64", Source::gpr, arch::rbx},
    {"rcx", 64, "int64", Source::gpr, arch::rcx},
    {"rdx", 64, "int64", Source::gpr, arch::rdx},
    {"rsi", 64, "int64", Source::gpr, arch::rsi},
    {"rdi", 64, "int64", Source::gpr, arch::rdi},
    {"rbp", 64, "data_ptr", Source::gpr, arch::rbp},
    {"rsp", 64, "data_ptr", Source::gpr, arch::rsp},
    {"r8", 64, "int64", Source::gpr, arch::r8},
    {"r9", 64, "int64", Source::gpr, arch::r9},
    {"r10", 64, "int64", Source::gpr, arch::r10},
    {"r11", 64, "int64", Source::gpr, arch::r11},
    {"r12", 64, "int64", Source::gpr, arch::r12},
    {"r13", 64, "int64", Source::gpr, arch::r13},
    {"r14", 64, "int64", Source::gpr, arch::r14},
    {"r15", 64, "int64", Source::gpr, arch::r15},
    {"rip", 64, "code_ptr", Source::rip, 0},
    {"eflags", 32, "i386_eflags", Source::rflags, 0},
    {"cs", 32, "int32", Source::selector, arch::seg_cs},
    {"ss", 32, "int32", Source::selector, arch::seg_ss},
    {"ds", 32, "int32", Source::selector, arch::seg_ds},
    {"es", 32, "int32", Source::selector, arch::seg_es},
    {"fs", 32, "int32", Source::selector, arch::seg_fs},
    {"gs", 32, "int32", Source::selector, arch::seg_gs},
    {"st0", 80, "i387_ext", Source::fpu, st0},
    {"st1", 80, "i387_ext", Source::fpu, st0 + 1 * slot},
    {"st2", 80, "i387_ext", Source::fpu, st0 + 2 * slot},
    {"st3", 80, "i387_ext", Source::fpu, st0 + 3 * slot},
    {"st4", 80, "i387_ext", Source::fpu, st0 + 4 * slot},
    {"st5", 80, "i387_ext", Source::fpu, st0 + 5 * slot},
    {"st6", 80, "i387_ext", Source::fpu, st0 + 6 * slot},
    {"st7", 80, "i387_ext", Source::fpu, st0 + 7 * slot},
    {"fctrl", 32, "int", Source::fpu, fcw},
    {"fstat", 32, "int", Source::fpu, fsw},
    {"ftag", 32, "int", Source::tag_word, 0},
    {"fiseg", 32, "int", Source::zero, 0},
    {"fioff", 32, "int", Source::fpu, fip},
    {"foseg", 32, "int", Source::zero, 0},
    {"fooff", 32, "int", Source::fpu, fdp},
    {"fop", 32, "int", Source::fpu, fop},
};

constexpr RegisterRow sse[] = {
    {"xmm0", 128, "vec128", Source::fpu, xmm0},
    {"xmm1", 128, "vec128", Source::fpu, xmm0 + 1 * slot},
    {"xmm2", 128, "vec128", Source::fpu, xmm0 + 2 * slot},
    {"xmm3", 128, "vec128", Source::fpu, xmm0 + 3 * slot},
    {"xmm4", 128, "vec128", Source::fpu, xmm0 + 4 * slot},
    {"xmm5", 128, "vec128", Source::fpu, xmm0 + 5 * slot},
    {"xmm6", 128, "vec128", Source::fpu, xmm0 + 6 * slot},
    {"xmm7", 128, "vec128", Source::fpu, xmm0 + 7 * slot},
    {"xmm8", 128, "vec128", Source::fpu, xmm0 + 8 * slot},
    {"xmm9", 128, "vec128", Source::fpu, xmm0 + 9 * slot},
    {"xmm10", 128, "vec128", Source::fpu, xmm0 + 10 * slot},
    {"xmm11", 128, "vec128", Source::fpu, xmm0 + 11 * slot},
    {"xmm12", 128, "vec128", Source::fpu, xmm0 + 12 * slot},
    {"xmm13", 128, "vec128", Source::fpu, xmm0 + 13 * slot},
    {"xmm14", 128, "vec128", Source::fpu, xmm0 + 14 * slot},
    {"xmm15", 128, "vec128", Source::fpu, xmm0 + 15 * slot},
    {"mxcsr", 32, "int", Source::fpu, mxcsr},
};

constexpr RegisterRow avx[] = {
    {"ymm0h", 128, "uint128", Source::upper, 0},   {"ymm1h", 128, "uint128", Source::upper, 1},
    {"ymm2h", 128, "uint128", Source::upper, 2},   {"ymm3h", 128, "uint128", Source::upper, 3},
    {"ymm4h", 128, "uint128", Source::upper, 4},   {"ymm5h", 128, "uint128", Source::upper, 5},
    {"ymm6h", 128, "uint128", Source::upper, 6},   {"ymm7h", 128, "uint128", Source::upper, 7},
    {"ymm8h", 128, "uint128", Source::upper, 8},   {"ymm9h", 128, "uint128", Source::upper, 9},
    {"ymm10h", 128, "uint128", Source::upper, 10}, {"ymm11h", 128, "uint128", Source::upper, 11},
    {"ymm12h", 128, "uint128", Source::upper, 12}, {"ymm13h", 128, "uint128", Source::upper, 13},
    {"ymm14h", 128, "uint128", Source::upper, 14}, {"ymm15h", 128, "uint128", Source::upper, 15},
};

constexpr RegisterRow bases[] = {
    {"fs_base", 64, "int64", Source::segment_base, arch::seg_fs},
    {"gs_base", 64, "int64", Source::segment_base, arch::seg_gs},
};

constexpr RegisterRow controls[] = {
    {"cr0", 64, "int64", Source::control, cr0}, {"cr2", 64, "int64", Source::control, cr2},
    {"cr3", 64, "int64", Source::control, cr3}, {"cr4", 64, "int64", Source::control, cr4},
    {"cr8", 64, "int64", Source::control, cr8}, {"efer", 64, "int64", Source::control, efer},
};

struct Feature {
  const char* name;
  const char* types;  ///< XML
  std::span<const RegisterRow> rows;
};

constexpr const char* flag_types =
    R"(<flags id="i386_eflags" size="4">)"
    R"(<field name="CF" start="0" end="0"/><field name="" start="1" end="1"/><field name="PF" start="2" end="2"/>)"
    R"(<field name="AF" start="4" end="4"/><field name="ZF" start="6" end="6"/><field name="SF" start="7" end="7"/>)"
    R"(<field name="TF" start="8" end="8"/><field name="IF" start="9" end="9"/><field name="DF" start="10" end="10"/>)"
    R"(<field name="OF" start="11" end="11"/><field name="NT" start="14" end="14"/>)"
    R"(<field name="RF" start="16" end="16"/><field name="VM" start="17" end="17"/>)"
    R"(<field name="AC" start="18" end="18"/><field name="VIF" start="19" end="19"/>)"
    R"(<field name="VIP" start="20" end="20"/><field name="ID" start="21" end="21"/></flags>)";

constexpr const char* vector_types =
    R"(<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>)"
    R"(<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>)"
    R"(<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>)"
    R"(<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>)"
    R"(<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/>)"
    R"(<field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>)"
    R"(<field name="uint128" type="uint128"/></union>)";

const Feature features[] = {
    {"org.gnu.gdb.i386.core", flag_types, core}, {"org.gnu.gdb.i386.sse", vector_types, sse},
    {"org.gnu.gdb.i386.avx", "", avx},           {"org.gnu.gdb.i386.segments", "", bases},
    {"org.cloister.control", "", controls},
};

const RegisterRow* find(unsigned n) {
  for (const Feature& feature : features) {
    if (n < feature.rows.size()) return &feature.rows[n];
    n -= static_cast<unsigned>(feature.rows.size());
  }
  return nullptr;
}

/// Bytes of the FXSAVE image that a register has; GDB shows 16-bit fields as 32 bits.
unsigned fpu_bytes(const RegisterRow& row) {
  if (row.index == fcw || row.index == fsw || row.index == fop) return 2;
  return row.bits / 8u;
}

u64 scalar(const RegisterFile& file, const RegisterRow& row) {
  switch (row.source) {
    case Source::gpr: return file.general.gpr[row.index];
    case Source::rip: return file.general.rip;
    case Source::rflags: return file.general.rflags;
    case Source::selector: return file.system.seg[row.index].selector;
    case Source::segment_base: return file.system.seg[row.index].base;
    case Source::tag_word: return full_tag_word(file.fpu);
    case Source::control: return control_of(file.system, row.index);
    case Source::fpu:
    case Source::upper:
    case Source::zero: break;
  }
  return 0;
}

}  // namespace

unsigned register_count() {
  std::size_t count = 0;
  for (const Feature& feature : features) count += feature.rows.size();
  return static_cast<unsigned>(count);
}

std::vector<u8> get_register(const RegisterFile& file, unsigned n) {
  const RegisterRow& row = *find(n);
  std::vector<u8> bytes(row.bits / 8u);
  if (row.source == Source::fpu) {
    std::copy_n(file.fpu.begin() + row.index, fpu_bytes(row), bytes.begin());
  } else if (row.source == Source::upper) {
    std::copy_n(file.upper.begin() + slot * row.index, slot, bytes.begin());
  } else {
    const u64 value = scalar(file, row);
    std::memcpy(bytes.data(), &value, std::min(bytes.size(), sizeof value));
  }
  return bytes;
}

bool set_register(RegisterFile& file, unsigned n, std::span<const u8> bytes) {
  const RegisterRow* row = find(n);
  if (row == nullptr || bytes.size() != row->bits / 8u) return false;
  if (row->source == Source::fpu) {
    std::copy_n(bytes.begin(), fpu_bytes(*row), file.fpu.begin() + row->index);
    return true;
  }
  if (row->source == Source::upper) {
    std::copy_n(bytes.begin(), slot, file.upper.begin() + slot * row->index);
    return true;
  }
  u64 value = 0;
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  switch (row->source) {
    case Source::gpr: file.general.gpr[row->index] = value; return true;
    case Source::rip: file.general.rip = value; return true;
    case Source::rflags: file.general.rflags = (value & arch::rflags::defined) | arch::rflags::fixed1; return true;
    case Source::segment_base: file.system.seg[row->index].base = value; return true;
    case Source::tag_word: file.fpu[ftw] = static_cast<u8>(abridged_tag_word(value)); return true;
    default: return false;
  }
}

const std::string& target_description() {
  static const std::string text = [] {
    std::string xml =
        "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
        "<target version=\"1.0\"><architecture>i386:x86-64</architecture>";
    for (const Feature& feature : features) {
      xml += fmt::format("<feature name=\"{}\">{}", feature.name, feature.types);
      for (const RegisterRow& row : feature.rows)
        xml += fmt::format("<reg name=\"{}\" bitsize=\"{}\" type=\"{}\"/>", row.name, row.bits, row.type);
      xml += "</feature>";
    }
    return xml + "</target>";
  }();
  return text;
}

}  // namespace cloister::hypervisor::gdb
