// EXPORTROOT, UNLATCH, STARTOVER, IMPORTROOT, COMMIT and ABORT: each checks in the order of docs/vendor-leaves.md, and
// changes nothing before its last check. None runs beside a leaf of the package's, so that what it finds stays so until
// the latch is set.
#include "silicon/sgx/leaves/root_mover.hpp"

#include <algorithm>
#include <cstring>

#include "arch/try.hpp"
#include "silicon/sgx/check.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/keys/root_crypto.hpp"
#include "silicon/sgx/leaves/measurement.hpp"

namespace cloister::silicon {

using vmx::MoveError;
using vmx::MoveSession;
using vmx::MoveToken;
using vmx::RootImage;

namespace {

using Refused = tl::unexpected<MoveError>;

/// What moves. Its layout is ours; another one is another `layout`.
struct Root {
  static constexpr u64 expected_layout = 1;
  u64 layout = expected_layout;
  /// What its enclaves derive their keys from, shown by two of them: a package whose keys are others would lose all.
  arch::Bytes16 platform{};
  arch::Bytes32 report_keyid{};
  arch::Bytes16 cpusvn{}, paging_key{};
  u64 next_eid = 0, next_version = 0;
  std::array<u64, arch::page_size / sizeof(u64)> versions{};
  std::array<u8, 48> reserved{};
};
static_assert(std::has_unique_object_representations_v<Root>);
static_assert(sizeof(Root) + sizeof(arch::Bytes16) == vmx::root_image_bytes);

/// What is authenticated with it: whose it is, and in which session. Its key is of one direction alone.
struct Header {
  u64 magic = 0x746f'6f72'636c'7367;  // "gslcroot"
  arch::Bytes16 session{}, domain{};
};
static_assert(std::has_unique_object_representations_v<Header>);

template <class T>
std::span<const u8> bytes_of(const T& value) {
  return {reinterpret_cast<const u8*>(&value), sizeof value};
}

/// A Root that is erased when it is no longer needed.
struct SecretRoot : Root {
  SecretRoot() = default;
  SecretRoot(const SecretRoot&) = delete;
  SecretRoot& operator=(const SecretRoot&) = delete;
  ~SecretRoot() { erase(bytes()); }
  std::span<u8> bytes() { return {reinterpret_cast<u8*>(static_cast<Root*>(this)), sizeof(Root)}; }
};

/// No leaf runs in the package, of a guest's or of root mode's.
class Alone {
 public:
  explicit Alone(PackageImpl& package)
      : guests_(package.leaves(), LockMode::exclusive), root_(package.root_leaves(), LockMode::exclusive) {}
  explicit operator bool() const { return guests_ && root_; }

 private:
  Held guests_, root_;
};

/// Whether any page of the EPC is valid but this one.
bool others_valid(PackageImpl& package, const EpcmEntry* but) CLOISTER_REQUIRES(package.mutex()) {
  bool others = false;
  package.memory().impl().for_each_used(
      [&](const EpcmEntry& page) { others = others || (&page != but && page.valid); });
  return others;
}

}  // namespace

tl::expected<void, MoveError> RootMover::may_begin(const MoveSession& session) {
  if (fails("MOVE.latched", part_ != Part::none || package_.latch() != Latch::open)) return Refused(MoveError::latched);
  if (fails("MOVE.session", std::ranges::find(used_, session.id) != used_.end()))
    return Refused(MoveError::session_used);
  return {};
}

void RootMover::begin(Part part, u32 root, const MoveSession& session, Latch latch) {
  part_ = part;
  root_ = root;
  token_digest_ = session.token_digest;
  used_.push_back(session.id);
  package_.set_latch(latch);
}

tl::expected<void, MoveError> RootMover::may_end(Part part, const MoveToken& token) {
  if (fails("MOVE.part", part_ != part)) return Refused(MoveError::latched);
  if (fails("MOVE.token", !same_digest(sha256(token), token_digest_))) return Refused(MoveError::wrong_token);
  return {};
}

tl::expected<RootImage, MoveError> RootMover::export_root(Mfn frame, const MoveSession& session) {
  const MutexLock held(mutex_);
  const Alone alone(package_);
  if (fails("EXPORTROOT.package_busy", !alone)) return Refused(MoveError::package_busy);
  TRY(may_begin(session));
  const auto found = package_.index_of(frame);
  if (fails("EXPORTROOT.epc", !found)) return Refused(MoveError::not_epc);
  const u32 index = epc_index_of(found, frame.value << arch::page_shift, package_.epc_pages());
  EpcmEntry& page = package_.epcm(index);
  SecretRoot root;
  {
    const MutexLock guard(package_.mutex());
    if (fails("EXPORTROOT.valid", !page.valid) || fails("EXPORTROOT.type", page.type != arch::PageType::va))
      return Refused(MoveError::not_root);
    if (fails("EXPORTROOT.alone", others_valid(package_, &page))) return Refused(MoveError::not_alone);
    std::memcpy(root.versions.data(), package_.page(index), arch::page_size);
  }
  const PlatformKeys& keys = package_.keys();
  PlatformKeys::Paging paging = keys.paging();
  root.platform = keys.derive({});
  root.report_keyid = keys.report_keyid();
  root.cpusvn = paging.cpusvn;
  root.paging_key = paging.key;
  root.next_eid = paging.counts.eid;
  root.next_version = paging.counts.version;
  erase(paging.key);

  const Header header{.session = session.id, .domain = session.domain};
  RootImage image;
  const arch::Bytes16 tag = seal_root(session.key, bytes_of(header), root.bytes(), image.data());
  std::memcpy(image.data() + sizeof(Root), tag.data(), tag.size());
  begin(Part::source, index, session, Latch::closed);
  return image;
}

tl::expected<void, MoveError> RootMover::unlatch(const MoveToken& token) {
  const MutexLock held(mutex_);
  TRY(may_end(Part::source, token));
  part_ = Part::none;
  package_.set_latch(Latch::open);
  return {};
}

tl::expected<void, MoveError> RootMover::start_over(const vmx::PlatformSecrets& secrets) {
  const MutexLock held(mutex_);
  const Alone alone(package_);
  if (fails("STARTOVER.package_busy", !alone)) return Refused(MoveError::package_busy);
  if (fails("STARTOVER.part", part_ == Part::target || part_ == Part::gone)) return Refused(MoveError::latched);
  const MutexLock guard(package_.mutex());
  if (fails("STARTOVER.empty", others_valid(package_, nullptr))) return Refused(MoveError::not_alone);
  package_.keys().start_over(secrets.root, secrets.paging, secrets.boot);
  part_ = Part::none;
  package_.set_latch(Latch::open);
  return {};
}

tl::expected<void, MoveError> RootMover::import_root(Mfn frame, const RootImage& image, const MoveSession& session) {
  const MutexLock held(mutex_);
  const Alone alone(package_);
  if (fails("IMPORTROOT.package_busy", !alone)) return Refused(MoveError::package_busy);
  TRY(may_begin(session));
  const auto found = package_.index_of(frame);
  if (fails("IMPORTROOT.epc", !found)) return Refused(MoveError::not_epc);
  const u32 index = epc_index_of(found, frame.value << arch::page_shift, package_.epc_pages());
  EpcmEntry& page = package_.epcm(index);
  const MutexLock guard(package_.mutex());
  if (fails("IMPORTROOT.empty", others_valid(package_, nullptr))) return Refused(MoveError::not_alone);

  const Header header{.session = session.id, .domain = session.domain};
  SecretRoot root;
  arch::Bytes16 tag;
  std::memcpy(tag.data(), image.data() + sizeof(Root), tag.size());
  const bool authentic =
      open_root(session.key, bytes_of(header), std::span(image).first<sizeof(Root)>(), tag, root.bytes());
  if (fails("IMPORTROOT.authentic", !authentic) || fails("IMPORTROOT.layout", root.layout != Root::expected_layout))
    return Refused(MoveError::not_authentic);
  PlatformKeys& keys = package_.keys();
  if (fails("IMPORTROOT.platform", root.platform != keys.derive({}) || root.report_keyid != keys.report_keyid()))
    return Refused(MoveError::other_platform);
  if (fails("IMPORTROOT.cpusvn", !std::ranges::equal(root.cpusvn, PlatformKeys::microcode, std::less_equal{})))
    return Refused(MoveError::cpusvn);

  keys.adopt(
      {.key = root.paging_key, .cpusvn = root.cpusvn, .counts = {.eid = root.next_eid, .version = root.next_version}});
  page_store(package_.state(index));
  std::memcpy(package_.page(index), root.versions.data(), arch::page_size);
  claim_page(page, u64{static_cast<u8>(arch::PageType::va)} << arch::secinfo_flags::page_type_shift, 0);
  begin(Part::target, index, session, Latch::importing);
  return {};
}

tl::expected<void, MoveError> RootMover::commit_import(const MoveToken& token) {
  const MutexLock held(mutex_);
  TRY(may_end(Part::target, token));
  part_ = Part::none;
  package_.set_latch(Latch::open);
  return {};
}

tl::expected<void, MoveError> RootMover::abort_import() {
  const MutexLock held(mutex_);
  const Alone alone(package_);
  if (fails("ABORT.package_busy", !alone)) return Refused(MoveError::package_busy);
  if (fails("ABORT.part", part_ != Part::target)) return Refused(MoveError::latched);
  part_ = Part::gone;
  package_.set_latch(Latch::closed);
  const MutexLock guard(package_.mutex());
  package_.keys().adopt({});
  EpcmEntry& page = package_.epcm(root_);
  if (!page.valid || page.type != arch::PageType::va) return {};  // removed, and another page loaded into its place
  page.valid = false;
  page_store(package_.state(root_));
  erase({package_.page(root_), arch::page_size});
  return {};
}

}  // namespace cloister::silicon
