// A plan for people and for programs: what --dryrun prints.
#pragma once

#include <string>

#include "plan/plan.hpp"

namespace cloister::toolstack {

std::string render_text(const DomainPlan& plan);
std::string render_json(const DomainPlan& plan);

}  // namespace cloister::toolstack
