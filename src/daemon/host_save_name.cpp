#include "daemon/host_save_name.hpp"

#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {
constexpr std::string_view running_word = ".running", paused_word = ".paused";
}  // namespace

std::string host_save_name(const HostSave& save) {
  return save.uuid + std::string(save.paused ? paused_word : running_word);
}

std::optional<HostSave> read_host_save(std::string_view name) {
  for (const std::string_view word : {running_word, paused_word}) {
    if (!name.ends_with(word)) continue;
    HostSave save{.uuid = std::string(name.substr(0, name.size() - word.size())), .paused = word == paused_word};
    if (read_uuid(save.uuid) == save.uuid) return save;
  }
  return std::nullopt;
}

}  // namespace cloister::toolstack
