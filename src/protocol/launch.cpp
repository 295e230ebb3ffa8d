// The launch message as JSON.
#include "protocol/launch.hpp"

#include "text/json_fields.hpp"

namespace cloister::toolstack {

std::string write_launch(const LaunchMessage& message) {
  return json_text({{"id", message.id},
                    {"name", message.name},
                    {"config", message.config},
                    {"file", message.file},
                    {"grants", to_json(message.grants)},
                    {"package", to_json(message.package)}});
}

tl::expected<LaunchMessage, std::string> read_launch(std::string_view text) {
  const auto object = parse_object(text);
  if (!object) return tl::unexpected(object.error());
  LaunchMessage message;
  JsonFields fields(*object);
  fields.number("id", message.id).text("name", message.name).text("config", message.config).text("file", message.file);
  auto grants = read_grants(fields.list("grants"));
  if (!grants) fields.fail("'grants': " + grants.error());
  if (!fields.has("package")) fields.fail("'package' is missing");
  if (!fields.ok()) return tl::unexpected(fields.error());
  auto package = read_package_values((*object)["package"]);
  if (!package) return tl::unexpected("'package': " + package.error());
  message.grants = std::move(*grants);
  message.package = std::move(*package);
  return message;
}

}  // namespace cloister::toolstack
