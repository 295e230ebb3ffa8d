// Members by the tables of vmx/features.hpp, so that writing and reading cannot differ.
#include "plan/features_json.hpp"

#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

using nlohmann::json;
using vmx::Features;
using vmx::SgxFeatures;

struct Byte {
  const char* name;
  u8 SgxFeatures::*value;
};
constexpr Byte byte_members[] = {{"epc_property", &SgxFeatures::epc_property},
                                 {"log2_size_32", &SgxFeatures::log2_size_32},
                                 {"log2_size_64", &SgxFeatures::log2_size_64}};

}  // namespace

json to_json(const Features& features) {
  json sgx{{"xfrm", features.sgx.xfrm}}, object{{"brand", features.brand}, {"signature", features.signature}};
  for (const vmx::SgxFlagRow& row : vmx::sgx_flag_rows) sgx[row.name] = features.sgx.*row.flag;
  for (const auto& [name, value] : byte_members) sgx[name] = features.sgx.*value;
  for (const vmx::FeatureWordRow& row : vmx::feature_word_rows) object[row.name] = features.*row.word;
  object["sgx"] = std::move(sgx);
  return object;
}

tl::expected<Features, std::string> read_features(const json& object) {
  Features features;
  JsonFields outer(object);
  outer.text("brand", features.brand).number("signature", features.signature);
  for (const vmx::FeatureWordRow& row : vmx::feature_word_rows) outer.number(row.name, features.*row.word);
  if (!outer.has("sgx")) outer.fail("'sgx' is missing");
  if (!outer.ok()) return tl::unexpected(outer.error());
  JsonFields inner(object["sgx"]);
  inner.number("xfrm", features.sgx.xfrm);
  for (const vmx::SgxFlagRow& row : vmx::sgx_flag_rows) {
    // A flag that came later than the record is one that its processor has not.
    features.sgx.*row.flag = false;
    if (inner.has(row.name)) inner.boolean(row.name, features.sgx.*row.flag);
  }
  for (const auto& [name, value] : byte_members) {
    u64 number = 0;
    inner.number(name, number, std::numeric_limits<u8>::max());
    features.sgx.*value = static_cast<u8>(number);
  }
  if (!inner.ok()) return tl::unexpected("'sgx': " + inner.error());
  return features;
}

}  // namespace cloister::toolstack
