// The program `cloister-enclave`: makes enclaves from linked programs, signs them, and looks at both.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "enclave/commands.hpp"
#include "host/files.hpp"
#include "tools/options.hpp"

namespace {

int run_program(int argc, char** argv) {
  using namespace cloister::enclave;
  CLI::App app{"Makes, signs and checks enclaves"};
  app.require_subcommand(1);
  cloister::tools::add_version(app, "cloister-enclave");
  Arguments arguments;

  const auto add_settings = [&arguments](CLI::App* command) {
    command->add_option("--settings", arguments.settings, "a file of KEY = VALUE lines")->type_name("FILE");
    command->add_option("--set", arguments.set, "one more such line")->type_name("KEY=VALUE");
    command->footer("Settings:\n" + settings_help());
  };
  const auto add_file = [](CLI::App* command, const char* name, std::string& to, const char* what) {
    command->add_option(name, to, what)->required();
  };

  CLI::App* build_command = app.add_subcommand("build", "Lay out an ELF program as an enclave: an SGXS stream");
  add_settings(build_command);
  add_file(build_command, "PROGRAM", arguments.program, "a position-independent ELF64 file without relocations");
  add_file(build_command, "ENCLAVE", arguments.enclave, "the SGXS file to write");

  CLI::App* sign_command = app.add_subcommand("sign", "Measure an enclave and sign it: a SIGSTRUCT");
  add_settings(sign_command);
  sign_command->add_option("--key", arguments.key, "RSA-3072 with exponent 3, PEM")->type_name("FILE")->required();
  sign_command->add_flag("--generate", arguments.generate, "make the key first, if the file is not there");
  add_file(sign_command, "ENCLAVE", arguments.enclave, "an SGXS file");
  add_file(sign_command, "SIGNATURE", arguments.signature, "the SIGSTRUCT to write");

  CLI::App* inspect_command = app.add_subcommand("inspect", "Print what an SGXS file or a SIGSTRUCT says");
  add_file(inspect_command, "FILE", arguments.enclave, "either");

  CLI::App* verify_command = app.add_subcommand("verify", "Check a SIGSTRUCT, and that it is this enclave's");
  add_file(verify_command, "ENCLAVE", arguments.enclave, "an SGXS file");
  add_file(verify_command, "SIGNATURE", arguments.signature, "a SIGSTRUCT");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cloister::tools::answer(app, error);
  }
  const Result<std::string> result = *build_command     ? build(arguments)
                                     : *sign_command    ? sign(arguments)
                                     : *inspect_command ? inspect(arguments)
                                                        : verify(arguments);
  if (!result) {
    std::fprintf(stderr, "cloister-enclave: %s\n", result.error().c_str());
    return 1;
  }
  return cloister::toolstack::print(*result) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) { return cloister::tools::run_main("cloister-enclave", run_program, argc, argv); }
