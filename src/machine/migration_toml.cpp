#include "machine/migration_toml.hpp"

#include "config/domain_name.hpp"

namespace cloister::toolstack {

namespace {

using tables::Done;
using tables::Field;
using tables::Value;

constexpr std::size_t most_peers = 1024, longest_user = 256;
constexpr u64 most_versions_mib = 1024;  // for half a TiB of EPC

struct PeerDraft {
  MovePeer peer;
  bool keyed = false;
};

Done read_peer_name(PeerDraft& draft, const Value& value) {
  draft.peer.name = TRY(value.string("what this machine is called here"));
  if (const auto why = name_refused(draft.peer.name)) return value.error(*why);
  return {};
}

Done read_peer_key(PeerDraft& draft, const Value& value) {
  const auto key = read_public_key(TRY(value.string(public_key_form)));
  if (!key) return value.wrong(public_key_form);
  draft.peer.key = *key;
  draft.keyed = true;
  return {};
}

Done read_peer_owner(PeerDraft& draft, const Value& value) {
  constexpr const char* form = "a user's name";
  draft.peer.owner = TRY(value.string(form));
  // Digits are no name, and would be somebody's number.
  const bool digits = draft.peer.owner.find_first_not_of("0123456789") == std::string::npos;
  if (digits || draft.peer.owner.size() > longest_user || draft.peer.owner.find_first_of(":/\n") != std::string::npos)
    return value.wrong(form);
  return {};
}

constexpr Field<PeerDraft> peer_fields[] = {
    {"name", read_peer_name}, {"key", read_peer_key}, {"owner", read_peer_owner}};

Done read_peers(MachineDescription& machine, const Value& value) {
  std::vector<MovePeer>& peers = machine.peers;
  constexpr const char* form = "an array of tables, such as [{ name = \"rack2\", key = \"ed25519:…\" }]";
  const auto elements = TRY(value.elements(form));
  for (const Value& element : elements) {
    const auto* table = element.node.as_table();
    if (table == nullptr) return element.wrong(form);
    if (peers.size() == most_peers) return element.error("found more than 1024 machines");
    PeerDraft draft;
    TRY(tables::read_table<PeerDraft>(draft, *table, peer_fields));
    if (draft.peer.name.empty()) return element.error("found no 'name', expected it of every machine");
    if (!draft.keyed) return element.error("found no 'key', expected " + std::string(public_key_form));
    for (const MovePeer& other : peers) {
      if (other.name == draft.peer.name)
        return element.error("found '" + other.name + "' twice, expected another name for each machine");
      if (other.key == draft.peer.key)
        return element.error("found the key of '" + other.name + "', expected another one for each machine");
    }
    peers.push_back(std::move(draft.peer));
  }
  return {};
}

Done read_versions(MachineDescription& machine, const Value& value) {
  machine.versions_mib = TRY(value.integer(0, most_versions_mib, "in MiB"));
  return {};
}

constexpr Field<MachineDescription> migration_fields[] = {{"peers", read_peers}, {"reserve", read_versions}};

}  // namespace

Done read_migration_table(MachineDescription& machine, const Value& value) {
  const auto* table = value.node.as_table();
  if (table == nullptr) return value.wrong("a table, begun with [migration]");
  return tables::read_table<MachineDescription>(machine, *table, migration_fields);
}

}  // namespace cloister::toolstack
