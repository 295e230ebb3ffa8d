// GDB's remote serial protocol ("Debugging with GDB", appendix E): framing, and the stub on a target of a few bytes.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "hypervisor/gdb/packet.hpp"
#include "hypervisor/gdb/registers.hpp"
#include "hypervisor/gdb/stub.hpp"

namespace cloister::hypervisor::gdb {
namespace {

TEST(Packet, FrameHasTheChecksumOfItsBytes) {
  EXPECT_EQ(frame("OK"), "$OK#9a");
  EXPECT_EQ(frame(""), "$#00");
}

TEST(Packet, SpecialCharactersAreEscaped) {
  EXPECT_EQ(frame("}").substr(0, 3), "$}]");
  PacketReader reader;
  const std::string everything = "a#b$c}d*e";
  reader.feed(frame(everything));
  const auto received = reader.next();
  ASSERT_TRUE(received);
  EXPECT_EQ(received->kind, Received::Kind::packet);
  EXPECT_EQ(received->payload, everything);
}

TEST(Packet, ArrivesInPieces) {
  PacketReader reader;
  reader.feed("+$m1");
  EXPECT_EQ(reader.next()->kind, Received::Kind::ack);
  EXPECT_FALSE(reader.next());
  reader.feed("0,4#");
  EXPECT_FALSE(reader.next());
  reader.feed("2e\x03");
  EXPECT_EQ(reader.next()->payload, "m10,4");
  EXPECT_EQ(reader.next()->kind, Received::Kind::interrupt);
  EXPECT_FALSE(reader.next());
}

TEST(Packet, WrongChecksumIsReported) {
  PacketReader reader;
  reader.feed("$OK#9b");
  EXPECT_EQ(reader.next()->kind, Received::Kind::bad_checksum);
}

TEST(Packet, Hexadecimal) {
  EXPECT_EQ(to_hex(std::vector<u8>{0x00, 0xab, 0xff}), "00abff");
  EXPECT_EQ(from_hex("00ABff"), (std::vector<u8>{0x00, 0xab, 0xff}));
  EXPECT_FALSE(from_hex("abc"));
  EXPECT_FALSE(from_hex("zz"));
  std::string_view text = "ffffffff81000000,10";
  EXPECT_EQ(take_number(text), 0xffff'ffff'8100'0000);
  EXPECT_EQ(text, ",10");
  EXPECT_FALSE(take_number(text));
}

class FakeTarget final : public Target {
 public:
  unsigned register_count() const override { return gdb::register_count(); }
  std::vector<u8> read_register(unsigned n) override { return get_register(file, n); }
  bool write_register(unsigned n, std::span<const u8> bytes) override { return set_register(file, n, bytes); }
  std::size_t read_memory(u64 from, std::span<u8> to) override {
    std::size_t n = 0;
    while (n < to.size() && from + n >= base && from + n - base < memory.size()) {
      to[n] = memory[from + n - base];
      ++n;
    }
    return n;
  }
  std::size_t write_memory(u64 to, std::span<const u8> from) override {
    std::size_t n = 0;
    while (n < from.size() && to + n >= base && to + n - base < memory.size()) {
      memory[to + n - base] = from[n];
      ++n;
    }
    return n;
  }
  bool insert_breakpoint(u64 address) override { return breakpoints.insert(address).second; }
  bool remove_breakpoint(u64 address) override { return breakpoints.erase(address) != 0; }

  static constexpr u64 base = 0x1000;
  RegisterFile file;
  std::vector<u8> memory{0x10, 0x20, 0x30, 0x40};
  std::set<u64> breakpoints;
};

class StubTest : public testing::Test {
 protected:
  /// The answer's payload; checks that the packet was acknowledged.
  std::string ask(const std::string& payload) {
    std::string answer = stub.receive(frame(payload));
    EXPECT_EQ(answer.substr(0, 1), "+");
    PacketReader reader;
    reader.feed(std::string_view(answer).substr(1));
    const auto received = reader.next();
    return received ? received->payload : "(none)";
  }
  FakeTarget target;
  Stub stub{target, target_description()};
};

TEST_F(StubTest, MemoryIsReadAndWritten) {
  EXPECT_EQ(ask("m1000,4"), "10203040");
  EXPECT_EQ(ask("m1002,8"), "3040") << "as much as there is";
  EXPECT_EQ(ask("m5000,4"), "E14");
  EXPECT_EQ(ask("M1001,2:abcd"), "OK");
  EXPECT_EQ(ask("m1000,4"), "10abcd40");
  EXPECT_EQ(ask("X1000,2:}]"), "OK");
  EXPECT_EQ(ask("m1000,2"), "7d5d") << "the payload is binary";
  EXPECT_EQ(ask("M1003,2:0000"), "E14");
  EXPECT_EQ(ask("M1003,2:00"), "E01");
}

TEST_F(StubTest, RegistersAreNumberedAsIn64BitCore) {
  target.file.general.gpr[arch::rbx] = 0x1122'3344'5566'7788;
  target.file.general.rip = 0xffff'ffff'8100'0000;
  EXPECT_EQ(ask("p1"), "8877665544332211") << "rbx is register 1";
  EXPECT_EQ(ask("p10"), "00000081ffffffff") << "rip is register 16";
  EXPECT_EQ(ask("P0=0100000000000000"), "OK");
  EXPECT_EQ(target.file.general.gpr[arch::rax], 1u);
  EXPECT_EQ(ask("pfff"), "E01");
  EXPECT_EQ(ask("P0=00"), "E01");
}

TEST_F(StubTest, AllRegistersAtOnceRoundTrip) {
  target.file.general.gpr[arch::r15] = 0x77;
  target.file.fpu[160] = 0x42;  // xmm0
  const std::string all = ask("g");
  target.file = {};
  EXPECT_EQ(ask(std::string("G").append(all)), "OK");
  EXPECT_EQ(target.file.general.gpr[arch::r15], 0x77u);
  EXPECT_EQ(target.file.fpu[160], 0x42);
}

TEST_F(StubTest, DescriptionNamesEveryRegister) {
  std::string xml;
  for (;;) {
    const std::string part = ask(fmt::format("qXfer:features:read:target.xml:{:x},800", xml.size()));
    ASSERT_FALSE(part.empty());
    xml += part.substr(1);
    if (part.front() == 'l') break;
    ASSERT_EQ(part.front(), 'm');
  }
  std::size_t registers = 0;
  for (std::size_t at = xml.find("<reg "); at != std::string::npos; at = xml.find("<reg ", at + 1)) ++registers;
  EXPECT_EQ(registers, register_count());
  EXPECT_NE(xml.find("<architecture>i386:x86-64</architecture>"), std::string::npos);
}

TEST_F(StubTest, BreakpointsOfBothKinds) {
  EXPECT_EQ(ask("Z0,ffffffff81000000,1"), "OK");
  EXPECT_EQ(ask("Z1,1000,1"), "OK");
  EXPECT_EQ(target.breakpoints, (std::set<u64>{0x1000, 0xffff'ffff'8100'0000}));
  EXPECT_EQ(ask("z0,ffffffff81000000,1"), "OK");
  EXPECT_EQ(ask("z0,ffffffff81000000,1"), "E14") << "it is not there any more";
  EXPECT_EQ(ask("Z2,1000,4"), "") << "watchpoints are not supported";
}

TEST_F(StubTest, ResumingAnswersOnlyWhenTheGuestStops) {
  EXPECT_EQ(stub.state(), RunState::stopped);
  EXPECT_EQ(stub.receive(frame("vCont;c")), "+");
  EXPECT_EQ(stub.state(), RunState::running);
  EXPECT_EQ(stub.receive("\x03"), frame("T02thread:1;")) << "Ctrl-C is SIGINT";
  EXPECT_EQ(stub.state(), RunState::stopped);
  EXPECT_EQ(stub.receive(frame("s")), "+");
  EXPECT_EQ(stub.state(), RunState::stepping);
  EXPECT_EQ(stub.stopped(5, false), frame("T05thread:1;"));
  EXPECT_EQ(ask("?"), "T05thread:1;");
}

TEST_F(StubTest, BreakpointStopsAreNamedOnlyToThoseWhoKnowThem) {
  EXPECT_EQ(stub.stopped(5, true), frame("T05thread:1;"));
  EXPECT_NE(ask("qSupported:multiprocess+;swbreak+").find("swbreak+"), std::string::npos);
  EXPECT_EQ(stub.stopped(5, true), frame("T05swbreak:;thread:1;"));
}

TEST_F(StubTest, NoAckModeEndsAcknowledgements) {
  EXPECT_EQ(ask("QStartNoAckMode"), "OK");
  EXPECT_EQ(stub.receive(frame("qC")), frame("QC1"));
}

TEST_F(StubTest, ABadPacketIsAskedForAgain) {
  EXPECT_EQ(stub.receive("$g#00"), "-");
  const std::string answer = stub.receive(frame("qC"));
  EXPECT_EQ(answer, std::string("+").append(frame("QC1")));
  EXPECT_EQ(stub.receive("-"), frame("QC1"));
}

TEST_F(StubTest, DetachAndKill) {
  EXPECT_EQ(ask("D"), "OK");
  EXPECT_EQ(stub.state(), RunState::detached);
  stub.receive(frame("k"));
  EXPECT_EQ(stub.state(), RunState::killed);
}

TEST_F(StubTest, UnknownCommandsGetAnEmptyAnswer) {
  for (const char* packet : {"vMustReplyEmpty", "qSymbol::", "!", "b"}) EXPECT_EQ(ask(packet), "") << packet;
}

TEST(Registers, TagWordIsExpanded) {
  // SDM vol. 1, 8.1.7: TOP = 7, so ST(0) is R7; R7 holds 1.0, the others are empty.
  RegisterFile file;
  file.fpu[3] = 0x38;
  file.fpu[4] = 0x80;
  file.fpu[32 + 7] = 0x80;
  file.fpu[32 + 8] = 0xff;
  file.fpu[32 + 9] = 0x3f;
  constexpr unsigned ftag = 34;
  EXPECT_EQ(get_register(file, ftag), (std::vector<u8>{0xff, 0x3f, 0, 0}));
  EXPECT_TRUE(set_register(file, ftag, std::vector<u8>{0xff, 0xff, 0, 0}));
  EXPECT_EQ(file.fpu[4], 0);
}

TEST(Registers, FlagsKeepReservedBits) {
  RegisterFile file;
  EXPECT_TRUE(set_register(file, 17, std::vector<u8>{0xff, 0xff, 0xff, 0xff}));
  EXPECT_EQ(file.general.rflags, arch::rflags::defined | arch::rflags::fixed1);
  EXPECT_FALSE(set_register(file, 18, std::vector<u8>{0x10, 0, 0, 0})) << "CS has a hidden part";
}

}  // namespace
}  // namespace cloister::hypervisor::gdb
