// The engines there are, and the plain one: handlers as they were decoded, each of which goes on to the next.
#include "silicon/engine/engines.hpp"

#include "silicon/engine/checked_engine.hpp"
#include "silicon/engine/compiler/code_memory.hpp"
#include "silicon/engine/compiler_engine.hpp"
#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {

namespace {

class Interpreter final : public Engine {
 public:
  void take(Block&) override {}
  void run(Cpu& cpu, const Op* first) override {
#if defined(CLOISTER_THREADED)
    first->handler(cpu, first);
#else
    for (const Op* op = first; op != nullptr; op = cpu.next) {
      cpu.next = nullptr;
      op->handler(cpu, op);
    }
#endif
  }
};

}  // namespace

bool engine_available(EngineKind kind) {
  switch (kind) {
    case EngineKind::interpreter:
    case EngineKind::checked: return true;
    case EngineKind::compiler: break;
  }
#if defined(CLOISTER_THREADED)
  return CodeMemory::possible();
#else
  return false;
#endif
}

void prepare_engine([[maybe_unused]] EngineKind kind) {
#if defined(CLOISTER_THREADED)
  if (kind == EngineKind::compiler) CodeMemory::get();
#endif
}

std::unique_ptr<Engine> make_engine(EngineKind kind) {
  switch (kind) {
    case EngineKind::interpreter: break;
    case EngineKind::checked: return std::make_unique<CheckedEngine>();
    case EngineKind::compiler:
#if defined(CLOISTER_THREADED)
      return std::make_unique<CompilerEngine>(compiler_options());
#else
      break;
#endif
  }
  return std::make_unique<Interpreter>();
}

}  // namespace cloister::silicon
