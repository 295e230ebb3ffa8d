// XML of strangers: what is not well-formed is one error with its place, and many nodes have their places quickly.
#include "text/xml.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cloister::toolstack::xml {
namespace {

using ::testing::HasSubstr;

std::string error_of(const std::string& text) {
  const auto document = Document::parse(text);
  return document ? "none" : format("x", document.error());
}

TEST(Xml, HasNoEntitiesButItsOwn) {
  EXPECT_EQ(error_of("<a>&amp;&lt;&gt;&quot;&apos;&#65;&#x1F600;</a>"), "none");
  EXPECT_EQ(error_of("<a>&#9;&#10;&#xD;&#x10ffff;</a>"), "none");
  EXPECT_EQ(error_of("<a>\n\x0f</a>"), "x:2:1: found byte 0x0f, expected XML");
  EXPECT_EQ(error_of("<a b='&amp;'><!-- &c; --><![CDATA[&d;]]><?e &f; ?></a>"), "none");
  EXPECT_EQ(error_of("<!DOCTYPE a [<!ENTITY b '&c;'>]>\n<a/>"), "none") << "declared and not used";
  EXPECT_THAT(error_of("<!DOCTYPE a [<!ENTITY b 'c'>]>\n<a>&b;</a>"),
              HasSubstr("x:2:4: found '&' before no reference"));
  for (const char* text : {"<a>&b;</a>", "<a b='&c;'/>", "<a>&</a>", "<a>& b;</a>", "<a>&#;</a>", "<a>&#x;</a>",
                           "<a>&#12a;</a>", "<a>&#15;</a>", "<a>&#x0;</a>", "<a>&#127;</a>", "<a>&#xd800;</a>",
                           "<a>&#x110000;</a>", "<a>&#99999999999;</a>", "<a>&aaaaaaaaaaaaaaaaaaaaaaaa;</a>"})
    EXPECT_THAT(error_of(text), HasSubstr("'&amp;'")) << text;
}

TEST(Xml, HasEachAttributeOnce) {
  EXPECT_EQ(error_of("<a b='1' c='1'><d b='1'/></a>"), "none");
  EXPECT_EQ(error_of("<a>\n<d b='1' c='2' b='1'/></a>"), "x:2:1: this is no XML: 'd' has an attribute twice");
}

TEST(Xml, SaysWhereNodesAre) {
  const auto document = Document::parse("<a>\n  <b/>\r\n<c/></a>");
  ASSERT_TRUE(document);
  EXPECT_EQ(document->position_of(document->root()), (Position{1, 1}));
  EXPECT_EQ(document->position_of(document->root().child("b")), (Position{2, 3}));
  EXPECT_EQ(document->position_of(document->root().child("c")), (Position{3, 1}));
  EXPECT_EQ(document->position_of({}), Position{});
  EXPECT_EQ(error_of("<a>\n\n <b></a>").substr(0, 4), "x:3:");
}

// A place was once found by counting the lines before it: half a minute for this.
TEST(Xml, SaysSoOfManyInNoTime) {
  constexpr u32 many = 300'000;
  std::string text = "<a>\n";
  for (u32 i = 0; i < many; ++i) text += "<b/>\n";
  const auto document = Document::parse(text + "</a>");
  ASSERT_TRUE(document);
  u32 line = 1;
  for (const pugi::xml_node node : document->root().children()) ASSERT_EQ(document->position_of(node).line, ++line);
  EXPECT_EQ(line, many + 1);
}

}  // namespace
}  // namespace cloister::toolstack::xml
