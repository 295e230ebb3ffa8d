// The guest's flags in the host's, and as an image in memory (state/flags.hpp).
#include "silicon/engine/compiler/translator.hpp"

namespace cloister::silicon {

using namespace host;

void Translator::save_flags() {
  e_.bytes({0x9f});                        // lahf
  e_.op(0x0f90, 0, rax, Encoder::all(1));  // seto al
  e_.store(layout_.at(layout_.flags), rax, 2);
  memory_ = true;
}

void Translator::before_exit() {
  if (!memory_) save_flags();
}

void Translator::need_host() {
  if (host_) return;
  e_.op(0x0fb7, rax, layout_.at(layout_.flags), {4});
  e_.bytes({0x04, 0x7f});  // add al, 127: 1 overflows
  e_.bytes({0x9e});        // sahf
  host_ = true;
}

void Translator::use_flags(const Known& k) {
  if (needs_host(k)) need_host();
}

void Translator::set_flags(const Known& k) {
  if (k.writes == 0) return;
  host_ = true;
  memory_ = false;
}

}  // namespace cloister::silicon
