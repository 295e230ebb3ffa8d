// A first corpus for enclave_fuzz: a program, the stream it makes, and a settings text.
#include <fstream>
#include <string>

#include "enclave/layout.hpp"
#include "unit/enclave/program.hpp"

int main(int count, char** words) {
  using namespace cloister;
  if (count != 2) return 2;
  const auto write = [folder = std::string(words[1])](const char* name, std::span<const u8> bytes) {
    std::ofstream(folder + "/" + name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  };
  write("program", enclave::test::make_program());
  enclave::Stream stream{.size = 0x4000, .ssa_frame_pages = 1, .records = {}};
  enclave::add_page(stream, 0x1000, 0x203, std::array<u8, arch::page_size>{});
  write("stream", enclave::write_sgxs(stream));
  constexpr std::string_view settings = "size = 2M\nheap = 16K # of it\ndebug = true\nxfrm = 0x7\ndate = 20260131\n";
  write("settings", {reinterpret_cast<const u8*>(settings.data()), settings.size()});
  return 0;
}
