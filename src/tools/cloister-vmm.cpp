// The program `cloister-vmm`: one domain. Only cloisterd starts it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "host/log.hpp"
#include "host/standard_streams.hpp"
#include "tools/options.hpp"
#include "tools/processors.hpp"
#include "vmm/vmm.hpp"

int main(int argc, char** argv) {
  cloister::open_standard_streams();
  try {
    CLI::App app{"One domain's process; only cloisterd starts it"};
    cloister::tools::add_version(app, "cloister-vmm");
    std::string title;
    app.add_option("TITLE", title, "of which domain it is, for those who list processes");
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return cloister::tools::answer(app, error);
    }
    cloister::toolstack::set_up_piped_log("cloister-vmm");
    return cloister::toolstack::run_vmm(cloister::tools::processors());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cloister-vmm: %s\n", error.what());
    return 1;
  }
}
