#include "interop/vm/libvirt_log.hpp"

#include <algorithm>

namespace cloister::toolstack::vm {

namespace {

/// "2026-11-02 10:00:00", or as QEMU has it with -msg timestamp=on, "2026-11-02T10:00:00".
bool begins_with_time(std::string_view line) {
  constexpr std::string_view form = "0000-00-00 00:00:00";
  const auto like = [](char model, char found) {
    if (model == '0') return found >= '0' && found <= '9';
    return found == model || (model == ' ' && found == 'T');
  };
  return line.size() >= form.size() && std::ranges::equal(form, line.substr(0, form.size()), like);
}

/// "qemu-system-x86_64: terminating on signal 15".
bool is_qemus_word(std::string_view line) {
  const std::string_view first = line.substr(0, line.find(' '));
  const std::string_view name = first.substr(first.rfind('/') + 1);  // npos + 1: all
  return name.ends_with(':') && (name.starts_with("qemu") || name.starts_with("kvm"));
}

bool is_said(std::string_view line) {
  return begins_with_time(line) || is_qemus_word(line) || line.starts_with("char device redirected to ");
}

/// Follows a command's quotes from line to line, as a shell does (sh(1), "Quoting"): what a quoted word holds is no
/// line of the log, whatever it looks like.
class Quotes {
 public:
  bool open() const { return quote_ != 0; }

  void follow(std::string_view line) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      const char c = line[i];
      if (open()) {
        if (c == quote_)
          quote_ = 0;
        else if (c == '\\' && quote_ == '"')
          ++i;
      } else if (c == '#' && !word_) {
        return;
      } else if (c == '\\') {
        // At the end of the line the next one goes on in the same word.
        if (++i == line.size()) return;
        word_ = true;
      } else {
        if (c == '\'' || c == '"') quote_ = c;
        word_ = c != ' ' && c != '\t';
      }
    }
    word_ = open();
  }

 private:
  char quote_ = 0;
  bool word_ = false;  ///< inside one, where '#' begins no comment
};

}  // namespace

std::optional<LoggedStart> last_start(std::string_view text) {
  constexpr std::string_view start = ": starting up";
  if (text.find('\0') != text.npos) return std::nullopt;
  LoggedStart last{.command = {}, .line = 1, .starts = 0};
  // Without a heading it may be a listing of arguments, one a line, up to what QEMU says.
  bool any_said = false, awaited = true, goes_on = false, headed = false, by_lines = false;
  Quotes quotes;
  std::size_t first = 0;
  u32 number = 0;
  for (std::size_t at = 0; at < text.size(); ++number) {
    const std::size_t begin = at, end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(begin, end - begin);
    at = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!quotes.open() && is_said(line)) {
      any_said = true;
      const bool heading = begins_with_time(line) && line.find(start) != line.npos;
      awaited |= heading;
      headed |= heading;
      goes_on = false;
      continue;
    }
    const std::size_t word = std::min(line.find_first_not_of(" \t"), line.size());
    if (!goes_on && (!awaited || word == line.size() || line[word] == '#')) continue;
    if (!goes_on) {
      first = begin;
      last.line = number + 1;
      ++last.starts;
      by_lines = !headed;
      quotes = {};
    }
    awaited = false;
    last.command = text.substr(first, end - first);
    quotes.follow(line);
    by_lines &= !line.ends_with('\\');
    goes_on = by_lines || quotes.open() || line.ends_with('\\');
  }
  return any_said && last.starts > 0 ? std::optional(last) : std::nullopt;
}

}  // namespace cloister::toolstack::vm
