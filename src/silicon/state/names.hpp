// The values of the architecture and of the door (vmx/) that the silicon speaks of, under their short names.
#pragma once

#include "vmx/backend.hpp"

namespace cloister::silicon {

using arch::CpuidRegs;
using arch::Gpa;
using arch::Gva;
using arch::Mfn;
using vmx::ClockMode;
using vmx::Controls;
using vmx::CpuidEntry;
using vmx::CrQualification;
using vmx::DescriptorTable;
using vmx::EnclsResult;
using vmx::EpcSection;
using vmx::EptQualification;
using vmx::Event;
using vmx::EventType;
using vmx::Exit;
using vmx::exit_reasons;
using vmx::ExitReason;
using vmx::Features;
using vmx::FxsaveImage;
using vmx::GeneralRegs;
using vmx::implemented;
using vmx::IoQualification;
using vmx::MapError;
using vmx::MemoryError;
using vmx::name_of;
using vmx::PauseLoopExiting;
using vmx::Segment;
using vmx::SgxConflict;
using vmx::SgxConflictQualification;
using vmx::SgxFeatures;
using vmx::SystemRegs;
using vmx::Time;
using vmx::tsc_hz;
using vmx::Unimplemented;
using vmx::UpperHalves;
using vmx::within;

}  // namespace cloister::silicon
