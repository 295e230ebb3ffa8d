// The processors that a program has for domains, by what runs their code. Which there are only tools/ knows; which one
// a domain gets is chosen here.
#pragma once

#include <tl/expected.hpp>

#include "config/config.hpp"
#include "config/engine.hpp"
#include "text/diagnostic.hpp"
#include "text/json_fields.hpp"
#include "vmx/backend.hpp"

namespace cloister::toolstack {

/// Backends that outlive it.
class Processors {
 public:
  /// Null: this host or this build has none.
  using Find = const vmx::Backend* (*)();

  // NOLINTNEXTLINE(google-explicit-constructor): one backend is all that most who run domains have
  Processors(const vmx::Backend& interpreter, Find compiler = nullptr)
      : interpreter_(&interpreter), compiler_(compiler) {}

  /// For all that is no guest's code: engines do not differ in it.
  const vmx::Backend& any() const { return *interpreter_; }
  /// Null: there is none; of Engine::automatic, too.
  const vmx::Backend* with(Engine engine) const;

 private:
  const vmx::Backend* interpreter_;
  Find compiler_;
};

/// What the domain asks for, else the machine.
Engine wished_engine(const DomainConfig& config, Engine machine);

/// The engine that the domain gets: never Engine::automatic, and `processors` have it. The error stands at `engine`.
tl::expected<Engine, Diagnostic> choose_engine(const Processors& processors, const DomainConfig& config,
                                               Engine machine);

/// The member `engine` of what one program tells another. What is older has none: it knew one engine.
void read_engine(JsonFields& fields, Engine& engine);

}  // namespace cloister::toolstack
