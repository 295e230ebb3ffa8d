// What a source says of a domain before anything of it is sent (docs/migration.md), from which the target sees whether
// it could run it. Nothing of it is believed: it is checked as what somebody wants to create, and what is sent later is
// held against it by the domain's process.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "arch/sgx.hpp"
#include "arch/types.hpp"
#include "config/domain_config.hpp"
#include "daemon/definition.hpp"
#include "host/disk_image.hpp"

namespace cloister::toolstack {

/// Of what a source says, and of its stream. 1: of a domain that is not defined.
inline constexpr u32 offer_version = 2;
/// Kernel or ramdisk.
inline constexpr u64 longest_image = u64{1} << 30;

/// What becomes of a domain's enclaves when it moves.
enum class MovedEnclaves : u8 {
  lose,  ///< as in suspend to RAM; whoever may write to the socket may be sent the domain
  keep,  ///< they go on, at a machine that machine.toml names
};
constexpr const char* name_of(MovedEnclaves enclaves) { return enclaves == MovedEnclaves::keep ? "keep" : "lose"; }

/// Of a machine that has enclaves to send (move_handshake.hpp), in hexadecimal.
inline constexpr std::size_t hello_digits = 130;

struct Offer {
  std::string uuid{}, name{};
  std::string config{}, file{}, directory{};      ///< as they came (DomainRecord)
  std::string kernel_sha256{}, ramdisk_sha256{};  ///< of the files at the source; the second may be empty
  std::vector<u8> shape{};                        ///< hypervisor::DomainShape
  MovedEnclaves enclaves = MovedEnclaves::lose;
  std::string hello{};  ///< the source's, with `keep` (move_handshake.hpp)
  /// With `keep`: KeyRing::id_of() each key that it has, by the key's name.
  std::map<std::string, std::string> keys{};
  /// Its disks, by their vdev: how the target sees that it has the same files.
  std::map<std::string, DiskMark> disks{};
  std::optional<StartTerms> defined{};  ///< its definition goes along: the text, and when it is started
  /// Why it cannot leave so, for who asked its source; with these it does not.
  std::vector<std::string> refused{};
  bool operator==(const Offer&) const = default;
};

nlohmann::json to_json(const Offer& offer);
/// The error says which member is wrong.
tl::expected<Offer, std::string> read_offer(const nlohmann::json& object);

/// What the two machines prove to each other that they speak of: all of it but `hello`, which they have in the proof.
arch::Bytes32 offer_digest(const Offer& offer);

}  // namespace cloister::toolstack
