#include "run/messages.hpp"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include <memory>
#include <mutex>

#include "host/stoppable_write.hpp"

namespace cloister::toolstack {

namespace {

constexpr const char* form = "%v";
constexpr const char* logger_name = "cloister";

class PatientSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit PatientSink(Patience& patience) : patience_(patience) { set_pattern(form); }

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
  logger->set_pattern(form);
  spdlog::set_default_logger(std::move(logger));
}

PatientMessages::PatientMessages(Patience& patience) : before_(spdlog::default_logger()->sinks()) {
  // Somebody else's logger is left alone.
  if (spdlog::default_logger()->name() != logger_name) return;
  spdlog::default_logger()->sinks() = {std::make_shared<PatientSink>(patience)};
}

PatientMessages::~PatientMessages() { spdlog::default_logger()->sinks() = before_; }

}  // namespace cloister::toolstack
