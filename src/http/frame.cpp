// Strict where two readers of a request could disagree about its length: such a request is refused.
#include "http/frame.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace cloister::toolstack {

namespace {

constexpr std::string_view line_end = "\r\n", head_end = "\r\n\r\n";
constexpr std::string_view passed_on[] = {"host", "content-encoding", "if-match", "if-none-match", "cookie", "upgrade"};

/// A character of a field's name (RFC 9110, 5.6.2).
bool is_token(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace

void HttpFrame::refuse(int status) {
  state_ = State::refused;
  status_ = status;
  pending_ = head_ = body_ = std::string();
  at_ = 0;
}

HttpFrame::State HttpFrame::feed(std::string_view bytes) {
  if (state_ != State::incomplete) return state_;
  begun_ = begun_ || !bytes.empty();
  pending_.append(bytes);
  advance();
  pending_.erase(0, std::exchange(at_, 0));
  return state_;
}

HttpFrame::State HttpFrame::end() {
  if (state_ == State::incomplete) refuse(400);
  return state_;
}

bool HttpFrame::take_expectation() { return std::exchange(expects_, false) && state_ == State::incomplete; }

std::string HttpFrame::take() {
  std::string request = std::move(head_);
  if (length_ || chunked_) request.append("Content-Length: ").append(std::to_string(body_.size())).append(line_end);
  request.append(line_end).append(body_);
  body_ = std::string();
  return request;
}

std::string_view HttpFrame::rest() const { return std::string_view(pending_).substr(at_); }

/// Takes as much of what is pending as can be understood.
void HttpFrame::advance() {
  while (state_ == State::incomplete) {
    switch (part_) {
      case Part::head:
        if (!read_head()) return;
        break;
      case Part::body:
      case Part::chunk: {
        const std::string_view piece = rest().substr(0, left_);
        body_.append(piece);
        at_ += piece.size();
        left_ -= piece.size();
        if (left_ > 0) return;
        if (part_ == Part::body) state_ = State::whole;
        part_ = Part::chunk_end;
        break;
      }
      case Part::chunk_end: {
        const auto nothing = line();
        if (!nothing) return;
        if (!nothing->empty()) return refuse(400);
        at_ += line_end.size();
        part_ = Part::chunk_size;
        break;
      }
      case Part::chunk_size:
      case Part::trailer: {
        const auto one = line();
        if (!one) return;
        const std::size_t size = one->size() + line_end.size();
        framing_ += size;
        if (part_ == Part::chunk_size) {
          read_chunk_size(*one);
        } else if (one->empty()) {
          state_ = State::whole;
        }
        if (framing_ > longest_body) refuse(413);
        if (state_ == State::incomplete) at_ += size;
        break;
      }
    }
  }
}

/// A line of the chunks' framing, without its end; nullopt: not here yet, or refused.
std::optional<std::string_view> HttpFrame::line() {
  constexpr std::size_t longest_line = 1024;
  const std::string_view next = rest().substr(0, longest_line + line_end.size());
  const std::size_t end = next.find(line_end);
  if (end != std::string_view::npos) return next.substr(0, end);
  if (next.size() == longest_line + line_end.size()) refuse(400);
  return std::nullopt;
}

/// Extensions, after a semicolon, mean nothing here.
void HttpFrame::read_chunk_size(std::string_view line) {
  std::string_view digits = trimmed(line.substr(0, line.find(';')));
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.empty() ? 0 : digits.size() - 1));
  std::size_t size = 0;
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size, 16);
  if (digits.empty() || stop != digits.data() + digits.size()) return refuse(400);
  if (error != std::errc() || size > longest_body - body_.size()) return refuse(413);
  left_ = size;
  part_ = size == 0 ? Part::trailer : Part::chunk;
}

/// False: it is not here yet.
bool HttpFrame::read_head() {
  const std::size_t end = pending_.find(head_end, seen_ < head_end.size() ? 0 : seen_ - head_end.size());
  seen_ = pending_.size();
  if (std::min(end, pending_.size()) > longest_head) return refuse(431), true;
  if (end == std::string::npos) return false;
  std::string_view lines = std::string_view(pending_).substr(0, end + line_end.size());
  for (bool first = true; !lines.empty(); first = false) {
    const std::size_t stop = lines.find(line_end);
    const std::string_view line = lines.substr(0, stop);
    lines.remove_prefix(stop + line_end.size());
    if (line.empty() || std::ranges::any_of(line, is_control)) return refuse(400), true;
    if (first) {
      head_.assign(line).append(line_end);
    } else if (!read_field(line)) {
      return true;
    }
  }
  if (chunked_ && length_) return refuse(400), true;
  at_ = end + head_end.size();
  left_ = length_.value_or(0);
  part_ = chunked_ ? Part::chunk_size : Part::body;
  return true;
}

/// False: the request is refused.
bool HttpFrame::read_field(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0 || !std::ranges::all_of(line.substr(0, colon), is_token))
    return refuse(400), false;
  const std::string name = lower(line.substr(0, colon));
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (name == "content-length") {
    std::size_t length = 0;
    const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), length);
    if (length_ || value.empty() || stop != value.data() + value.size()) return refuse(400), false;
    if (error != std::errc() || length > longest_body) return refuse(413), false;
    length_ = length;
  } else if (name == "transfer-encoding") {
    if (chunked_ || lower(value) != "chunked") return refuse(400), false;
    chunked_ = true;
  } else if (name == "expect") {
    if (lower(value) != "100-continue") return refuse(417), false;
    expects_ = true;
  } else if (std::ranges::find(passed_on, name) != std::end(passed_on)) {
    // cpp-httplib takes %XX in a field's value for what it would be in a path, and no line that is longer than 8 KiB.
    const std::size_t percents = static_cast<std::size_t>(std::ranges::count(line, '%'));
    if (line.size() + 2 * percents > longest_field) return refuse(431), false;
    for (const char c : line) c == '%' ? head_ += "%25" : head_ += c;
    // It drops a field without a value; a list without elements is one with an empty element (RFC 9110, 5.6.1).
    if (value.empty() && name.starts_with("if-")) head_ += ',';
    head_.append(line_end);
  }
  return true;
}

}  // namespace cloister::toolstack
