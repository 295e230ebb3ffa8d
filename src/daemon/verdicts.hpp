// Whether a domain that has come from elsewhere runs here: a file for each move, which is written once, and is the one
// moment at which the domain passes from its source to this daemon. A move that has no file, and that no daemon waits
// for, has come to nothing.
//
// Threads: all functions may be called from any thread, also of several objects of one folder: who decides about a
// domain that arrives, and who ends it, see one verdict.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "host/files.hpp"

namespace cloister::toolstack {

struct Verdict {
  bool commit = false;
  bool paused = false;  ///< it was, and is to be, here
  std::string uuid{}, name{};
  unsigned user = ~0u;  ///< whose it is
  /// Of one whose enclaves came with it: SHA-256 of its source's word that it knows the verdict, without which this
  /// stays: who forgets it would say `abort` from then on, and its source would let them go on, too. Empty: no word is
  /// needed.
  std::string done{};
  bool operator==(const Verdict&) const = default;
};

std::string write_verdict(const Verdict& verdict);
tl::expected<Verdict, std::string> read_verdict(std::string_view text);

class Verdicts {
 public:
  /// The folder STATE/migrations, which is made with the first of them.
  static tl::expected<Verdicts, std::string> open(const std::string& state);

  /// None: there is no such file. One that is found is on the disk, also if who wrote it did not come to that: it may
  /// be acted on.
  tl::expected<std::optional<Verdict>, std::string> find(const std::string& session) const;
  /// Once: what there is already stays, and of two at the same time one. The one that counts, which is on the disk.
  /// After an error it is not known, and is to be asked for again.
  tl::expected<Verdict, std::string> put(const std::string& session, const Verdict& verdict) const;
  /// Its source knows it.
  tl::expected<void, std::string> remove(const std::string& session) const;
  /// Removes those that are no commit, which nobody waits for: without a file they are the same. How many of this
  /// user's are left.
  std::size_t tidy(unsigned user) const;

 private:
  Verdicts(std::string path, Fd state) : path_(std::move(path)), state_(std::move(state)) {}
  /// Invalid: there is none.
  tl::expected<Fd, std::string> folder() const;
  /// With the lock; it may not be on the disk.
  static tl::expected<std::optional<Verdict>, std::string> read(int folder, const std::string& session);
  tl::expected<void, std::string> sync(int folder) const;

  std::string path_;
  Fd state_;
};

}  // namespace cloister::toolstack
