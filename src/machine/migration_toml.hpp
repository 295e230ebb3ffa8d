// [migration] of machine.toml: the machines that domains may go to, and come from, with their enclaves alive.
#pragma once

#include <vector>

#include "machine/machine.hpp"
#include "text/toml_reader.hpp"

namespace cloister::toolstack {

tables::Done read_peers_of_migration(std::vector<MovePeer>& peers, const tables::Value& value);

}  // namespace cloister::toolstack
