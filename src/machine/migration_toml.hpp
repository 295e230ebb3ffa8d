// [migration] of machine.toml: the machines that domains may go to, and come from, with their enclaves alive; and the
// EPC that is kept for their versions.
#pragma once

#include "machine/machine.hpp"
#include "text/toml_reader.hpp"

namespace cloister::toolstack {

tables::Done read_migration_table(MachineDescription& machine, const tables::Value& value);

}  // namespace cloister::toolstack
