#include "plan/processors.hpp"

#include <fmt/format.h>

namespace cloister::toolstack {

const vmx::Backend* Processors::with(Engine engine) const {
  switch (engine) {
    case Engine::automatic: break;
    case Engine::interpreter: return interpreter_;
    case Engine::compiler: return compiler_ != nullptr ? compiler_() : nullptr;
  }
  return nullptr;
}

Engine wished_engine(const DomainConfig& config, Engine machine) {
  return config.engine == Engine::automatic ? machine : config.engine;
}

tl::expected<Engine, Diagnostic> choose_engine(const Processors& processors, const DomainConfig& config,
                                               Engine machine) {
  const Engine wish = wished_engine(config, machine);
  if (processors.with(wish) != nullptr) return wish;
  if (wish == Engine::automatic)
    return processors.with(Engine::compiler) != nullptr ? Engine::compiler : Engine::interpreter;
  const bool own = config.engine != Engine::automatic;
  return tl::unexpected(
      Diagnostic{config.position_of("engine"),
                 fmt::format("{}: found \"{}\", which there is none of here, expected {}\"interpreter\"",
                             own ? "'engine'" : "the machine's 'engine'", name_of(wish), own ? "\"auto\" or " : "")});
}

void read_engine(JsonFields& fields, Engine& engine) {
  if (!fields.has("engine")) return;
  std::string word;
  if (!fields.text("engine", word).ok()) return;
  const auto read = read_engine(word);
  if (!read || *read == Engine::automatic) {
    fields.fail("'engine': found \"" + word + "\", expected \"interpreter\" or \"compiler\"");
    return;
  }
  engine = *read;
}

}  // namespace cloister::toolstack
