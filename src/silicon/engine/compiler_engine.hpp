// An engine that translates blocks which run often to code of the host (compiler/translator.hpp), and interprets all
// else: blocks that cross a page, 16- and 32-bit code, single steps.
//
// A block that is not translated has a handler of the engine's in front, which counts entries. A translated one has the
// addresses at which its code goes on after a handler, as the handlers of the operations behind. Code goes from block
// to block by jumps, which are linked when they are first taken, and by the jump cache; each block looks itself whether
// it is stale, as well as at the budget and at attention. What is full begins anew, between two blocks.
#pragma once

#include <optional>
#include <span>
#include <unordered_map>

#include "silicon/engine/compiler/code_memory.hpp"
#include "silicon/engine/compiler/stubs.hpp"
#include "silicon/engine/compiler/translator.hpp"
#include "silicon/engine/compiler_options.hpp"
#include "silicon/engine/engine.hpp"

namespace cloister::silicon {

class CompilerEngine final : public Engine {
 public:
  explicit CompilerEngine(const CompilerOptions& options);

  void attach(Cpu& cpu) override;
  void take(Block& block) override;
  void run(Cpu& cpu, const Op* first) override;
  void forget() override;

  /// All code there is.
  std::span<const u8> code() const { return {slice_.executable, used_}; }

  // For what translated code calls.
  /// cpu.block has just been entered.
  void entered(Cpu& cpu, Block& block);
  /// The direct branch at `slot` of `from` leads to `to`, as long as neither is decoded anew.
  void link(Block& from, unsigned slot, Block& to);
  /// Its handlers run it, until it has been entered so often again.
  void give_up(Block& block);

 private:
  bool translate(Cpu& cpu, Block& block);
  void flush();
  void make_untranslated(Block& block);
  void unlink(Block& to);
  void patch(u32 displacement, u32 target);

  CompilerOptions options_;
  CodeMemory::Slice slice_;
  std::optional<Layout> layout_;
  Stubs stubs_;
  Cpu* cpu_ = nullptr;
  Block first_return_;  ///< BlockCode::after_call that is not known yet
  u32 begin_of_blocks_ = 0, used_ = 0;
  i32 blind_ = 0;
  std::vector<Block*> translated_;
  std::unordered_map<const Block*, std::vector<Translator::Site>> sites_;   ///< of translated blocks, by slot
  std::unordered_map<const Block*, std::vector<Translator::Site>> linked_;  ///< that lead to a block
};

}  // namespace cloister::silicon
