// What the command lines of the programs have in common.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>

#include "host/standard_streams.hpp"

namespace cloister::tools {

/// What main() does: `run` with its arguments, whose status it is; 1 after an exception, which is said.
inline int run_main(const char* program, int (*run)(int, char**), int argc, char** argv) {
  open_standard_streams();
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program, error.what());
    return 1;
  }
}

/// --version: "PROGRAM VERSION".
inline void add_version(CLI::App& app, const std::string& program) {
  app.set_version_flag("--version", program + " " CLOISTER_VERSION, "Print the version and exit");
}

/// Prints what a command line that runs nothing is answered with; the exit status: 0 for --help and --version, 1 if
/// their text was lost, 2 for a wrong command line.
inline int answer(const CLI::App& app, const CLI::ParseError& error) {
  if (app.exit(error) != 0) return 2;
  return std::cout.flush() ? 0 : 1;
}

/// A decimal number from `least` to `most`, which NaN, though no comparison refuses it, and infinity are not.
inline CLI::Validator seconds_between(double least, double most) {
  return CLI::Validator(
      [least, most](const std::string& text) {
        double seconds = 0;
        const char* const end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, seconds);
        if (error == std::errc() && stop == end && seconds >= least && seconds <= most) return std::string();
        return "'" + text + "': expected a number of seconds from " + CLI::detail::to_string(least) + " to " +
               CLI::detail::to_string(most);
      },
      "");
}

inline CLI::Validator whole_number(unsigned long least, unsigned long most) {
  return CLI::Validator(
      [least, most](std::string& text) {
        unsigned long number = 0;
        const char* const end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, number);
        if (error == std::errc() && stop == end && number >= least && number <= most) {
          text = std::to_string(number);  // else 010 is 8
          return std::string();
        }
        return "'" + text + "': expected a whole number from " + std::to_string(least) + " to " + std::to_string(most);
      },
      "");
}

inline CLI::Validator whole_number_to(unsigned long most) { return whole_number(0, most); }

/// Not the nothing of a shell's variable that is not set, which would count as the option left out, or as all there
/// are.
inline CLI::Validator not_nothing(std::string expected) {
  return CLI::Validator(
      [expected = std::move(expected)](const std::string& text) {
        return text.empty() ? "found nothing, expected " + expected : std::string();
      },
      "");
}

inline CLI::Validator file_name() { return not_nothing("a file's name"); }

/// The file that a domain is saved in.
inline void add_saved_file(CLI::App& command, std::string& file, bool& force) {
  command.add_option("FILE", file, "a file that is not there yet")->required();
  command.add_flag("--force", force, "or in which a domain was saved: it goes when this one is whole");
}

}  // namespace cloister::tools
