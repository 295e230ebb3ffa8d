// `cloister cpu lint`: what is wrong with SGX in somebody's settings, where, and how to mend it.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "arch/try.hpp"
#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "host/whole_file.hpp"
#include "interop/cpu/cpu.hpp"
#include "interop/cpu/pool.hpp"
#include "interop/hosts/hosts.hpp"
#include "interop/lint/rules.hpp"
#include "text/json_text.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::cpu {

namespace {

/// The host that was named; else this one if its guests can have SGX, for then the file may be for it.
tl::expected<std::optional<policy::HostView>, std::string> choose_host(const std::string& path) {
  if (path.empty()) {
    auto here = this_host_view();
    if (!policy::sgx_report(here).usable) return std::nullopt;
    return here;
  }
  return TRY(load_host(path));
}

/// "FILE:LINE:COLUMN", or "FILE: argument N 'VALUE'".
std::string place(const std::string& file, const lint::Subject& subject, Position at) {
  if (at.line == 0) return file;
  if (subject.format != lint::Format::qemu) return fmt::format("{}:{}:{}", file, at.line, at.column);
  return fmt::format("{}: argument {} {}", file, at.line, shown(subject.arguments[at.line - 1].text));
}

/// No mistake was found where none could be made.
bool is_not_judged(const lint::Subject& subject, const std::vector<lint::Finding>& findings) {
  return findings.empty() && !subject.asks_for_sgx();
}

/// More than a person reads of one file; a stranger's may have as many as it has words.
constexpr std::size_t most_shown = 64;
std::span<const lint::Finding> first_of(const std::vector<lint::Finding>& findings) {
  return std::span(findings).first(std::min(findings.size(), most_shown));
}

std::string for_people(const std::string& file, const lint::Subject& subject,
                       const std::vector<lint::Finding>& findings, const std::string& judged_by) {
  if (is_not_judged(subject, findings))
    return fmt::format("{}: not judged: {} asks for nothing of SGX\n", file, name_of(subject.format));
  std::string text;
  for (const lint::Finding& finding : first_of(findings))
    text += fmt::format("{}: {}\n  {}\n  mend: {}\n\n", place(file, subject, finding.at), finding.rule, finding.message,
                        finding.mend);
  if (findings.size() > most_shown)
    text += fmt::format("{}: {} more are not shown\n\n", file, findings.size() - most_shown);
  const std::string count = findings.empty()       ? "nothing found"
                            : findings.size() == 1 ? "1 finding"
                                                   : fmt::format("{} findings", findings.size());
  return text + fmt::format("{}: {} in {}, {}\n", file, count, name_of(subject.format), judged_by);
}

nlohmann::ordered_json for_programs(const std::string& file, const lint::Subject& subject,
                                    const std::vector<lint::Finding>& findings,
                                    const std::optional<policy::HostView>& host) {
  nlohmann::ordered_json json = {{"file", file}, {"format", name_of(subject.format)}};
  json["host"] = host ? nlohmann::ordered_json(host->name) : nlohmann::ordered_json();
  json["judged"] = !is_not_judged(subject, findings);
  json["findings"] = nlohmann::ordered_json::array();
  for (const lint::Finding& finding : first_of(findings)) {
    nlohmann::ordered_json one = {{"rule", finding.rule}};
    if (subject.format == lint::Format::qemu) {
      one["argument"] = finding.at.line;
    } else {
      one["line"] = finding.at.line;
      one["column"] = finding.at.column;
    }
    one["message"] = finding.message;
    one["mend"] = finding.mend;
    json["findings"].push_back(std::move(one));
  }
  json["more"] = findings.size() - first_of(findings).size();
  return json;
}

}  // namespace

int lint(const std::string& file, const std::string& host_path, bool json, const std::string& libvirt) {
  const auto refuse = [&](const std::string& line) {
    spdlog::error("{}", line);
    return exit_status::bad_configuration;
  };
  const auto bytes = read_within(file, lint::longest_settings);
  if (!bytes) return refuse(format(file, {{}, "cannot read: " + bytes.error()}));
  const auto subject = lint::read_subject({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  if (!subject) return refuse(format(file, subject.error()));
  if (subject->note) spdlog::warn("{}", format(file, {subject->note->at, "warning: " + subject->note->message}));
  const auto host = choose_host(host_path);
  if (!host) return refuse(host.error());
  // Without libvirt there is no map, and our table must do.
  const auto at_hand = map_at_hand(libvirt);
  if (!at_hand) return refuse(at_hand.error());

  const policy::SgxReport report = *host ? policy::sgx_report(**host) : policy::SgxReport{};
  const std::vector<lint::Finding> findings = lint::lint({.subject = *subject,
                                                          .host = *host ? &**host : nullptr,
                                                          .report = *host ? &report : nullptr,
                                                          .map = at_hand->note.empty() ? &at_hand->map : nullptr});
  const std::string judged_by = *host ? "judged for " + shown((*host)->name) : "judged without a host";
  const std::string text = json ? json_text(for_programs(file, *subject, findings, *host), 2) + "\n"
                                : for_people(file, *subject, findings, judged_by);
  if (!print(text) || !findings.empty()) return status::failed;
  return is_not_judged(*subject, findings) ? status::unknown : status::good;
}

}  // namespace cloister::toolstack::cpu
