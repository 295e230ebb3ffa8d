// Four processors on one memory, each with a page of code that all of them may run and write, at CPL 0 or 3. They run
// in turns: whatever they do to each other, it is the same on every engine.
#pragma once

#include <array>
#include <memory>

#include "payload/lockstep/sights.hpp"
#include "program.hpp"
#include "vmx/backend.hpp"

namespace cloister::programs {

class Town {
 public:
  static constexpr unsigned processors = 4;

  explicit Town(const vmx::Backend& backend);

  /// The processor's page of code: the first one has the sandbox's.
  static u64 code_page(unsigned processor);

  /// Tables, code and data are new, and each processor begins in its own program, at its CPL.
  struct Start {
    std::array<std::vector<std::byte>, processors> code;  ///< pages
    std::vector<std::byte> data;
    std::array<u8, processors> cpl{};
    std::array<vmx::GeneralRegs, processors> general;
  };
  void reset(const Start& start);

  lockstep::Sight run(unsigned processor, u64 budget, vmx::ExitReason& reason);
  /// With these registers, as it began otherwise.
  void go_on(unsigned processor, const vmx::GeneralRegs& general);
  void kick(unsigned processor) { vcpus_[processor]->kick(); }

  u64 memory_hash();
  u64 instructions() const;
  /// That were translated.
  u64 blocks() const;

 private:
  void make_tables();
  void write(u64 physical, std::span<const std::byte> bytes);
  template <class T>
  void put(u64 at, const T& value) {
    write(at, std::as_bytes(std::span(&value, 1)));
  }

  std::unique_ptr<vmx::Package> package_;
  std::unique_ptr<vmx::GuestMemory> memory_;
  std::array<std::unique_ptr<vmx::Vcpu>, processors> vcpus_;
  std::array<vmx::SystemRegs, processors> first_;
};

}  // namespace cloister::programs
