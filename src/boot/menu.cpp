// Words are a shell's: blanks between them, quotes of both kinds, backslashes, variables.
#include "boot/menu.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace cloister::boot {

namespace {

constexpr std::size_t most_items = 1000, deepest = 8, most_variables = 1000, longest_variable = 4096;
constexpr std::size_t most_expanded = 64 << 10;  // bytes of a line's variables

bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

template <std::size_t count>
bool is_any(std::string_view word, const std::array<std::string_view, count>& of) {
  return std::ranges::find(of, word) != of.end();
}

std::string_view value_of(const MenuVariables& variables, std::string_view name) {
  // What grub-mkconfig sets to it depends on GRUB's age.
  if (name == "menuentry_id_option") return "--id";
  const auto found = variables.find(name);
  return found == variables.end() ? std::string_view() : std::string_view(found->second);
}

/// The words of a line.
class LineWords {
 public:
  LineWords(std::string_view line, const MenuVariables& variables) : rest_(line), variables_(variables) {}

  std::vector<std::string> read() {
    while (!rest_.empty()) step();
    end();
    return std::move(words_);
  }

 private:
  void step() {
    const char c = take();
    if (quote_ != '\0' && c == quote_) {
      quote_ = '\0';
    } else if (quote_ == '\'') {
      put(c);
    } else if (c == '\\' && !rest_.empty()) {
      put(take());
    } else if (c == '$') {
      variable();
    } else if (quote_ == '"') {
      put(c);
    } else if (c == '"' || c == '\'') {
      quote_ = c;
      there_ = true;
    } else if (c == '#' && !there_) {
      rest_ = {};
    } else if (is_blank(c) || c == ';') {
      end();
    } else {
      put(c);
    }
  }
  void variable() {
    const bool braces = rest_.starts_with('{');
    if (braces) rest_.remove_prefix(1);
    std::size_t length = 0;
    while (length < rest_.size() && is_name(rest_[length])) ++length;
    const std::string_view value = value_of(variables_, rest_.substr(0, length));
    rest_.remove_prefix(length);
    if (braces && rest_.starts_with('}')) rest_.remove_prefix(1);
    expanded_ += value.size();
    if (value.empty() || expanded_ > most_expanded) return;
    word_ += value;
    there_ = true;
  }
  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  void put(char c) {
    word_ += c;
    there_ = true;
  }
  void end() {
    if (there_) words_.push_back(std::move(word_));
    word_.clear();
    there_ = false;
  }

  std::string_view rest_;
  const MenuVariables& variables_;
  std::vector<std::string> words_;
  std::string word_;
  std::size_t expanded_ = 0;
  bool there_ = false;
  char quote_ = '\0';
};

class MenuReader {
 public:
  explicit MenuReader(MenuVariables variables) : variables_(std::move(variables)) {}

  Menu read(std::string_view text) {
    while (!text.empty()) {
      const std::string_view line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(text.size(), line.size() + 1));
      const auto words = LineWords(line, variables_).read();
      if (!words.empty()) take(words);
    }
    while (!open_.empty()) close();
    menu_.chosen = value_of(variables_, "default");
    return std::move(menu_);
  }

 private:
  enum class Kind : u8 { entry, submenu, other };
  struct Open {
    Kind kind;
    MenuItem item;
  };

  void take(const std::vector<std::string>& words) {
    static constexpr std::array<std::string_view, 4> linux_words{"linux", "linux16", "linuxefi", "kernel"};
    static constexpr std::array<std::string_view, 3> ramdisk_words{"initrd", "initrd16", "initrdefi"};
    const std::string& first = words.front();
    if (first == "}") {
      if (!open_.empty()) close();
    } else if (words.back() == "{") {
      open(words);
    } else if (open_.empty() || open_.back().kind != Kind::entry) {
      if (std::ranges::none_of(open_, [](const Open& one) { return one.kind == Kind::other; })) set(words);
    } else if (MenuItem& item = open_.back().item; words.size() > 1 && is_any(first, linux_words)) {
      item.kernel = words[1];
      item.arguments.clear();
      for (std::size_t i = 2; i < words.size(); ++i)
        item.arguments.append(item.arguments.empty() ? "" : " ").append(words[i]);
    } else if (is_any(first, ramdisk_words)) {
      item.ramdisks.assign(words.begin() + 1, words.end());
    }
  }

  /// `set NAME=VALUE`, or without the word.
  void set(const std::vector<std::string>& words) {
    const std::size_t at = words.front() == "set" ? 1 : 0;
    if (words.size() != at + 1) return;
    const std::size_t equals = words[at].find('=');
    if (equals == 0 || equals == std::string::npos) return;
    std::string name = words[at].substr(0, equals), value = words[at].substr(equals + 1);
    if (!std::ranges::all_of(name, is_name) || value.size() > longest_variable) return;
    if (variables_.size() < most_variables || variables_.contains(name)) variables_[name] = std::move(value);
  }

  void open(const std::vector<std::string>& words) {
    const bool entry = words.front() == "menuentry", submenu = words.front() == "submenu";
    Open opened{.kind = entry ? Kind::entry : submenu ? Kind::submenu : Kind::other, .item = {}};
    const bool too_many = ++items_ > most_items || open_.size() >= deepest;
    if ((!entry && !submenu) || too_many) opened.kind = Kind::other;
    if (words.size() > 2) opened.item.title = words[1];
    for (std::size_t i = 2; i + 1 < words.size(); ++i) {
      if (words[i] == "--id" && words[i + 1] != "{") opened.item.id = words[i + 1];
      if (words[i].starts_with("--id=")) opened.item.id = words[i].substr(5);
    }
    open_.push_back(std::move(opened));
  }

  void close() {
    Open closed = std::move(open_.back());
    open_.pop_back();
    if (closed.kind == Kind::other) return;
    for (auto outer = open_.rbegin(); outer != open_.rend(); ++outer) {
      if (outer->kind != Kind::submenu) return;
      outer->item.items.push_back(std::move(closed.item));
      return;
    }
    menu_.items.push_back(std::move(closed.item));
  }

  MenuVariables variables_;
  Menu menu_;
  std::vector<Open> open_;
  std::size_t items_ = 0;
};

const MenuItem* called(const std::vector<MenuItem>& items, std::string_view name) {
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error == std::errc() && end == name.data() + name.size()) return number < items.size() ? &items[number] : nullptr;
  const auto found = std::ranges::find_if(
      items, [&](const MenuItem& item) { return !name.empty() && (item.title == name || item.id == name); });
  return found == items.end() ? nullptr : &*found;
}

/// Of a submenu its first entry.
const MenuItem* entry_in(const MenuItem& item) {
  const MenuItem* at = &item;
  while (!at->items.empty()) at = &at->items.front();
  return at;
}

const MenuItem* counted(const std::vector<MenuItem>& items, u32& left) {
  for (const MenuItem& item : items) {
    if (!item.items.empty()) {
      if (const MenuItem* const found = counted(item.items, left)) return found;
    } else if (left-- == 0) {
      return &item;
    }
  }
  return nullptr;
}

}  // namespace

const MenuItem* Menu::first_choice() const {
  if (items.empty()) return nullptr;
  const MenuItem* at = nullptr;
  std::string_view rest = chosen;
  while (true) {
    const std::string_view name = rest.substr(0, rest.find('>'));
    const MenuItem* const next = called(at == nullptr ? items : at->items, name);
    if (next == nullptr) break;
    at = next;
    if (name.size() == rest.size()) break;
    rest.remove_prefix(name.size() + 1);
  }
  return entry_in(at == nullptr ? items.front() : *at);
}

const MenuItem* Menu::entry(u32 number) const { return counted(items, number); }

MenuVariables read_menu_variables(std::string_view text) {
  MenuVariables variables;
  while (!text.empty() && variables.size() < most_variables) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t equals = line.find('=');
    if (line.starts_with('#') || equals == 0 || equals == std::string_view::npos) continue;
    if (line.size() - equals <= longest_variable) variables.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  return variables;
}

Menu read_menu(std::string_view text, MenuVariables variables) { return MenuReader(std::move(variables)).read(text); }

}  // namespace cloister::boot
