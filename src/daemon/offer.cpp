#include "daemon/offer.hpp"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "text/json_fields.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::size_t longest_shape = 1 << 18, most_offered_keys = 2;

std::string hexadecimal(const u8* bytes, std::size_t size) {
  constexpr const char* digits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * size);
  for (std::size_t i = 0; i < size; ++i) {
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

int value_of(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return -1;
}

bool read_hexadecimal(const std::string& text, std::vector<u8>& to) {
  if (text.size() % 2 != 0) return false;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = value_of(text[i]), low = value_of(text[i + 1]);
    if (high < 0 || low < 0) return false;
    to.push_back(static_cast<u8>(high * 16 + low));
  }
  return true;
}

}  // namespace

nlohmann::json to_json(const Offer& offer) {
  nlohmann::json object{{"version", offer.defined ? offer_version : 1},
                        {"uuid", offer.uuid},
                        {"name", offer.name},
                        {"config", offer.config},
                        {"file", offer.file},
                        {"directory", offer.directory},
                        {"kernel_sha256", offer.kernel_sha256},
                        {"ramdisk_sha256", offer.ramdisk_sha256},
                        {"shape", hexadecimal(offer.shape.data(), offer.shape.size())},
                        {"enclaves", name_of(offer.enclaves)}};
  if (!offer.hello.empty()) object["hello"] = offer.hello;
  if (!offer.keys.empty()) object["keys"] = offer.keys;
  for (const auto& [vdev, mark] : offer.disks) object["disks"][vdev] = {{"mark", mark.byte}, {"bytes", mark.bytes}};
  if (offer.defined) object["defined"] = to_json(*offer.defined);
  if (!offer.refused.empty()) object["refused"] = offer.refused;
  return object;
}

namespace {

/// {"xvda": {"mark": …, "bytes": …}}
void read_offered_disks(const nlohmann::json& disks, JsonFields& fields, std::map<std::string, DiskMark>& to) {
  if (!disks.is_object() || disks.size() > most_disks)
    return void(fields.fail("'disks': expected an object of 16 disks at most"));
  for (auto one = disks.begin(); one != disks.end(); ++one) {
    DiskMark mark;
    JsonFields own(*one);
    own.number("mark", mark.byte).number("bytes", mark.bytes);
    if (!own.ok()) return void(fields.fail("'disks': " + own.error()));
    to.emplace(one.key(), mark);
  }
}

}  // namespace

tl::expected<Offer, std::string> read_offer(const nlohmann::json& object) {
  if (!object.is_object()) return tl::unexpected(std::string("expected an object"));
  Offer offer;
  u32 version = 0;
  std::string shape;
  JsonFields fields(object);
  fields.number("version", version);
  if (fields.ok() && (version < 1 || version > offer_version))
    fields.fail(fmt::format("'version': found {}, expected 1 to {}", version, offer_version));
  fields.text("uuid", offer.uuid).text("name", offer.name).text("config", offer.config).text("file", offer.file);
  fields.text("directory", offer.directory).text("kernel_sha256", offer.kernel_sha256);
  fields.text("ramdisk_sha256", offer.ramdisk_sha256).text("shape", shape);
  if (fields.has("enclaves")) {
    std::string word;
    fields.text("enclaves", word);
    if (fields.ok() && word != "keep" && word != "lose") fields.fail("'enclaves': expected \"keep\" or \"lose\"");
    offer.enclaves = word == "keep" ? MovedEnclaves::keep : MovedEnclaves::lose;
  }
  if (offer.enclaves == MovedEnclaves::keep) {
    fields.text("hello", offer.hello);
    if (fields.ok() && offer.hello.size() != hello_digits)
      fields.fail(fmt::format("'hello': found {} characters, expected {}", offer.hello.size(), hello_digits));
  }
  if (fields.ok() && object.contains("keys")) {
    const nlohmann::json& keys = object["keys"];
    if (!keys.is_object() || keys.size() > most_offered_keys ||
        !std::ranges::all_of(keys, [](const nlohmann::json& id) { return id.is_string(); }))
      fields.fail("'keys': expected an object of two texts at most");
    for (auto one = keys.begin(); fields.ok() && one != keys.end(); ++one)
      offer.keys[one.key()] = one.value().get<std::string>();
  }
  if (fields.ok() && object.contains("disks")) read_offered_disks(object["disks"], fields, offer.disks);
  if (fields.ok() && read_uuid(offer.uuid) != offer.uuid) fields.fail("'uuid': expected one, in its usual form");
  if (fields.ok() && (shape.size() > 2 * longest_shape || !read_hexadecimal(shape, offer.shape)))
    fields.fail("'shape': expected hexadecimal digits");
  if (!fields.ok()) return tl::unexpected(fields.error());
  if (object.contains("defined")) {
    if (version < offer_version || !object["defined"].is_object())
      return tl::unexpected(std::string("'defined': expected an object, in an offer of version 2"));
    auto defined = read_terms(object["defined"]);
    if (!defined) return tl::unexpected("'defined': " + defined.error());
    offer.defined = *defined;
  }
  return offer;
}

arch::Bytes32 offer_digest(const Offer& offer) {
  Offer said = offer;
  said.hello.clear();
  const std::string text = json_text(to_json(said));
  arch::Bytes32 digest{};
  SHA256(reinterpret_cast<const u8*>(text.data()), text.size(), digest.data());
  return digest;
}

}  // namespace cloister::toolstack
