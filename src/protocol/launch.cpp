// The launch message as JSON.
#include "protocol/launch.hpp"

#include "plan/processors.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

std::string write_launch(const LaunchMessage& message) {
  nlohmann::json cpus = nlohmann::json::array();
  for (const CpuSet& set : message.cpus) cpus.push_back(cpu_set_text(set));
  return json_text({{"id", message.id},
                    {"name", message.name},
                    {"config", message.config},
                    {"file", message.file},
                    {"grants", to_json(message.grants)},
                    {"package", to_json(message.package)},
                    {"engine", name_of(message.engine)},
                    {"cpus", std::move(cpus)},
                    {"goes_on", message.goes_on},
                    {"uuid", message.uuid},
                    {"arrives", message.arrives},
                    {"enclaves", message.enclaves},
                    {"waits", message.waits},
                    {"boot_cmdline", message.boot_cmdline}});
}

tl::expected<LaunchMessage, std::string> read_launch(std::string_view text) {
  const auto object = parse_object(text);
  if (!object) return tl::unexpected(object.error());
  LaunchMessage message;
  JsonFields fields(*object);
  fields.number("id", message.id).text("name", message.name).text("config", message.config).text("file", message.file);
  auto grants = read_grants(fields.list("grants"));
  if (!grants) fields.fail("'grants': " + grants.error());
  read_engine(fields, message.engine);
  fields.boolean("goes_on", message.goes_on).text("uuid", message.uuid).boolean("arrives", message.arrives);
  fields.boolean("enclaves", message.enclaves).boolean("waits", message.waits);
  fields.text("boot_cmdline", message.boot_cmdline);
  for (const nlohmann::json& one : fields.list("cpus")) {
    auto set = one.is_string() ? read_cpu_set(one.get<std::string>()) : std::nullopt;
    if (!set) fields.fail("'cpus': expected lists of processors");
    message.cpus.push_back(std::move(set).value_or(CpuSet()));
  }
  if (!fields.has("package")) fields.fail("'package' is missing");
  if (!fields.ok()) return tl::unexpected(fields.error());
  auto package = read_package_values((*object)["package"], message.config);
  if (!package) return tl::unexpected("'package': " + package.error());
  message.grants = std::move(*grants);
  message.package = std::move(*package);
  return message;
}

}  // namespace cloister::toolstack
