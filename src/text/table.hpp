// Tables of text for a terminal.
#pragma once

#include <string>
#include <vector>

namespace cloister::toolstack {

/// Columns as wide as their widest cell, two spaces apart; those whose title starts with '>' are right-aligned.
class Table {
 public:
  explicit Table(std::vector<std::string> titles);
  void add(std::vector<std::string> cells);
  std::string text() const;

 private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;  ///< the first is the titles
};

/// "name      value" lines.
std::string pairs(const std::vector<std::pair<std::string, std::string>>& lines);

}  // namespace cloister::toolstack
