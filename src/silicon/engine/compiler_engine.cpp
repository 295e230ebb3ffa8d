// When blocks are translated, where their code goes, and what leads from one to another.
#include "silicon/engine/compiler_engine.hpp"

#include <sys/random.h>

#include <cstring>

#include "silicon/state/dispatch.hpp"
#include "silicon/state/modes.hpp"

namespace cloister::silicon {

namespace {

CompilerOptions& options_now() {
  static CompilerOptions options;
  return options;
}

CompilerEngine& engine_of(Cpu& cpu) { return static_cast<CompilerEngine&>(*cpu.engine); }

/// In front of a block that is not translated.
void op_entered(Cpu& cpu, const Op* op) {
  Block& block = *cpu.block;
  engine_of(cpu).entered(cpu, block);
  const Handler handler = block.code.translated ? op->handler : block.code.handlers[op - block.ops.data()];
  return handler(cpu, op);
}

void enter_from_code(Cpu& cpu, Block* block) {
  const u64 rip = cpu.gpr[reg_rip_base];
  if (block->stale()) return jump_slow(cpu, rip);
  return enter_block(cpu, block, rip);
}

void branch_from_code(Cpu& cpu, Block* from, u64 slot) {
  const u64 rip = cpu.gpr[reg_rip_base];
  Block* const target = recent_block(cpu, rip);
  if (target == nullptr) return jump_slow(cpu, rip);
  engine_of(cpu).link(*from, static_cast<unsigned>(slot), *target);
  return enter_block(cpu, target, rip);
}

void give_up_from_code(Cpu& cpu, Block* block, u64 op) {
  cpu.block = block;
  cpu.budget += block->code.rest;
  engine_of(cpu).give_up(*block);
  cpu.counters.interpreted += block->count - op;
  // Not by Op::handler, which counts an entry if it is the first.
  return block->handlers[op](cpu, &block->ops[op]);
}

void make_image(Cpu& cpu) { cpu.flags.make_image(); }

/// So much room that the largest block's code fits.
constexpr u32 largest_code = u32{64} << 10;
constexpr u32 alignment = 16;

/// The way into code and out of it, to handlers, costs as much as some operations: a block that is little but handlers
/// runs faster as it is.
bool is_worth_it(const Block& block) {
  u32 handlers = 0;
  for (u32 i = 0; i < block.count; ++i) handlers += known(block.ops[i], block.forms[i]).kind == Kind::handler;
  return handlers * 5 <= block.count * 3;
}

i32 random_constant() {
  u32 value = 0;
  while (::getrandom(&value, sizeof value, 0) != sizeof value) {
  }
  // Neither small nor near the ends, so that every constant changes.
  return static_cast<i32>((value & 0x3fff'ffff) | 0x1000'0000);
}

}  // namespace

void set_compiler_options(const CompilerOptions& options) { options_now() = options; }
const CompilerOptions& compiler_options() { return options_now(); }

CompilerEngine::CompilerEngine(const CompilerOptions& options)
    : options_(options), slice_(CodeMemory::get().take()), blind_(options.blinded ? random_constant() : 0) {}

void CompilerEngine::run(Cpu& cpu, const Op* first) {
  if (!slice_) return first->handler(cpu, first);
  stubs_.run(cpu, first);
}

void CompilerEngine::attach(Cpu& cpu) {
  cpu_ = &cpu;
  cpu.counters.works = static_cast<bool>(slice_);
  if (!slice_) return;
  layout_.emplace(cpu);
  Encoder code(slice_.executable);
  stubs_ = Stubs(code, *layout_, {enter_from_code, branch_from_code, give_up_from_code, make_image});
  const std::vector<u8>& bytes = code.finish();
  std::memcpy(slice_.writable, bytes.data(), bytes.size());
  synchronize_code();
  first_return_.code.entry = stubs_.first_return;
  begin_of_blocks_ = used_ = (static_cast<u32>(bytes.size()) + alignment - 1) & ~(alignment - 1);
}

void CompilerEngine::take(Block& block) {
  if (block.code.translated) {
    unlink(block);
    sites_.erase(&block);
  }
  block.handlers.clear();
  for (const Op& op : block.ops) block.handlers.push_back(op.handler);
  block.code = {.entry = stubs_.interpret,
                .block = &block,
                .ops = block.ops.data(),
                .handlers = block.handlers.data(),
                .after_call = &first_return_};
  // Some may be behind a call of the block as it was.
  cpu_->forget_returns();
  if (block.passing && options_.entries != 0) return;
  block.ops[block.prologue].handler = op_entered;
}

void CompilerEngine::entered(Cpu& cpu, Block& block) {
  if (block.code.entries++ == options_.entries && translate(cpu, block)) return;
  cpu_->counters.interpreted += block.count;
}

bool CompilerEngine::translate(Cpu& cpu, Block& block) {
  if (!slice_ || block.crosses() || code_mode(cpu) != CodeMode::bits64) return false;
  if (options_.entries != 0 && !is_worth_it(block)) return false;
  if (used_ + largest_code > options_.code_bytes) flush();
  Translator::Setting setting{.layout = *layout_,
                              .stubs = stubs_,
                              .origin = slice_.executable + used_,
                              .blind = blind_,
                              .sse_unmasked = cpu.fpu.sse_unmasked};
  // What its accesses have in common is seen when it has been translated once.
  const Trace trace = trace_from(block, cpu.gpr[reg_rip_base]);
  std::optional<Translator> translated(std::in_place, trace, setting);
  setting.groups = translated->groups();
  if (!setting.groups.empty()) translated.emplace(trace, setting);
  Translator& translator = *translated;
  const std::vector<u8>& code = translator.code();
  if (code.size() > largest_code) return false;
  std::memcpy(slice_.writable + used_, code.data(), code.size());
  synchronize_code();
  block.ops[0].handler = block.handlers[0];
  for (const Translator::Resumption& r : translator.resumptions())
    block.ops[r.op].handler = reinterpret_cast<Handler>(reinterpret_cast<u64>(slice_.executable + used_ + r.offset));
  std::vector<Translator::Site>& sites = sites_[&block] = translator.sites();
  for (auto& site : sites) site = {site.displacement + used_, site.unlinked + used_};
  block.code.rest = translator.rest();
  block.code.entry = slice_.executable + used_;
  block.code.translated = true;
  translated_.push_back(&block);
  ++cpu_->counters.blocks;
  cpu_->counters.bytes += code.size();
  used_ = (used_ + static_cast<u32>(code.size()) + alignment - 1) & ~(alignment - 1);
  return true;
}

void CompilerEngine::patch(u32 displacement, u32 target) {
  const u32 distance = target - (displacement + 4);
  std::memcpy(slice_.writable + displacement, &distance, sizeof distance);
}

void CompilerEngine::link(Block& from, unsigned slot, Block& to) {
  if (!to.code.translated || to.crosses()) return;
  const auto found = sites_.find(&from);
  if (found == sites_.end()) return;
  const Translator::Site site = found->second[slot];
  patch(site.displacement, static_cast<u32>(static_cast<const u8*>(to.code.entry) - slice_.executable));
  synchronize_code();
  linked_[&to].push_back(site);
}

void CompilerEngine::unlink(Block& to) {
  const auto found = linked_.find(&to);
  if (found == linked_.end()) return;
  for (const Translator::Site& site : found->second) patch(site.displacement, site.unlinked);
  synchronize_code();
  linked_.erase(found);
}

void CompilerEngine::make_untranslated(Block& block) {
  if (!block.code.translated) return;
  for (std::size_t i = 0; i < block.ops.size(); ++i) block.ops[i].handler = block.handlers[i];
  block.ops[block.prologue].handler = op_entered;
  block.code.entry = stubs_.interpret;
  block.code.entries = 0;
  block.code.translated = false;
}

void CompilerEngine::give_up(Block& block) {
  unlink(block);
  sites_.erase(&block);
  make_untranslated(block);
}

void CompilerEngine::flush() {
  for (Block* const block : translated_) make_untranslated(*block);
  ++cpu_->counters.flushes;
  forget();
}

void CompilerEngine::forget() {
  translated_.clear();
  sites_.clear();
  linked_.clear();
  used_ = begin_of_blocks_;
}

}  // namespace cloister::silicon
