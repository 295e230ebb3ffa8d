// Definitions as JSON. The text is a string of it, which keeps every byte: it came as JSON, too.
#include "daemon/definition.hpp"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "arch/try.hpp"
#include "config/domain_name.hpp"
#include "text/alternatives.hpp"
#include "text/json_fields.hpp"
#include "text/uuid.hpp"
#include "verbs/start_delay.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::array<std::string_view, 3> autostart_words{"off", "on", "last"};  // by Autostart
constexpr std::size_t tag_bytes = 16;

}  // namespace

std::string_view name_of(Autostart autostart) { return autostart_words[static_cast<std::size_t>(autostart)]; }

tl::expected<Autostart, std::string> read_autostart(std::string_view word) {
  const auto* const found = std::ranges::find(autostart_words, word);
  if (found == autostart_words.end()) return tl::unexpected("expected " + alternatives(autostart_words));
  return static_cast<Autostart>(found - autostart_words.begin());
}

SgxPlatform platform_of(const DomainConfig& config, const Definition* definition) {
  if (config.sgx_platform) return *config.sgx_platform;
  const bool machine = definition != nullptr && definition->machine_keys;
  return {.keys = machine ? SgxPlatform::Keys::machine : SgxPlatform::Keys::own};
}

nlohmann::json to_json(const StartTerms& terms) {
  return {{"autostart", name_of(terms.autostart)}, {"order", terms.order}, {"delay_seconds", terms.delay_seconds}};
}

tl::expected<StartTerms, std::string> read_terms(const nlohmann::json& object) {
  StartTerms terms;
  std::string autostart;
  JsonFields fields(object);
  fields.text("autostart", autostart).number("order", terms.order).number("delay_seconds", terms.delay_seconds);
  if (!fields.ok()) return tl::unexpected(fields.error());
  const auto word = read_autostart(autostart);
  if (!word) return tl::unexpected("'autostart': " + word.error());
  terms.autostart = *word;
  terms.delay_seconds = std::min(terms.delay_seconds, longest_start_delay);  // earlier versions had no bound
  return terms;
}

std::string write_definition(const Definition& definition) {
  nlohmann::json object{{"version", definition_version},     {"uuid", definition.uuid},
                        {"name", definition.name},           {"owner", to_json(definition.owner)},
                        {"text", definition.text},           {"file", definition.file},
                        {"directory", definition.directory}, {"machine_keys", definition.machine_keys}};
  object.update(to_json(static_cast<const StartTerms&>(definition)));
  if (definition.in_doubt) object["in_doubt"] = to_json(*definition.in_doubt);
  return json_text(object);
}

std::string tag_of(const Definition& definition) {
  const std::string all = write_definition(definition);
  std::array<u8, SHA256_DIGEST_LENGTH> digest{};
  ::SHA256(reinterpret_cast<const u8*>(all.data()), all.size(), digest.data());
  std::string tag = "\"";
  for (std::size_t i = 0; i < tag_bytes; ++i) tag += fmt::format("{:02x}", digest[i]);
  return tag + '"';
}

tl::expected<Definition, std::string> read_definition(std::string_view text) {
  const auto object = TRY(parse_object(text));
  Definition definition;
  u32 version = 0;
  JsonFields fields(object);
  fields.number("version", version);
  if (fields.ok() && (version < 1 || version > definition_version))
    fields.fail(fmt::format("'version': {}, of which this daemon knows 1 to {}", version, definition_version));
  fields.text("uuid", definition.uuid).text("name", definition.name).text("text", definition.text);
  fields.text("file", definition.file).text("directory", definition.directory);
  definition.machine_keys = version == 1;
  if (version > 1) fields.boolean("machine_keys", definition.machine_keys);
  if (fields.ok() && !fields.has("owner")) fields.fail("'owner' is missing");
  if (!fields.ok()) return tl::unexpected(fields.error());
  const auto uuid = read_uuid(definition.uuid);
  if (!uuid || *uuid != definition.uuid) return tl::unexpected(std::string("'uuid': expected a uuid in lower case"));
  if (const auto why = name_refused(definition.name)) return tl::unexpected("'name': " + *why);
  auto owner = read_owner(object["owner"]);
  if (!owner) return tl::unexpected("'owner': " + owner.error());
  definition.owner = std::move(*owner);
  static_cast<StartTerms&>(definition) = TRY(read_terms(object));
  if (fields.has("in_doubt")) {
    auto doubt = read_doubt(object["in_doubt"]);
    if (!doubt) return tl::unexpected("'in_doubt': " + doubt.error());
    definition.in_doubt = std::move(*doubt);
  }
  return definition;
}

}  // namespace cloister::toolstack
