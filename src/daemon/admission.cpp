// Whether a domain that is offered could run here: every reason why not, and not only the first.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "arch/try.hpp"
#include "daemon/migrations.hpp"
#include "daemon/shape.hpp"
#include "plan/chosen_silicon.hpp"
#include "plan/interfaces.hpp"

namespace cloister::toolstack {

namespace {

std::string reason_of(const ApiError& error) {
  if (error.line == 0) return error.message;
  return fmt::format("{}:{}:{}: {}", error.file, error.line, error.column, error.message);
}

}  // namespace

CreateRequest Migrations::request_of(const Offer& offer, const Owner& owner) {
  return {.config = offer.config,
          .file = offer.file,
          .directory = offer.directory,
          .owner = owner,
          .uuid = offer.uuid,
          .marks = offer.disks,
          .host_features = host_features_of_shape(offer.shape)};
}

tl::expected<void, std::string> Migrations::fits(const Offer& offer, const Owner& owner, const DomainConfig& config,
                                                 const Grants& grants) const {
  const auto chosen = choose_silicon(
      domains_.silicon(), config, domains_.machine().silicon,
      [&](const std::string& name) {
        return domains_.opener_.read(owner, (std::filesystem::path(offer.directory) / name).string(), longest_dump);
      },
      host_features_of_shape(offer.shape));
  // What its owner's files say is not for who offers it.
  if (!chosen && names_a_dump(config.silicon))
    return tl::unexpected("its silicon '" + config.silicon + "' is no dump that could be used here");
  if (!chosen) return tl::unexpected(chosen.error().message);
  const auto package = package_values(domains_.machine(), grants, chosen->features, PackageRange::whole);
  const auto here = TRY(shape_of_domain(domains_.silicon(), config, package, grants));
  return is_same_shape(offer.shape, here);
}

std::vector<std::string> Migrations::refusals(const Offer& offer, const Owner& owner) {
  std::vector<std::string> why;
  const auto read = read_config(offer.config);
  if (!read) return {reason_of(in_config(offer.file, read.error()))};
  DomainConfig config = read->config;
  const CreateRequest request = request_of(offer, owner);
  if (config.uuid.empty()) config.uuid = offer.uuid;
  if (config.name != offer.name) why.push_back("its configuration has another name than '" + offer.name + "'");
  if (config.uuid != offer.uuid) why.push_back("its configuration has another uuid than " + offer.uuid);
  for (std::string& of_disk : disks_refused(offer, owner, config)) why.push_back(std::move(of_disk));
  // A port of the bridge, which goes at once.
  for (std::size_t i = 0; i < config.interfaces.size(); ++i) {
    if (config.interfaces[i].bridge.empty()) continue;
    if (const auto port = domains_.opener_.open_tap(owner, bridge_port(config, i)); !port)
      why.push_back(cannot_use(config, i, port.error()).message);
  }
  // By that path its guest would reach programs of the receiver's, who has not said so.
  if (config.vsock && !config.vsock->path.empty()) why.emplace_back("its vsock has a path, which is another host's");
  if (!offer.directory.empty() && !std::filesystem::path(offer.directory).is_absolute())
    why.emplace_back("its folder is no absolute path");
  if (offer.enclaves == MovedEnclaves::keep) {
    const auto peer = peer_of_hello(offer.hello, domains_.around_.secrets.machine, domains_.machine().peers);
    if (!peer) why.push_back(peer.error());
    if (config.epc.empty()) why.emplace_back("it has no EPC, and no enclaves that could go on");
    const MutexLock held(domains_.lock_);
    for (const auto& [text, id] : offer.keys) {
      const auto name = read_key_name(text);
      const HeldKey* const here = name ? domains_.keys_.find(*name) : nullptr;
      if (here != nullptr && domains_.keys_.id_of(*name) != id)
        why.push_back(
            fmt::format("the key {} is another one here than at its source, and what was sealed with it opens "
                        "nowhere else: `cloister keys erase {}` gives it up",
                        text, text));
    }
  }
  u64 ramdisk_bytes = 0;
  for (const auto& [what, name, digest] : {std::tuple{"kernel", &config.kernel, &offer.kernel_sha256},
                                           std::tuple{"ramdisk", &config.ramdisk, &offer.ramdisk_sha256}}) {
    if (name->empty()) continue;
    const std::string path = (std::filesystem::path(offer.directory) / *name).string();
    const auto found = std::filesystem::path(path).is_absolute()
                           ? domains_.opener_.digest(owner, path, std::min(longest_image, config.memory_mib << 20))
                           : tl::unexpected(std::string("a relative path, without a folder"));
    if (!found) {
      why.push_back(fmt::format("{} '{}': {}", what, path, found.error()));
    } else if (found->sha256 != *digest) {
      why.push_back(fmt::format("{} '{}': it is another file than at the source", what, path));
    }
    if (found) ramdisk_bytes = found->bytes;  // of the last one: that is the ramdisk, if there is one
  }
  if (config.ramdisk.empty()) ramdisk_bytes = 0;
  const auto engine = choose_engine(domains_.processors(), config, domains_.machine().engine);
  if (!engine) why.push_back(engine.error().message);
  Grants grants = wished_grants(config.epc_frames());
  {
    const auto claim = domains_.make_room(config);
    const MutexLock held(domains_.lock_);
    if (domains_.host_record_.going_down) why.emplace_back("the host goes down");
    if (!domains_.machine_unread_.empty()) why.push_back(domains_.machine_unread_);
    if (const auto taken = domains_.name_taken(config.name)) why.push_back(taken->message);
    if (domains_.uuid_taken(config.uuid)) why.push_back("there is a domain with the uuid " + config.uuid + " already");
    if (const auto identity = domains_.identity_of(request, config, nullptr); !identity)
      why.push_back(identity.error().message);
    const MemoryNeed need =
        memory_need(config.memory_mib, config.epc_memory_mib(), config.vcpus,
                    std::min(ramdisk_bytes, config.memory_mib << 20), engine ? *engine : Engine::interpreter);
    if (auto admitted = admit_memory(need, domains_.memory_limit(), domains_.memory_holders()); !admitted)
      why.push_back("'memory': " + admitted.error());
    if (const auto unknown = domains_.accounts_unknown(); unknown && !config.epc.empty()) why.push_back(*unknown);
    u32 id = 1;
    while (domains_.table_.contains(id)) ++id;
    const auto kept = domains_.kept_from(config);
    if (claim != nullptr) domains_.end(*claim);
    auto allocation =
        domains_.broker_.allocate(id, config.epc_frames(), kept.pages,
                                  [this](u32 one) CLOISTER_REQUIRES(domains_.lock_) { return domains_.name_of(one); });
    if (allocation) {
      domains_.broker_.release(id);
      grants = std::move(allocation->grants);
    } else {
      why.push_back("'epc': " + allocation.error().message);
    }
  }
  if (const auto fit = fits(offer, owner, config, grants); !fit) why.push_back(fit.error());
  // What else is checked of what is defined is what has been checked by now.
  if (offer.defined && why.empty()) {
    if (std::string no = why_not_defined(offer, request); !no.empty()) why.push_back("its definition: " + no);
  }
  return why;
}

}  // namespace cloister::toolstack
