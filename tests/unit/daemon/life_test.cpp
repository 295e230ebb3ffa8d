// The table of a domain's states, walked wholly: what follows from each event in each state, and what each allows.
#include "daemon/life.hpp"

#include <gtest/gtest.h>

#include <set>

namespace cloister::toolstack {
namespace {

using enum LifeState;
using enum LifeEvent;

constexpr LifeEvent events[] = {started, launched, held, unanswered, answered, died, cleaned};
constexpr std::optional<LifeState> no = std::nullopt;

struct Row {
  LifeState state;
  std::array<std::optional<LifeState>, std::size(events)> after;
  const char* shown;
  bool is_held, takes_requests, lacks_answer, lacks_proof, over;
};
constexpr Row rows[] = {
    {admitted, {{launching, no, no, no, no, ending, no}}, "creating", false, false, false, false, false},
    {launching, {{no, running, no, no, no, ending, no}}, "creating", true, false, false, false, false},
    {running, {{no, no, no, silent, no, ending, no}}, nullptr, true, true, false, false, false},
    {silent, {{no, no, no, no, running, ending, no}}, "unresponsive", true, true, true, false, false},
    {lost, {{no, no, silent, no, no, ending, no}}, "unresponsive", false, true, false, true, false},
    {launch_lost, {{no, no, launch_stuck, no, no, ending, no}}, "creating", false, false, false, true, false},
    {launch_stuck, {{no, no, no, no, no, ending, no}}, "creating", true, false, false, false, false},
    {ending, {{no, no, no, no, no, no, gone}}, "ending", false, false, false, false, true},
    {gone, {{no, no, no, no, no, no, no}}, "ended", false, false, false, false, true},
};

TEST(Life, EachEventInEachStateLeadsWhereItShould) {
  ASSERT_EQ(std::size(rows), life_rows.size());
  std::size_t steps = 0;
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < std::size(events); ++i) {
      EXPECT_EQ(state_after(row.state, events[i]), row.after[i])
          << "state " << static_cast<int>(row.state) << ", event " << i;
      if (!row.after[i]) continue;
      ++steps;
      Life life(row.state);
      life.happens(events[i]);
      EXPECT_EQ(life.state(), *row.after[i]);
    }
  }
  EXPECT_EQ(steps, life_steps.size()) << "no step stands in the table twice";
}

TEST(Life, EachStateAllowsWhatItShould) {
  for (std::size_t i = 0; i < std::size(rows); ++i) {
    const Row& row = rows[i];
    const Life life(row.state);
    EXPECT_EQ(life_rows[i].state, row.state) << "the rows are in the states' order";
    if (row.shown == nullptr) {
      EXPECT_EQ(life.shown(), nullptr);
    } else {
      EXPECT_STREQ(life.shown(), row.shown);
    }
    EXPECT_EQ(life.held(), row.is_held) << i;
    EXPECT_EQ(life.takes_requests(), row.takes_requests) << i;
    EXPECT_EQ(life.lacks_answer(), row.lacks_answer) << i;
    EXPECT_EQ(life.lacks_proof(), row.lacks_proof) << i;
    EXPECT_EQ(life.over(), row.over) << i;
  }
}

/// A domain that is not over can die in every state; whatever happens, it can end, and nothing comes after.
TEST(Life, EveryWayEnds) {
  for (const LifeRow& row : life_rows) {
    EXPECT_EQ(state_after(row.state, died).has_value(), !Life(row.state).over());
    std::set<LifeState> reached{row.state};
    for (std::size_t before = 0; before != reached.size();) {
      before = reached.size();
      for (const LifeStep& step : life_steps) {
        if (reached.contains(step.from)) reached.insert(step.to);
      }
    }
    EXPECT_TRUE(reached.contains(gone));
    EXPECT_EQ(reached.size() == 1, row.state == gone);
  }
}

TEST(LifeDeathTest, WhatCannotHappenIsADefect) {
  EXPECT_DEBUG_DEATH(Life(gone).happens(died), "next");
  EXPECT_DEBUG_DEATH(Life(ending).happens(started), "next");
}

}  // namespace
}  // namespace cloister::toolstack
