// A recursive-descent parser: one function a rule of the grammar.
#include "config/xl/parser.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "arch/try.hpp"
#include "config/xl/lexer.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::xl {

namespace {

/// Deeper lists than any key uses; keeps a hostile file from exhausting the stack.
constexpr unsigned max_depth = 32;
/// A value of two characters has some 80 bytes: what is as long as a file may be must not cost a hundred times as much.
constexpr std::size_t most_values = 20'000;

using Failed = tl::unexpected<Diagnostic>;

struct CountedLess {
  std::size_t* count;
  bool operator()(const std::string& a, const std::string& b) const {
    ++*count;
    return a < b;
  }
};

class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text) {}

  tl::expected<Document, Diagnostic> file() {
    TRY(shift());
    while (token_.kind != TokenKind::end) {
      if (ends_setting()) {
        TRY(shift());
        continue;
      }
      TRY(setting());
      if (!ends_setting() && token_.kind != TokenKind::end) {
        return expected("end of line or ';' after the value of '" + cut(last_name_) + "'");
      }
    }
    return std::move(document_);
  }

 private:
  tl::expected<void, Diagnostic> shift() {
    token_ = TRY(lexer_.next());
    return {};
  }

  bool ends_setting() const { return token_.kind == TokenKind::newline || token_.kind == TokenKind::semicolon; }

  Failed expected(const std::string& what) const {
    return Failed(Diagnostic{token_.at, "found " + describe(token_) + ", expected " + what});
  }

  tl::expected<void, Diagnostic> skip_newlines() {
    while (token_.kind == TokenKind::newline) {
      TRY(shift());
    }
    return {};
  }

  tl::expected<void, Diagnostic> setting() {
    if (token_.kind != TokenKind::name) return expected("the name of a setting");
    Setting setting{token_.text, token_.at, {}, false};
    last_name_ = setting.name;
    TRY(shift());
    if (token_.kind != TokenKind::equals && token_.kind != TokenKind::plus_equals) {
      return expected("'=' or '+=' after '" + cut(setting.name) + "'");
    }
    setting.appended = token_.kind == TokenKind::plus_equals;
    TRY(shift());
    setting.value = TRY(value(0));
    return store(std::move(setting));
  }

  tl::expected<Value, Diagnostic> value(unsigned depth) {
    if (++values_ > most_values)
      return Failed(Diagnostic{token_.at, "found more than " + std::to_string(most_values) + " values"});
    Value value{Value::Kind::string, token_.text, {}, token_.at};
    switch (token_.kind) {
      case TokenKind::number: value.kind = Value::Kind::number; break;
      case TokenKind::string: break;
      case TokenKind::open: return list(depth);
      case TokenKind::name:
        return Failed(Diagnostic{
            token_.at, "found " + describe(token_) + ", expected a number, a string in quotes or a list in [ ]"});
      default: return expected("a value: a number, a string in quotes or a list in [ ]");
    }
    TRY(shift());
    return value;
  }

  tl::expected<Value, Diagnostic> list(unsigned depth) {
    Value value{Value::Kind::list, {}, {}, token_.at};
    if (depth == max_depth) {
      return Failed(Diagnostic{token_.at, "lists are nested more than " + std::to_string(max_depth) + " deep"});
    }
    const auto next = [this]() -> tl::expected<void, Diagnostic> {
      TRY(shift());
      return skip_newlines();
    };
    TRY(next());
    while (token_.kind != TokenKind::close) {
      value.list.push_back(TRY(this->value(depth + 1)));
      TRY(skip_newlines());
      if (token_.kind == TokenKind::close) break;
      if (token_.kind != TokenKind::comma) return expected("',' or ']' in a list");
      TRY(next());
    }
    TRY(shift());
    return value;
  }

  tl::expected<void, Diagnostic> store(Setting setting) {
    const auto [place, is_new] = places_.emplace(setting.name, document_.settings.size());
    if (is_new) {
      document_.settings.push_back(std::move(setting));
      return {};
    }
    Setting* const old = &document_.settings[place->second];
    if (!setting.appended) {
      document_.warnings.push_back(
          {old->at, "'" + cut(setting.name) + "' is set again in line " + std::to_string(setting.at.line)});
      *old = std::move(setting);
      return {};
    }
    return append(*old, std::move(setting));
  }

  static tl::expected<void, Diagnostic> append(Setting& old, Setting more) {
    const bool lists = old.value.kind == Value::Kind::list;
    if (lists != (more.value.kind == Value::Kind::list)) {
      return Failed(Diagnostic{more.value.at, lists ? "'+=' adds a single value to a list, expected a list in [ ]"
                                                    : "'+=' adds a list to a single value, expected a string"});
    }
    if (!lists && (old.value.kind == Value::Kind::number || more.value.kind == Value::Kind::number)) {
      return Failed(Diagnostic{more.value.at, "'+=' cannot be used with numbers, expected a string or a list"});
    }
    old.value.text += more.value.text;
    std::ranges::move(more.value.list, std::back_inserter(old.value.list));
    old.appended = true;
    return {};
  }

  Lexer lexer_;
  Token token_;
  Document document_;
  std::map<std::string, std::size_t, CountedLess> places_{CountedLess{&document_.comparisons}};  ///< in its settings
  std::string last_name_;
  std::size_t values_ = 0;
};

}  // namespace

const Setting* Document::find(std::string_view name) const {
  const auto found = std::ranges::find(settings, name, &Setting::name);
  return found == settings.end() ? nullptr : &*found;
}

tl::expected<Document, Diagnostic> parse(std::string_view text) { return Parser(text).file(); }

}  // namespace cloister::toolstack::xl
