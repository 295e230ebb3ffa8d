// By users' numbers, as the kernel tells them: a name may be another user's tomorrow.
#include "daemon/access.hpp"

#include <fmt/format.h>

namespace cloister::toolstack {

namespace {

constexpr unsigned nobody =
    ~0u;  // whom the kernel did not name (Peer), and whose a domain is whose record cannot be read

}  // namespace

bool is_master(unsigned user, const Owner& owner, unsigned daemon) {
  return user != nobody && (user == 0 || user == daemon || user == owner.user);
}

bool may(const Peer& peer, const Owner& owner, Right right, const AccessPolicy& policy, unsigned daemon) {
  const RightRow& row = row_of(right);
  if (row.whose == RightOf::everybody) return true;
  if (row.whose == RightOf::nobody) return is_master(peer.uid, {}, daemon);
  if (is_master(peer.uid, owner, daemon)) return true;
  return peer.uid != nobody && row.left_to != nullptr && policy.*row.left_to == LeftTo::group;
}

std::string refusal(const Peer& peer, const std::string& domain, const Owner& owner, Right right) {
  if (row_of(right).whose == RightOf::nobody)
    return fmt::format("user {} may not {}: that is root's, and the daemon's own user's", peer.uid, row_of(right).verb);
  const std::string whose =
      owner.user == nobody ? "whose owner is not known" : fmt::format("which is user {}'s", owner.user);
  return fmt::format("user {} may not {} '{}', {}", peer.uid, row_of(right).verb, domain, whose);
}

}  // namespace cloister::toolstack
