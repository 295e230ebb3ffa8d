// A domain's configuration file, as a request to cloisterd has it.
#pragma once

#include <string>

#include "client/api.hpp"

namespace cloister::toolstack::client {

/// The file's text, byte for byte. JSON can hold no bytes but UTF-8's, and cloisterd takes no longer ones: what is
/// neither is an error in the configuration, with its place.
Answer<std::string> read_configuration(const std::string& file);

/// The name that a text gives its domain.
Answer<std::string> name_in(const std::string& text, const std::string& file);

/// {config, file, directory}: paths in it are relative to the current folder.
Answer<Json> request_with(const std::string& text, const std::string& file);

}  // namespace cloister::toolstack::client
