// Who may do what (docs/access.md): a domain's owner, root and the daemon's own user everything; whoever else may
// connect to the API's socket sees domains and makes his own, and may do what [access] of the machine's description
// leaves to him.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "host/owner.hpp"
#include "machine/machine.hpp"

namespace cloister::toolstack {

enum class Right : u8 { see, create, console, control, keys, epc, save, host };

/// Whose a right is, beside root and the daemon's own user.
enum class RightOf : u8 { everybody, owner, nobody };

struct RightRow {
  Right right;
  std::string_view name;  ///< in docs/access.md
  std::string_view verb;  ///< what one may not do: "may not VERB 'web'"
  RightOf whose;
  LeftTo AccessPolicy::*left_to;  ///< an owner's: to whom else; null: to nobody
};
inline constexpr std::array right_rows{
    RightRow{Right::see, "see", "see", RightOf::everybody, nullptr},
    RightRow{Right::create, "create", "create", RightOf::everybody, nullptr},
    RightRow{Right::console, "console", "use the console of", RightOf::owner, &AccessPolicy::console},
    RightRow{Right::control, "control", "control", RightOf::owner, &AccessPolicy::control},
    RightRow{Right::keys, "keys", "change keys of", RightOf::owner, nullptr},
    RightRow{Right::epc, "epc", "say how EPC is shared by", RightOf::owner, nullptr},
    RightRow{Right::save, "save", "save", RightOf::owner, nullptr},
    RightRow{Right::host, "host", "say that the host goes down or up", RightOf::nobody, nullptr}};

constexpr const RightRow& row_of(Right right) { return right_rows[static_cast<std::size_t>(right)]; }

/// Whether a user may do everything to a domain of this owner. `daemon`: the daemon's own user.
bool is_master(unsigned user, const Owner& owner, unsigned daemon);

/// Whether who is at the other end of the API's socket may do this to a domain of this owner. `daemon`: the daemon's
/// own user. Of a right that is everybody's the owner does not matter.
bool may(const Peer& peer, const Owner& owner, Right right, const AccessPolicy& policy, unsigned daemon);

/// A sentence for who may not.
std::string refusal(const Peer& peer, const std::string& domain, const Owner& owner, Right right);

}  // namespace cloister::toolstack
