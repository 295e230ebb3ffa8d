// Every count is read for itself, while the guest runs.
#include "daemon/device_figures.hpp"

#include "config/interfaces.hpp"
#include "hypervisor/devices/counts.hpp"

namespace cloister::toolstack {

namespace {

using platform::virtio::BlockCounts;
using platform::virtio::NetCounts;
using platform::virtio::VsockCounts;

DiskFigures figures_of(const std::string& vdev, const BlockCounts& counts) {
  DiskFigures disk{.vdev = vdev,
                   .reads = counts.requests[BlockCounts::read],
                   .writes = counts.requests[BlockCounts::write],
                   .flushes = counts.requests[BlockCounts::flush],
                   .clears = counts.requests[BlockCounts::clear],
                   .read_bytes = counts.read_bytes,
                   .written_bytes = counts.written_bytes,
                   .errors = counts.errors,
                   .seconds = static_cast<double>(counts.nanoseconds) * 1e-9};
  for (std::size_t i = 0; i < counts.latency.size(); ++i)
    disk.latency.push_back(
        {.at_most_us = i < BlockCounts::bounds_us.size() ? std::optional(BlockCounts::bounds_us[i]) : std::nullopt,
         .requests = counts.latency[i]});
  return disk;
}

InterfaceFigures figures_of(const InterfaceConfig& config, const NetCounts& counts) {
  std::vector<std::string> forwards;
  for (const PortForward& one : config.forwards) forwards.push_back(forward_text(one));
  return {.received_frames = counts.received_frames,
          .received_bytes = counts.received_bytes,
          .received_drops = counts.received_drops,
          .sent_frames = counts.sent_frames,
          .sent_bytes = counts.sent_bytes,
          .sent_drops = counts.sent_drops,
          .forwards = std::move(forwards)};
}

VsockFigures figures_of(const VsockCounts& counts) {
  return {.open = counts.open,
          .connections = counts.connections,
          .refused = counts.refused,
          .received_bytes = counts.received_bytes,
          .sent_bytes = counts.sent_bytes};
}

nlohmann::json figures_json(const DiskFigures& disk) {
  nlohmann::json latency = nlohmann::json::array();
  for (const DiskFigures::Bucket& one : disk.latency) {
    nlohmann::json bucket{{"requests", one.requests}};
    if (one.at_most_us) bucket["at_most_us"] = *one.at_most_us;
    latency.push_back(std::move(bucket));
  }
  return {{"vdev", disk.vdev},
          {"reads", disk.reads},
          {"writes", disk.writes},
          {"flushes", disk.flushes},
          {"clears", disk.clears},
          {"read_bytes", disk.read_bytes},
          {"written_bytes", disk.written_bytes},
          {"errors", disk.errors},
          {"latency", std::move(latency)},
          {"seconds", disk.seconds}};
}

}  // namespace

std::optional<DeviceFigures> devices_of(const Domain& domain) {
  const DomainConfig& config = domain.config;
  const hypervisor::DeviceCounts* const counts = domain.page == nullptr ? nullptr : domain.page->devices();
  if (counts == nullptr || (config.disks.empty() && config.interfaces.empty() && !config.vsock)) return std::nullopt;
  static_assert(most_disks <= hypervisor::DeviceCounts::most_disks);
  static_assert(most_interfaces <= hypervisor::DeviceCounts::most_interfaces);
  DeviceFigures devices;
  for (std::size_t i = 0; i < config.disks.size(); ++i)
    devices.disks.push_back(figures_of(config.disks[i].vdev, counts->disks[i]));
  for (std::size_t i = 0; i < config.interfaces.size(); ++i)
    devices.interfaces.push_back(figures_of(config.interfaces[i], counts->interfaces[i]));
  if (config.vsock) devices.vsock = figures_of(counts->vsock);
  return devices;
}

nlohmann::json to_json(const DeviceFigures& devices) {
  nlohmann::json all = nlohmann::json::object();
  for (const DiskFigures& disk : devices.disks) all["disks"].push_back(figures_json(disk));
  for (const InterfaceFigures& one : devices.interfaces)
    all["interfaces"].push_back({{"received_frames", one.received_frames},
                                 {"received_bytes", one.received_bytes},
                                 {"received_drops", one.received_drops},
                                 {"sent_frames", one.sent_frames},
                                 {"sent_bytes", one.sent_bytes},
                                 {"sent_drops", one.sent_drops},
                                 {"forwards", one.forwards}});
  if (const auto& vsock = devices.vsock)
    all["vsock"] = {{"open", vsock->open},
                    {"connections", vsock->connections},
                    {"refused", vsock->refused},
                    {"received_bytes", vsock->received_bytes},
                    {"sent_bytes", vsock->sent_bytes}};
  return all;
}

}  // namespace cloister::toolstack
