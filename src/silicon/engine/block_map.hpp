// Blocks by a number: a hash table whose entries lie beside each other, so that most look-ups touch one line of it.
// Blocks stay where they are, and go only all at once.
#pragma once

#include <memory>
#include <vector>

#include "silicon/state/op.hpp"

namespace cloister::silicon {

class BlockMap {
 public:
  /// Null: there is none.
  Block* find(u64 key) const {
    for (u64 i = first(key);; ++i) {
      const Entry& e = entries_[i & mask()];
      if (e.block == nullptr || e.key == key) return e.block.get();
    }
  }
  /// A new one; there is none yet.
  Block& add(u64 key) {
    if (++count_ * 2 > entries_.size()) grow();
    Entry& e = free_entry(key);
    e = {key, std::make_unique<Block>()};
    return *e.block;
  }
  void clear() {
    entries_ = std::vector<Entry>(least);
    count_ = 0;
  }

 private:
  static constexpr std::size_t least = 1024;
  struct Entry {
    u64 key = 0;
    std::unique_ptr<Block> block;
  };
  u64 mask() const { return entries_.size() - 1; }
  /// Keys are addresses: neighbours go far apart.
  u64 first(u64 key) const { return (key * 0x9e37'79b9'7f4a'7c15) >> 32; }
  Entry& free_entry(u64 key) {
    u64 i = first(key);
    while (entries_[i & mask()].block != nullptr) ++i;
    return entries_[i & mask()];
  }
  void grow() {
    std::vector<Entry> old(entries_.size() * 2);
    old.swap(entries_);
    for (Entry& e : old)
      if (e.block != nullptr) free_entry(e.key) = std::move(e);
  }

  std::vector<Entry> entries_ = std::vector<Entry>(least);
  u64 count_ = 0;
};

}  // namespace cloister::silicon
