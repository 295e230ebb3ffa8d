// Where an HTTP/1.1 request ends (RFC 9112, 6 and 7.1), and what of it is worth reading. What is not known here, such
// as Range, goes no further: the parser behind sees a request line, the header fields below and a body of known length.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cloister::toolstack {

/// One request as it comes, in pieces of any size. It keeps no more than the limits below, whatever comes.
class HttpFrame {
 public:
  /// A body has room for a text of 1 MiB in JSON, where quotes, backslashes and ends of lines take two bytes, with what
  /// stands around it.
  static constexpr std::size_t longest_head = 16 << 10, longest_field = 8000, longest_body = (2 << 20) + (64 << 10);

  enum class State { incomplete, whole, refused };

  /// What follows a whole or a refused request is ignored.
  State feed(std::string_view bytes);
  /// No more will come.
  State end();

  State state() const { return state_; }
  /// Something has come.
  bool begun() const { return begun_; }
  /// Of a refused one: the status to answer with. 400, 413 (the body is too long), 417 or 431 (the head is, or a field
  /// in it).
  int status() const { return status_; }
  /// Once true: the client waits for "100 Continue" before it sends the body (RFC 9110, 10.1.1).
  bool take_expectation();
  /// Of a whole one: as the parser gets it, with Content-Length instead of chunks. Leaves nothing here.
  std::string take();

 private:
  enum class Part { head, body, chunk_size, chunk, chunk_end, trailer };

  void refuse(int status);
  void advance();
  std::string_view rest() const;
  bool read_head();
  bool read_field(std::string_view line);
  std::optional<std::string_view> line();
  void read_chunk_size(std::string_view line);

  State state_ = State::incomplete;
  Part part_ = Part::head;
  int status_ = 0;
  std::string pending_;   ///< what came and is not understood yet
  std::size_t seen_ = 0;  ///< of pending_, what has been searched for the head's end
  std::size_t at_ = 0;    ///< of pending_, what is understood meanwhile
  std::string head_, body_;
  std::optional<std::size_t> length_;
  std::size_t left_ = 0;     ///< of the body or the chunk
  std::size_t framing_ = 0;  ///< bytes of chunks that are not the body's
  bool begun_ = false, chunked_ = false, expects_ = false;
};

}  // namespace cloister::toolstack
