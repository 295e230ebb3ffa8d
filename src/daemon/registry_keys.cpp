// The registry's keys, a file each, as texts that say nothing without the wrap secret.
#include <unistd.h>

#include <algorithm>

#include "daemon/registry.hpp"
#include "host/durable.hpp"

namespace cloister::toolstack {

bool Registry::has_keys() const {
  const auto names = keys_ ? names_in(keys_.get()) : std::vector<std::string>{};
  return !names || std::ranges::any_of(*names, [](const std::string& name) { return key_of_file(name).has_value(); });
}

tl::expected<KeysRead, std::string> Registry::keys() const {
  KeysRead all;
  if (!keys_) return all;
  const auto names = names_in(keys_.get());
  if (!names) return tl::unexpected(paths_.keys().string() + ": " + names.error());
  for (const std::string& name : *names) {
    auto key = key_of_file(name);
    if (!key) {
      (key_of_file(unfinished_of(name)) ? all.unfinished : all.strays).push_back(name);
      continue;
    }
    const auto text = read_own_text(keys_.get(), name);
    if (text && !*text) continue;
    KeyFile file{.name = std::move(*key)};
    (text ? file.text : file.why) = text ? **text : text.error();
    all.files.push_back(std::move(file));
  }
  return all;
}

void Registry::tidy(const KeysRead& keys) const {
  for (const std::string& name : keys.unfinished) ::unlinkat(keys_.get(), name.c_str(), 0);
}

tl::expected<void, std::string> Registry::put_key(const KeyName& name, const std::string& text) const {
  return write_durably(keys_.get(), key_file(name), text);
}

tl::expected<void, std::string> Registry::remove_key(const KeyName& name) const {
  return remove_durably(keys_.get(), key_file(name));
}

tl::expected<std::string, std::string> Registry::set_aside_key(const KeyName& name) const {
  return set_aside(keys_.get(), key_file(name));
}

}  // namespace cloister::toolstack
