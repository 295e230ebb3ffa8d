// The lexer: one function a kind of token.
#include "config/xl/lexer.hpp"

#include <array>
#include <utility>

#include "arch/try.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::xl {

namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return is_letter(c) || is_digit(c); }

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// A character as a message shows it: printable ones quoted, others by value.
std::string show(char c) {
  if (c > ' ' && c < 0x7f) return std::string("'") + c + "'";
  constexpr char digits[] = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  return std::string("byte 0x") + digits[byte >> 4] + digits[byte & 15];
}

struct Sign {
  char c;
  TokenKind kind;
};
constexpr Sign signs[] = {{'=', TokenKind::equals}, {'[', TokenKind::open},      {']', TokenKind::close},
                          {',', TokenKind::comma},  {';', TokenKind::semicolon}, {'\n', TokenKind::newline}};

constexpr std::pair<char, char> escapes[] = {{'\\', '\\'}, {'\'', '\''}, {'"', '"'},  {'a', '\a'}, {'b', '\b'},
                                             {'f', '\f'},  {'n', '\n'},  {'r', '\r'}, {'t', '\t'}, {'v', '\v'}};

tl::unexpected<Diagnostic> fail(Position at, std::string message) {
  return tl::unexpected(Diagnostic{at, std::move(message)});
}

}  // namespace

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::name: return "the name '" + cut(token.text) + "'";
    case TokenKind::number: return "the number " + cut(token.text);
    case TokenKind::string: return "a string";
    case TokenKind::equals: return "'='";
    case TokenKind::plus_equals: return "'+='";
    case TokenKind::open: return "'['";
    case TokenKind::close: return "']'";
    case TokenKind::comma: return "','";
    case TokenKind::semicolon: return "';'";
    case TokenKind::newline: return "end of line";
    case TokenKind::end: return "end of file";
  }
  return "";
}

bool Lexer::at_line_end() const {
  return done() || peek() == '\n' || (peek() == '\r' && text_.substr(offset_, 2) == "\r\n");
}

void Lexer::advance() {
  if (peek() == '\n') {
    ++at_.line;
    at_.column = 1;
  } else {
    ++at_.column;
  }
  ++offset_;
}

void Lexer::skip_blanks_and_comment() {
  while (!done() && (peek() == ' ' || peek() == '\t')) advance();
  if (!done() && peek() == '#') {
    while (!at_line_end()) advance();
  }
  if (!done() && peek() == '\r' && at_line_end()) advance();
}

std::string Lexer::take_while(bool (*wanted)(char)) {
  const std::size_t from = offset_;
  while (!done() && wanted(peek())) advance();
  return std::string(text_.substr(from, offset_ - from));
}

tl::expected<Token, Diagnostic> Lexer::next() {
  skip_blanks_and_comment();
  const Position at = at_;
  if (done()) return Token{TokenKind::end, {}, at};
  const char c = peek();
  if (is_letter(c)) return Token{TokenKind::name, take_while(is_word), at};
  if (is_digit(c)) return number(at);
  if (c == '"' || c == '\'') return string(at);
  for (const Sign& sign : signs) {
    if (sign.c != c) continue;
    advance();
    return Token{sign.kind, {}, at};
  }
  if (text_.substr(offset_, 2) == "+=") {
    advance();
    advance();
    return Token{TokenKind::plus_equals, {}, at};
  }
  return fail(at, "found " + show(c) + ", expected a name, a number, a string or one of = += [ ] , ;");
}

tl::expected<Token, Diagnostic> Lexer::number(Position at) {
  // As libxlu: digits, then hexadecimal digits and x; what the digits mean is the reader's business.
  std::string text = take_while([](char c) { return hex_value(c) >= 0 || c == 'x' || c == 'X'; });
  if (!done() && is_word(peek())) {
    const std::string rest = take_while(is_word);
    return fail(at, "found '" + cut(text + rest) + "', expected a number without a unit, or a string in quotes");
  }
  return Token{TokenKind::number, std::move(text), at};
}

tl::expected<Token, Diagnostic> Lexer::string(Position at) {
  const char quote = peek();
  advance();
  std::string text;
  while (true) {
    if (at_line_end()) {
      return fail(at, std::string("this string has no closing ") + quote + " on its line");
    }
    if (peek() == quote) break;
    if (peek() != '\\') {
      text += peek();
      advance();
      continue;
    }
    text += TRY(escape());
  }
  advance();
  return Token{TokenKind::string, std::move(text), at};
}

tl::expected<char, Diagnostic> Lexer::escape() {
  const Position at = at_;
  advance();  // the backslash
  if (at_line_end()) return fail(at, "found a backslash at the end of the line, expected a character after it");
  const char c = peek();
  for (const auto& [letter, meaning] : escapes) {
    if (c != letter) continue;
    advance();
    return meaning;
  }
  int value = 0, digits = 0;
  if (c == 'x') {
    advance();
    for (; digits < 2 && !done() && hex_value(peek()) >= 0; ++digits, advance()) value = value * 16 + hex_value(peek());
    if (digits < 2) return fail(at, "found \\x with fewer than two hexadecimal digits after it");
    return static_cast<char>(value);
  }
  for (; digits < 3 && !done() && peek() >= '0' && peek() <= '7'; ++digits, advance())
    value = value * 8 + (peek() - '0');
  if (digits == 0)
    return fail(at, "found \\ and " + show(c) + ", expected one of \\ ' \" a b f n r t v x or octal digits");
  if (value > 0xff) return fail(at, "found an octal escape above \\377, which is not a byte");
  return static_cast<char>(value);
}

}  // namespace cloister::toolstack::xl
