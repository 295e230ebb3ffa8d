// `cloisterd --check`: a start's reading without its writing.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>

#include "daemon/broker.hpp"
#include "daemon/daemon.hpp"
#include "daemon/definitions.hpp"
#include "daemon/registry.hpp"
#include "daemon/secrets.hpp"
#include "daemon/socket_folders.hpp"
#include "host/files.hpp"
#include "machine/host_epc.hpp"

namespace cloister::toolstack {

namespace {

class Check {
 public:
  Check(DaemonPaths paths, const Processors& processors) : paths_(std::move(paths)), processors_(processors) {}

  bool run(const DaemonArguments& arguments) {
    look_at_run();
    auto broker = look_at_machine(arguments);
    if (!std::filesystem::exists(std::filesystem::symlink_status(paths_.state))) {
      say("note", paths_.state, "not there: a start makes it");
    } else if (auto registry = open(arguments)) {
      look_at_state(*registry, arguments, broker ? &*broker : nullptr);
    }
    return all_well_;
  }

 private:
  void say(const char* kind, const std::string& where, const std::string& what) {
    put(fmt::format("{:<6}{}: {}\n", kind, where, what));
  }
  void wrong(const std::string& what) {
    put(fmt::format("{:<6}{}\n", "wrong", what));
    all_well_ = false;
  }
  /// What nobody reads tells nobody that all is well.
  void put(const std::string& line) { all_well_ = print(line) && all_well_; }

  void look_at_run() {
    if (!std::filesystem::exists(std::filesystem::symlink_status(paths_.run)))
      return say("note", paths_.run, "not there: a start makes it");
    const auto run = open_own_folder(paths_.run, Making::never, 0);
    if (!run) return wrong(run.error());
    struct stat status {};
    if (::fstatat(run->get(), "domains", &status, AT_SYMLINK_NOFOLLOW) != 0) return;
    const auto sockets = SocketFolders::open(run->get(), paths_.run, Making::never);
    if (!sockets) return wrong(sockets.error());
    const auto names = sockets->list();
    if (!names) return wrong(names.error());
    for (const SocketFolders::Left& entry : *names) {
      if (!entry.id) say("note", sockets->path_of(entry.name), "no domain's folder: it is left alone");
    }
  }

  std::optional<Registry> open(const DaemonArguments& arguments) {
    const auto state = open_own_folder(paths_.state, Making::never, 0);
    if (!state) return wrong(state.error()), std::nullopt;
    struct stat status {};
    if (::fstatat(state->get(), "domains", &status, AT_SYMLINK_NOFOLLOW) != 0) {
      look_at_secrets_in(state->get(), false, false, arguments);
      return std::nullopt;
    }
    auto registry = Registry::open(paths_, Making::never);
    if (!registry) return wrong(registry.error()), std::nullopt;
    return std::move(*registry);
  }

  void look_at_secrets_in(int state, bool used, bool keyed, const DaemonArguments& arguments) {
    const SecretsSeen seen = look_at_secrets(state, paths_, used, keyed, arguments.anew);
    for (const std::string& note : seen.notes) say("note", paths_.state, note);
    for (const std::string& what : seen.wrong) wrong(what);
  }

  void look_at_keys(const Registry& registry) {
    if (!has_secret(registry.state(), wrap_secret_file)) return;
    const auto wrap = secret_in(registry.state(), paths_.state, wrap_secret_file, MissingSecret::refuse);
    const auto keys = registry.keys();
    if (!wrap || !keys) return keys ? void() : wrong(keys.error());
    for (const KeyFile& file : keys->files) {
      const auto key = file.why.empty() ? unwrap_key(file.text, {*wrap}) : tl::unexpected(file.why);
      const std::string why = !key                     ? key.error()
                              : key->name != file.name ? "'key': " + to_text(key->name) + ", which is another file's"
                                                       : "";
      if (!why.empty()) wrong(fmt::format("{}: {}", (paths_.keys() / key_file(file.name)).string(), why));
    }
    for (const std::string& name : keys->strays) say("note", paths_.keys() / name, "no key: it is left alone");
  }

  std::optional<Broker> look_at_machine(const DaemonArguments& arguments) {
    const auto machine = load_machine(arguments.machine, [] { return host_epc(this_host()); });
    if (!machine) return wrong(machine.error()), std::nullopt;
    auto broker = Broker::create(processors_, *machine);
    if (!broker) return wrong(broker.error()), std::nullopt;
    return std::move(*broker);
  }

  /// broker: null: there is no machine that its domains could be looked at with.
  void look_at_state(const Registry& registry, const DaemonArguments& arguments, Broker* broker) {
    look_at_secrets_in(registry.state(), registry.used(), registry.has_keys(), arguments);
    look_at_keys(registry);
    if (broker == nullptr) return;
    if (const auto record = registry.machine()) {
      look_at_withdrawn(record->withdrawn, *broker);
    } else {
      wrong(record.error() + ": no domain could be created");
    }
    const auto records = registry.read();
    if (!records) return wrong(records.error());
    for (const DomainRecord& record : records->domains) look_at(record, *broker);
    for (const UnreadRecord& record : records->unread)
      wrong(paths_.record(record.id).string() + ": " + record.why +
            ": it would be set aside when its domain has ended");
    for (const std::string& name : records->unfinished)
      say("note", paths_.records() / name, "was being written: what it replaces is there");
    for (const std::string& name : records->strays)
      say("note", paths_.records() / name, "no domain's record: it is left alone");
    look_at_definitions(registry);
  }

  void look_at_definitions(const Registry& registry) {
    if (const auto host = registry.host(); !host) wrong(paths_.host_record().string() + ": " + host.error());
    const auto read = registry.definitions();
    if (!read) return wrong(read.error());
    const auto aside = [this](const std::string& file, const std::string& why) {
      wrong(fmt::format("{}: {}: it would be set aside", (paths_.definitions() / file).string(), why));
    };
    Definitions taken;
    for (const auto& [uuid, why] : taken.take(read->definitions)) aside(paths_.definition(uuid).filename(), why);
    for (const auto& [uuid, defined] : taken) {
      const Definition& definition = defined.definition;
      const std::string where = paths_.definition(uuid);
      if (defined.unread.empty()) {
        say("ok", where, fmt::format("'{}', autostart {}", definition.name, name_of(definition.autostart)));
      } else {
        wrong(fmt::format("{}: '{}' cannot be started: {}", where, definition.name, defined.unread));
      }
    }
    for (const UnreadDefinition& unread : read->unread) aside(unread.file, unread.why);
    for (const std::string& name : read->unfinished)
      say("note", paths_.definitions() / name, "was being written: what it replaces is there");
    for (const std::string& name : read->strays)
      say("note", paths_.definitions() / name, "no definition: it is left alone");
  }

  void look_at_withdrawn(const std::vector<u64>& frames, Broker& broker) {
    for (const u64 frame : frames) {
      if (!broker.withdraw(frame))
        say("note", paths_.machine_record(), fmt::format("'withdrawn': this machine has no frame {} of EPC", frame));
    }
    say("ok", paths_.machine_record(), fmt::format("{} frames are withdrawn", broker.accounts().count().withdrawn));
  }

  void look_at(const DomainRecord& record, Broker& broker) {
    const std::string where = paths_.record(record.id);
    std::string life = "its process is not known";
    if (record.process) {
      const auto process = open_process(*record.process);
      const bool dead = !process && process.error() == Absence::dead;
      life = process ? fmt::format("process {} lives", record.process->pid)
             : dead  ? "its process has ended"
                     : "whether its process lives cannot be told";
      if (dead) return say("ok", where, fmt::format("'{}', {}", record.name, life));
    }
    const auto absent = broker.reserve(record.id, record.grants);
    if (!absent)
      return wrong(fmt::format("{}: '{}' has frames that are another's, too: {}; no EPC could be granted", where,
                               record.name, absent.error()));
    if (*absent != 0)
      say("note", where, fmt::format("'{}' has {} frames that this machine does not have", record.name, *absent));
    say("ok", where, fmt::format("'{}', {} pages, {}", record.name, pages_of(record.grants), life));
  }

  DaemonPaths paths_;
  const Processors& processors_;
  bool all_well_ = true;
};

}  // namespace

int check_daemon(const DaemonArguments& arguments, const Processors& processors) {
  const auto paths = daemon_paths(arguments);
  if (!paths) {
    std::fprintf(stderr, "cloisterd: %s\n", paths.error().c_str());
    return 1;
  }
  return Check(*paths, processors).run(arguments) ? 0 : 1;
}

}  // namespace cloister::toolstack
