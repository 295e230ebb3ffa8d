// [storage] of machine.toml: folders that several machines have, by a name that is the same on all of them.
#pragma once

#include "machine/machine.hpp"
#include "text/toml_reader.hpp"

namespace cloister::toolstack {

tables::Done read_storage_table(MachineDescription& machine, const tables::Value& value);

}  // namespace cloister::toolstack
