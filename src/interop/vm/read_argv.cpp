// The words of a command: separated by NUL bytes as in /proc/PID/cmdline (proc(5)), or as a POSIX shell separates and
// quotes them (sh(1), "Quoting"). Nothing is expanded. Line ends are blanks, so that one argument a line is read too.
#include <fmt/format.h>

#include "interop/vm/formats.hpp"
#include "interop/vm/libvirt_log.hpp"
#include "text/control.hpp"
#include "text/split.hpp"

namespace cloister::toolstack::vm {

namespace {

using Failed = tl::unexpected<Diagnostic>;

class Shell {
 public:
  explicit Shell(std::string_view text) : text_(text) {}

  tl::expected<std::vector<std::string>, Diagnostic> words() {
    std::vector<std::string> words;
    while (true) {
      skip_blanks();
      if (done()) return words;
      auto word = this->word();
      if (!word) return Failed(word.error());
      words.push_back(std::move(*word));
    }
  }

 private:
  bool done() const { return offset_ == text_.size(); }
  char peek() const { return text_[offset_]; }
  char take() {
    const char c = text_[offset_++];
    if (c == '\n') {
      ++at_.line;
      at_.column = 1;
    } else {
      ++at_.column;
    }
    return c;
  }
  /// How long a line's end is that does not end the command, also as Windows ends lines; 0: there is none here.
  std::size_t continues() const {
    const std::string_view rest = text_.substr(offset_);
    return rest.starts_with("\\\n") ? 2 : rest.starts_with("\\\r\n") ? 3 : 0;
  }
  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

  void skip_blanks() {
    while (!done()) {
      if (const std::size_t end = continues(); end > 0) {
        for (std::size_t i = 0; i < end; ++i) take();
      } else if (peek() == '#') {
        while (!done() && peek() != '\n') take();
      } else if (is_blank(peek())) {
        take();
      } else {
        return;
      }
    }
  }

  tl::expected<std::string, Diagnostic> word() {
    std::string word;
    while (!done() && !is_blank(peek()) && continues() != 3) {
      const Position at = at_;
      const char c = take();
      if (c == '\'' || c == '"') {
        if (!quoted(c, word)) return Failed(Diagnostic{at, fmt::format("this {} is never closed", c)});
      } else if (c == '\\') {
        if (done()) return Failed(Diagnostic{at, "found a backslash at the end, expected a character after it"});
        if (const char next = take(); next != '\n') word += next;
      } else if (std::string_view("|&;<>()").find(c) != std::string_view::npos) {
        return Failed(Diagnostic{at, fmt::format("found '{}', expected one command's words", c)});
      } else {
        word += c;
      }
    }
    return word;
  }

  /// Up to the closing quote.
  bool quoted(char quote, std::string& word) {
    while (!done()) {
      const char c = take();
      if (c == quote) return true;
      if (quote == '"' && c == '\\' && !done() && std::string_view("\\\"$`\n").find(peek()) != std::string_view::npos) {
        if (const char next = take(); next != '\n') word += next;
      } else {
        word += c;
      }
    }
    return false;
  }

  std::string_view text_;
  std::size_t offset_ = 0;
  Position at_{1, 1};
};

/// NAME=VALUE, which a shell puts into the environment; libvirt's logs begin with some.
bool is_assignment(const std::string& word) {
  const std::size_t equals = word.find('=');
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
  return equals != std::string::npos && equals > 0 && word.find_first_not_of(letters) == equals;
}

}  // namespace

namespace {

tl::expected<std::vector<std::string>, Diagnostic> read_words(std::string_view text) {
  std::vector<std::string> words;
  const bool nul = text.find('\0') != text.npos;
  if (auto control = find_control(text, "QEMU's command line", nul)) return Failed(std::move(*control));
  if (nul) {
    words = text::split<std::string>(text, '\0');
  } else {
    auto read = Shell(text).words();
    if (!read) return Failed(read.error());
    words = std::move(*read);
    std::size_t first = 0;
    while (first < words.size() && is_assignment(words[first])) ++first;
    words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(first));
  }
  if (words.empty()) return Failed(Diagnostic{{1, 1}, "found no words, expected QEMU's command line"});
  return words;
}

}  // namespace

tl::expected<std::vector<std::string>, Diagnostic> read_argv(std::string_view text) {
  const auto logged = last_start(text);
  auto words = read_words(logged ? logged->command : text);
  if (!words && logged && words.error().at.line > 0) words.error().at.line += logged->line - 1;
  return words;
}

std::optional<Diagnostic> earlier_starts(std::string_view text) {
  const auto logged = last_start(text);
  if (!logged || logged->starts < 2) return std::nullopt;
  return Diagnostic{{logged->line, 1}, fmt::format("the last of {} starts in this log is read", logged->starts)};
}

}  // namespace cloister::toolstack::vm
