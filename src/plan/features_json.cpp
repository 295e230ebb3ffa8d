// Members by tables, so that writing and reading cannot differ.
#include "plan/features_json.hpp"

#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

using nlohmann::json;
using vmx::Features;
using vmx::SgxFeatures;

template <class Of, class Type>
struct Member {
  const char* name;
  Type Of::*value;
};

constexpr Member<Features, u32> words[] = {
    {"signature", &Features::signature},      {"leaf1_ecx", &Features::leaf1_ecx},
    {"leaf1_edx", &Features::leaf1_edx},      {"leaf7_ebx", &Features::leaf7_ebx},
    {"leaf7_ecx", &Features::leaf7_ecx},      {"leaf7_edx", &Features::leaf7_edx},
    {"xsave_eax", &Features::xsave_eax},      {"extended_ecx", &Features::extended_ecx},
    {"extended_edx", &Features::extended_edx}};
constexpr Member<SgxFeatures, bool> flags[] = {
    {"sgx2", &SgxFeatures::sgx2},          {"enclv", &SgxFeatures::enclv},   {"oss", &SgxFeatures::oss},
    {"edeccssa", &SgxFeatures::edeccssa},  {"exinfo", &SgxFeatures::exinfo}, {"kss", &SgxFeatures::kss},
    {"aexnotify", &SgxFeatures::aexnotify}};
constexpr Member<SgxFeatures, u8> bytes[] = {{"epc_property", &SgxFeatures::epc_property},
                                             {"log2_size_32", &SgxFeatures::log2_size_32},
                                             {"log2_size_64", &SgxFeatures::log2_size_64}};

}  // namespace

json to_json(const Features& features) {
  json sgx{{"xfrm", features.sgx.xfrm}}, object{{"brand", features.brand}};
  for (const auto& [name, value] : flags) sgx[name] = features.sgx.*value;
  for (const auto& [name, value] : bytes) sgx[name] = features.sgx.*value;
  for (const auto& [name, value] : words) object[name] = features.*value;
  object["sgx"] = std::move(sgx);
  return object;
}

tl::expected<Features, std::string> read_features(const json& object) {
  Features features;
  JsonFields outer(object);
  outer.text("brand", features.brand);
  for (const auto& [name, value] : words) outer.number(name, features.*value);
  if (!outer.has("sgx")) outer.fail("'sgx' is missing");
  if (!outer.ok()) return tl::unexpected(outer.error());
  JsonFields inner(object["sgx"]);
  inner.number("xfrm", features.sgx.xfrm);
  for (const auto& [name, value] : flags) inner.boolean(name, features.sgx.*value);
  for (const auto& [name, value] : bytes) {
    u64 number = 0;
    inner.number(name, number, std::numeric_limits<u8>::max());
    features.sgx.*value = static_cast<u8>(number);
  }
  if (!inner.ok()) return tl::unexpected("'sgx': " + inner.error());
  return features;
}

}  // namespace cloister::toolstack
