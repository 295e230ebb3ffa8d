// The script checks what it is given, says what it does, and removes what is half done.
#include "client/image_build.hpp"

#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "host/exit_status.hpp"

namespace cloister::toolstack::client {

namespace {

namespace fs = std::filesystem;

/// Where it is installed, or else in the tree that this program was built in.
std::optional<fs::path> image_script() {
  std::error_code error;
  const fs::path programs = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : {"../share/cloister/scripts/debian-image", "../../../scripts/debian-image"}) {
    const fs::path script = fs::weakly_canonical(programs / place, error);
    if (!error && ::access(script.c_str(), X_OK) == 0) return script;
  }
  return std::nullopt;
}

/// Of the user, also where nobody has set HOME. Empty: there is none.
std::string home_folder() {
  if (const char* const home = ::getenv("HOME"); home != nullptr && *home != '\0') return home;
  const passwd* const user = ::getpwuid(::getuid());
  return user == nullptr || user->pw_dir == nullptr ? "" : user->pw_dir;
}

/// Logs of its steps lie where its owner alone may write. False: nobody says where.
bool set_image_environment(const fs::path& script) {
  ::setenv("CLOISTER_PROGRAM", "cloister image build", 1);
  if (!script.native().ends_with("/share/cloister/scripts/debian-image")) return true;
  const char* const cache = ::getenv("XDG_CACHE_HOME");
  const std::string home = home_folder();
  const std::string folder = cache != nullptr && *cache != '\0' ? cache : home.empty() ? "" : home + "/.cache";
  if (folder.empty() && ::getenv("CLOISTER_BUILD") == nullptr) return false;
  if (!folder.empty()) ::setenv("CLOISTER_BUILD", (folder + "/cloister").c_str(), 0);
  return true;
}

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int one : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&set, one);
  return set;
}

/// 0, or an error's number.
int start_script(const fs::path& script, std::vector<std::string> words, pid_t& child) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawnattr_t how;
  posix_spawn_file_actions_t files;
  ::posix_spawnattr_init(&how);
  ::posix_spawn_file_actions_init(&files);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  ::posix_spawnattr_setsigmask(&how, &none);
  ::posix_spawnattr_setsigdefault(&how, &all);
  ::posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", 0, 0);
  const int error = ::posix_spawn(&child, script.c_str(), &files, &how, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&how);
  return error;
}

int follow_script(pid_t child, const sigset_t& watched) {
  while (true) {
    int status = 0;
    if (::waitpid(child, &status, WNOHANG) == child) {
      return WIFSIGNALED(status) ? exit_status::signalled + WTERMSIG(status) : WEXITSTATUS(status);
    }
    const int told = ::sigwaitinfo(&watched, nullptr);
    if (told == SIGINT || told == SIGTERM || told == SIGHUP) ::kill(-child, told == SIGHUP ? SIGTERM : told);
  }
}

}  // namespace

int build_image(const ImageArguments& arguments) {
  const auto script = image_script();
  if (!script) {
    spdlog::error("cloister: image build: the script debian-image is not installed beside this program");
    return exit_status::failed;
  }
  if (!set_image_environment(*script)) {
    spdlog::error(
        "cloister: image build: this user has no home folder; CLOISTER_BUILD=FOLDER says where logs are to lie");
    return exit_status::failed;
  }
  std::vector<std::string> words{script->string()};
  for (const auto& [option, value] : arguments.options) {
    words.push_back(option);
    if (!value.empty()) words.push_back(value);
  }
  words.push_back(arguments.image);
  const sigset_t watched = watched_signals();
  ::sigprocmask(SIG_BLOCK, &watched, nullptr);
  pid_t child = -1;
  if (const int error = start_script(*script, std::move(words), child); error != 0) {
    spdlog::error("cloister: image build: {}: {}", script->string(), std::strerror(error));
    return exit_status::failed;
  }
  return follow_script(child, watched);
}

}  // namespace cloister::toolstack::client
