// Which engine a domain gets, of what it, its machine and the host say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/processors.hpp"
#include "silicon/backend.hpp"

namespace cloister::toolstack {
namespace {

using testing::HasSubstr;

DomainConfig config_with(Engine engine) {
  DomainConfig config;
  config.engine = engine;
  config.where["engine"] = {4, 10};
  return config;
}

// What a test is about is the choice: any two backends do.
const Processors two_engines{silicon::backend(), [] { return &silicon::backend(silicon::EngineKind::checked); }};
const Processors one_engine{silicon::backend()};

TEST(EngineChoice, TheDomainsWishIsBeforeTheMachines) {
  EXPECT_EQ(choose_engine(two_engines, config_with(Engine::interpreter), Engine::compiler), Engine::interpreter);
  EXPECT_EQ(choose_engine(two_engines, config_with(Engine::compiler), Engine::interpreter), Engine::compiler);
  EXPECT_EQ(choose_engine(two_engines, config_with(Engine::automatic), Engine::interpreter), Engine::interpreter);
}

TEST(EngineChoice, WithoutAWishItIsTheCompilerWhereThereIsOne) {
  EXPECT_EQ(choose_engine(two_engines, {}, Engine::automatic), Engine::compiler);
  EXPECT_EQ(choose_engine(one_engine, {}, Engine::automatic), Engine::interpreter);
}

TEST(EngineChoice, WhatThereIsNoneOfIsAnErrorOfWhoeverAskedForIt) {
  const auto domain = choose_engine(one_engine, config_with(Engine::compiler), Engine::automatic);
  ASSERT_FALSE(domain);
  EXPECT_EQ(
      format("d.cfg", domain.error()),
      "d.cfg:4:10: 'engine': found \"compiler\", which there is none of here, expected \"auto\" or \"interpreter\"");
  const auto machine = choose_engine(one_engine, {}, Engine::compiler);
  ASSERT_FALSE(machine);
  EXPECT_THAT(machine.error().message, HasSubstr("the machine's 'engine': found \"compiler\""));
  EXPECT_EQ(machine.error().at.line, 0u);
}

TEST(EngineChoice, EachEngineHasProcessorsOfItsOwn) {
  EXPECT_EQ(two_engines.with(Engine::interpreter), &silicon::backend());
  EXPECT_EQ(two_engines.with(Engine::compiler), &silicon::backend(silicon::EngineKind::checked));
  EXPECT_EQ(one_engine.with(Engine::compiler), nullptr);
  EXPECT_EQ(two_engines.with(Engine::automatic), nullptr);
}

}  // namespace
}  // namespace cloister::toolstack
