// `cloister edit`: a definition's text in the user's editor. What counts is what cloisterd has taken; until then the
// old text stays, and no text that somebody typed is thrown away.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>
#include <span>

#include "client/api.hpp"
#include "client/client.hpp"
#include "client/configuration.hpp"
#include "client/print.hpp"
#include "host/exit_status.hpp"
#include "host/fd.hpp"
#include "host/files.hpp"

namespace cloister::toolstack::client {
namespace {

constexpr int conflict = 409, precondition_failed = 412;

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

/// A file that nobody else can read, in whose name an editor sees what it is. Its end is the file's, unless it is kept.
class EditedFile {
 public:
  static tl::expected<EditedFile, std::string> make(const std::string& text) {
    constexpr std::string_view ending = ".cfg";
    const std::string folder = environment("TMPDIR");
    std::string path = (folder.empty() ? "/tmp" : folder) + "/cloister-XXXXXX" + std::string(ending);
    const Fd fd(::mkostemps(path.data(), static_cast<int>(ending.size()), O_CLOEXEC));
    if (!fd) return tl::unexpected(fmt::format("cannot make {}: {}", path, std::strerror(errno)));
    EditedFile file(path);
    if (!write_all(fd.get(), {reinterpret_cast<const u8*>(text.data()), text.size()}))
      return tl::unexpected(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
    return file;
  }
  EditedFile(EditedFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  EditedFile& operator=(EditedFile&&) = delete;
  ~EditedFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  const std::string& path() const { return path_; }
  /// Its editor may have removed it.
  bool there() const { return ::access(path_.c_str(), F_OK) == 0; }
  void keep() {
    if (there()) spdlog::error("cloister: what was edited is kept in {}", path_);
    path_.clear();
  }

 private:
  explicit EditedFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// Whoever waits for a program on the same terminal leaves its keys to it, as system(3) does.
class KeysLeft {
 public:
  KeysLeft() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGINT, &ignore, &interrupt_);
    ::sigaction(SIGQUIT, &ignore, &quit_);
  }
  ~KeysLeft() {
    ::sigaction(SIGINT, &interrupt_, nullptr);
    ::sigaction(SIGQUIT, &quit_, nullptr);
  }
  KeysLeft(const KeysLeft&) = delete;
  KeysLeft& operator=(const KeysLeft&) = delete;

 private:
  struct sigaction interrupt_ {
  }, quit_{};
};

/// Runs the editor until it ends; why that was no success. What the environment says may have words beside a program's
/// name, so a shell reads it.
std::optional<std::string> run_editor(const std::string& path) {
  std::string editor = environment("VISUAL");
  if (editor.empty()) editor = environment("EDITOR");
  std::string script =
      editor.empty() ? R"(if command -v editor >/dev/null; then editor "$1"; else vi "$1"; fi)" : editor + R"( "$1")";
  std::string words[] = {"sh", "-c", std::move(script), "sh", path};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGINT);
  sigaddset(&defaults, SIGQUIT);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  const KeysLeft keys;
  pid_t child = 0;
  const int error = ::posix_spawn(&child, "/bin/sh", nullptr, &attributes, argv.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return fmt::format("cannot start the editor: {}", std::strerror(error));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return std::nullopt;
  return WIFEXITED(status) ? fmt::format("the editor ended with status {}", WEXITSTATUS(status))
                           : fmt::format("the editor was ended by signal {}", WTERMSIG(status));
}

/// An editor may leave anything in the file's place, such as a pipe that nobody writes to.
Answer<std::string> read_edited(const std::string& path) {
  const auto status = std::filesystem::status(path);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    return tl::unexpected(Failure{path + ": cannot read: not a regular file", exit_status::bad_configuration});
  return read_configuration(path);
}

/// What another text might mend.
bool is_of_the_text(const Failure& failure) {
  return failure.exit_status == exit_status::bad_configuration || failure.http_status == conflict;
}

/// Without a terminal nobody answers. Who answers by Ctrl-C knows where the text is.
bool edits_again(const std::string& path) {
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDERR_FILENO) == 0) return false;
  const std::string question = fmt::format("What was edited is in {}. Edit it again? [Y/n] ", path);
  (void)write_all(STDERR_FILENO, {reinterpret_cast<const u8*>(question.data()), question.size()});
  std::string line;
  return std::getline(std::cin, line) && !line.starts_with('n') && !line.starts_with('N');
}

}  // namespace

int edit(const Common& common, const std::string& domain) {
  const Api api(common.run_folder);
  const auto before = api.get_tagged(domain_path(domain, "/definition"));
  if (!before) return report(before.error());
  const std::string text = before->body.value("config", ""), name = before->body.value("name", domain);
  Json request{{"config", text}};
  for (const char* field : {"file", "directory"}) request[field] = before->body.value(field, "");

  auto file = EditedFile::make(text);
  if (!file) return report({"cloister: " + file.error(), exit_status::failed});
  while (true) {
    const auto trouble = run_editor(file->path());
    const auto now = read_edited(file->path());
    if (trouble) {
      const int status = report({"cloister: " + *trouble, exit_status::failed});
      if (!now || *now != text) file->keep();
      return status;
    }
    if (now && *now == text) {
      spdlog::info("cloister: {} is unchanged", name);
      return 0;
    }
    if (now) request["config"] = *now;
    const auto answer = now ? api.put(domain_path(name), request, before->tag) : tl::unexpected(now.error());
    if (answer) return common.json ? print_json(answer->body) : report_defined(*answer);
    Failure failure = answer.error();
    if (failure.http_status == precondition_failed)
      failure.message = fmt::format("cloister: somebody else has changed {} meanwhile; that stays", name);
    report(failure);
    if (file->there() && is_of_the_text(failure) && edits_again(file->path())) continue;
    file->keep();
    return failure.exit_status;
  }
}

}  // namespace cloister::toolstack::client
