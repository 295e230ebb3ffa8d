// The text is read twice: first by a listener that keeps nothing but two counts, and stops at the first that is
// exceeded.
#include "text/bounded_json.hpp"

namespace cloister::toolstack {

namespace {

using nlohmann::json;

class BoundsListener final : public nlohmann::json_sax<json> {
 public:
  explicit BoundsListener(const JsonBounds& bounds) : bounds_(bounds) {}
  const std::string& error() const { return error_; }

  bool null() override { return one_more(); }
  bool boolean(bool) override { return one_more(); }
  bool number_integer(number_integer_t) override { return one_more(); }
  bool number_unsigned(number_unsigned_t) override { return one_more(); }
  bool number_float(number_float_t, const string_t&) override { return one_more(); }
  bool string(string_t&) override { return one_more(); }
  bool binary(binary_t&) override { return one_more(); }
  bool key(string_t&) override { return one_more(); }
  bool start_object(std::size_t) override { return one_deeper(); }
  bool end_object() override { return --depth_, true; }
  bool start_array(std::size_t) override { return one_deeper(); }
  bool end_array() override { return --depth_, true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    error_ = "not JSON";
    return false;
  }

 private:
  bool one_more() {
    if (++values_ > bounds_.most_values) error_ = "more than " + std::to_string(bounds_.most_values) + " values";
    return error_.empty();
  }
  bool one_deeper() {
    if (++depth_ > bounds_.deepest) error_ = "nested more than " + std::to_string(bounds_.deepest) + " deep";
    return one_more();
  }

  const JsonBounds& bounds_;
  std::size_t depth_ = 0, values_ = 0;
  std::string error_;
};

}  // namespace

tl::expected<json, std::string> parse_json(std::string_view text, const JsonBounds& bounds) {
  BoundsListener listener(bounds);
  if (!json::sax_parse(text, &listener)) return tl::unexpected(listener.error());
  return json::parse(text, nullptr, false);
}

}  // namespace cloister::toolstack
