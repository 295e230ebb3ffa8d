#include "run/messages.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include <memory>
#include <mutex>

#include "host/stoppable_write.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

constexpr const char* logger_name = "cloister";

/// The message without what a terminal would obey: names of files are strangers' text, too. It may have several lines.
class Message : public spdlog::custom_flag_formatter {
 public:
  static constexpr char flag = '*';

  void format(const spdlog::details::log_msg& message, const std::tm& /*now*/, spdlog::memory_buf_t& into) override {
    std::string_view rest(message.payload.data(), message.payload.size());
    for (std::size_t end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
      append(printable(rest.substr(0, end)) + '\n', into);
      rest.remove_prefix(end + 1);
    }
    append(printable(rest), into);
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return spdlog::details::make_unique<Message>(); }

 private:
  static void append(const std::string& text, spdlog::memory_buf_t& into) {
    into.append(text.data(), text.data() + text.size());
  }
};

std::unique_ptr<spdlog::formatter> message_alone() {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<Message>(Message::flag).set_pattern(std::string("%") + Message::flag);
  return formatter;
}

class PatientSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit PatientSink(Patience& patience) : patience_(patience) { set_formatter(message_alone()); }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    // There is nobody left to tell.
    (void)write_unless([this] { return patience_.over(); }, STDERR_FILENO,
                       {reinterpret_cast<const u8*>(text.data()), text.size()});
  }
  void flush_() override {}

 private:
  Patience& patience_;
};

}  // namespace

void set_up_messages() {
  auto logger = spdlog::stderr_logger_mt(logger_name);
  logger->set_formatter(message_alone());
  spdlog::set_default_logger(std::move(logger));
}

PatientMessages::PatientMessages(Patience& patience) : before_(spdlog::default_logger()->sinks()) {
  // Somebody else's logger is left alone.
  if (spdlog::default_logger()->name() != logger_name) return;
  spdlog::default_logger()->sinks() = {std::make_shared<PatientSink>(patience)};
}

PatientMessages::~PatientMessages() { spdlog::default_logger()->sinks() = before_; }

}  // namespace cloister::toolstack
