// `cloister image`: the verbs that make disks, which need no daemon.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "client/image_build.hpp"
#include "tools/options.hpp"

namespace cloister::tools {

inline void add_image(CLI::App& app, toolstack::client::ImageArguments& arguments, std::function<int()>& chosen) {
  auto* image = app.add_subcommand("image", "Make disks for domains");
  image->require_subcommand(1);
  auto* build = image->add_subcommand("build", "Make a disk with Debian on it");
  build->add_option("IMAGE", arguments.image, "the disk's file, which is not there yet")
      ->required()
      ->check(file_name());
  const auto text = [&](const char* name, const char* type, const char* help) {
    build
        ->add_option_function<std::string>(
            name, [&arguments, name](const std::string& value) { arguments.options.emplace_back(name, value); }, help)
        ->type_name(type)
        ->check(not_nothing("a value"));
  };
  text("--suite", "NAME", "of Debian: bookworm if none is named");
  text("--size", "SIZE", "of the disk, in bytes or with K, M, G: 4G");
  text("--ssh-key", "FILE", "a public key that may log in as root; without one, root has no password on the console");
  text("--hostname", "NAME", "debian if none is given");
  text("--include", "NAMES", "more packages, with commas between them");
  text("--with", "FOLDER", "copy the files of this folder into it, too; they belong to root");
  text("--mirror", "URL", "where Debian is had from: http://deb.debian.org/debian");
  build->add_flag_callback(
      "--force", [&arguments] { arguments.options.emplace_back("--force", ""); }, "replace IMAGE if there is one");
  build->callback([&] { chosen = [&] { return toolstack::client::build_image(arguments); }; });
}

}  // namespace cloister::tools
