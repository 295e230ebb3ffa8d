// A domain as a stream, and back: without its enclaves, which are lost as in S3 (sleep.cpp), or with them
// (enclaves.hpp).
#pragma once

#include <functional>

#include "hypervisor/machine.hpp"
#include "hypervisor/saving/enclaves.hpp"
#include "stream/reader.hpp"
#include "stream/writer.hpp"

namespace cloister::hypervisor {

/// The domain is paused, or between two rounds of turns, and stays so until this returns.
tl::expected<void, std::string> save(Machine& machine, stream::Writer& to);
/// With its enclaves, which have left then, or, with an error, if `left` says so.
tl::expected<void, std::string> save(Machine& machine, stream::Writer& to, const vmx::MoveSession& session, bool& left);
/// Of the same its parts alone (parts.hpp), which come before its RAM.
tl::expected<void, std::string> save_parts(Machine& machine, stream::Writer& to);
/// The stream is of a domain that was made of the same. The error says in what it differs, all of it.
tl::expected<void, std::string> may_load(const DomainSpec& spec, stream::Reader& from);
/// Then, the rest of the stream, into a machine that was laid out, and has not run.
/// enclaves: get what comes of these; null: they are lost. all_but_root: called where a stream says so.
tl::expected<void, std::string> load(Machine& machine, stream::Reader& from, ArrivingEnclaves* enclaves = nullptr,
                                     const std::function<tl::expected<void, std::string>()>& all_but_root = {});

}  // namespace cloister::hypervisor
