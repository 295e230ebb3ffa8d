// Tokens of Xen's xl.cfg syntax (xl.cfg(5), "SYNTAX"; libxlu's lexical rules): names, numbers, strings in single or
// double quotes with backslash escapes, and the signs = += [ ] , ; and newline. A comment runs from # to the line's
// end.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "text/diagnostic.hpp"

namespace cloister::toolstack::xl {

enum class TokenKind : u8 {
  name,
  number,
  string,
  equals,
  plus_equals,
  open,
  close,
  comma,
  semicolon,
  newline,
  end,
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;  ///< name, number: as written; string: without quotes and escapes
  Position at;
};

/// What a token is called in a message: "the number 12", "end of line".
std::string describe(const Token& token);

class Lexer {
 public:
  /// `text` must outlive the lexer.
  explicit Lexer(std::string_view text) : text_(text) {}
  tl::expected<Token, Diagnostic> next();

 private:
  bool done() const { return offset_ == text_.size(); }
  char peek() const { return text_[offset_]; }
  bool at_line_end() const;
  void advance();
  void skip_blanks_and_comment();
  std::string take_while(bool (*wanted)(char));
  tl::expected<Token, Diagnostic> number(Position at);
  tl::expected<Token, Diagnostic> string(Position at);
  tl::expected<char, Diagnostic> escape();

  std::string_view text_;
  std::size_t offset_ = 0;
  Position at_{1, 1};
};

}  // namespace cloister::toolstack::xl
