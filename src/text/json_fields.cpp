// "'NAME': expected …": what was found is the writer's own text, which they can look up.
#include "text/json_fields.hpp"

#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {
using nlohmann::json;
const json no_elements = json::array();
}  // namespace

tl::expected<json, std::string> parse_object(std::string_view text, const JsonBounds& bounds) {
  auto value = parse_json(text, bounds);
  if (value && !value->is_object()) return tl::unexpected(std::string("expected a JSON object"));
  return value;
}

JsonFields::JsonFields(const json& object) : object_(object) {
  if (!object.is_object()) error_ = "expected a JSON object";
}

const json* JsonFields::find(const char* name) {
  if (!ok()) return nullptr;
  known_.emplace(name);
  const auto found = object_.find(name);
  if (found != object_.end()) return &*found;
  error_ = std::string("'") + name + "' is missing";
  return nullptr;
}

void JsonFields::wrong(const char* name, const char* expected) {
  error_ = std::string("'") + name + "': expected " + expected;
}

void JsonFields::fail(std::string why) {
  if (ok()) error_ = std::move(why);
}

JsonFields& JsonFields::text(const char* name, std::string& to) {
  const json* value = find(name);
  if (value == nullptr) return *this;
  if (!value->is_string()) return wrong(name, "a string"), *this;
  to = value->get_ref<const std::string&>();
  return *this;
}

JsonFields& JsonFields::number(const char* name, u64& to, u64 most) {
  const json* value = find(name);
  if (value == nullptr) return *this;
  if (!value->is_number_unsigned() || value->get<u64>() > most) {
    const std::string found = value->is_number() ? "found " + value->dump() + ", " : "";
    error_ = std::string("'") + name + "': " + found + "expected a whole number from 0 to " + std::to_string(most);
    return *this;
  }
  to = value->get<u64>();
  return *this;
}

JsonFields& JsonFields::number(const char* name, u32& to, u32 most) {
  u64 wide = to;
  number(name, wide, u64{most});
  to = static_cast<u32>(wide);
  return *this;
}

JsonFields& JsonFields::boolean(const char* name, bool& to) {
  const json* value = find(name);
  if (value == nullptr) return *this;
  if (!value->is_boolean()) return wrong(name, "true or false"), *this;
  to = value->get<bool>();
  return *this;
}

const json& JsonFields::list(const char* name) {
  const json* value = find(name);
  if (value == nullptr) return no_elements;
  if (!value->is_array()) return wrong(name, "an array"), no_elements;
  return *value;
}

void JsonFields::refuse_others() {
  if (!ok()) return;
  for (const auto& member : object_.items()) {
    if (!known_.contains(member.key())) return fail("unknown member '" + cut(member.key()) + "'");
  }
}

}  // namespace cloister::toolstack
