// Fuzzes the framing of HTTP requests: any bytes in any pieces end the same, and what is passed on is a head of known
// fields and a body as long as it says.
#include <algorithm>
#include <string>
#include <string_view>

#include "check.hpp"
#include "http/frame.hpp"
#include "http/preconditions.hpp"
#include "text/utf8.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using cloister::toolstack::HttpFrame;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(cloister::toolstack::find_invalid_utf8(cloister::toolstack::valid_utf8(text)) == std::string_view::npos);

  const std::string fields[] = {std::string(text)};
  if (const auto tags = cloister::toolstack::read_entity_tags(fields)) {
    for (const auto& tag : tags->tags)
      check(cloister::toolstack::preconditions_hold({.match = *tags}, &tag.opaque) || tag.weak);
  }

  HttpFrame whole, pieces;
  whole.feed(text);
  std::size_t step = 1;
  for (std::size_t at = 0; at < size; at += step, step = step % 7 + 1) pieces.feed(text.substr(at, step));
  check(whole.state() == pieces.state() && whole.status() == pieces.status());
  if (whole.state() != HttpFrame::State::whole) return 0;
  const std::string request = whole.take();
  check(request == pieces.take() && request.size() <= HttpFrame::longest_head + HttpFrame::longest_body + 64);
  const std::size_t head = request.find("\r\n\r\n");
  check(head != std::string::npos);
  const std::size_t length = request.find("\r\nContent-Length: ");
  const std::size_t body = request.size() - head - 4;
  check((length < head ? std::stoul(request.substr(length + 18)) : 0) == body);
  return 0;
}
