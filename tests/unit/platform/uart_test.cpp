// The UART against the NS16550A data sheet, and against the probes with which Linux' 8250 driver tells UARTs apart
// (drivers/tty/serial/8250/8250_port.c, autoconfig and serial8250_do_startup).
#include "platform/uart.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace cloister::platform {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr u16 rbr = 0, thr = 0, ier = 1, iir = 2, fcr = 2, lcr = 3, mcr = 4, lsr = 5, msr = 6, scr = 7;
constexpr u8 rts = 0x02, loop = 0x10, dlab = 0x80;
constexpr u8 ier_received = 1, ier_empty = 2, ier_line = 4, ier_modem = 8;
constexpr u8 ready = 0x01, overrun = 0x02;
constexpr u8 fifo_on = 0x01, fifo_clear_receiver = 0x02;

class Uart : public ::testing::Test {
 protected:
  void receive(std::string_view text) {
    uart_.receive(std::span(reinterpret_cast<const u8*>(text.data()), text.size()));
  }
  std::string read_all() {
    std::string text;
    while (uart_.read(lsr) & ready) text += static_cast<char>(uart_.read(rbr));
    return text;
  }
  u8 interrupt_id() { return uart_.read(iir) & 0x0f; }

  std::string sent_;
  std::vector<bool> levels_;
  bool line() const { return !levels_.empty() && levels_.back(); }
  Uart16550 uart_{[this](u8 byte) { sent_ += static_cast<char>(byte); },
                  [this](bool level) { levels_.push_back(level); }};
};

TEST_F(Uart, ResetStateIsTableIIIs) {
  EXPECT_EQ(uart_.read(ier), 0);
  EXPECT_EQ(uart_.read(iir), 0x01);
  EXPECT_EQ(uart_.read(lcr), 0);
  EXPECT_EQ(uart_.read(mcr), 0);
  EXPECT_EQ(uart_.read(lsr), 0x60);
  EXPECT_THAT(levels_, IsEmpty());
}

TEST_F(Uart, TransmitsAtOnce) {
  for (char c : std::string("hello\n")) {
    EXPECT_EQ(uart_.read(lsr) & 0x60, 0x60);
    uart_.write(thr, static_cast<u8>(c));
  }
  EXPECT_EQ(sent_, "hello\n");
}

TEST_F(Uart, KeepsTheScratchRegisterAndTheDivisor) {
  uart_.write(scr, 0xa5);
  EXPECT_EQ(uart_.read(scr), 0xa5);
  uart_.write(lcr, dlab);
  uart_.write(0, 0x34);
  uart_.write(1, 0x12);
  EXPECT_EQ(uart_.read(0), 0x34);
  EXPECT_EQ(uart_.read(1), 0x12);
  uart_.write(lcr, 0x03);
  EXPECT_EQ(uart_.read(ier), 0);  // the latch hid these
  EXPECT_EQ(sent_, "");
}

TEST_F(Uart, OnlyFourBitsOfIerExist) {  // autoconfig writes 0 and 0x0f and expects them back
  uart_.write(ier, 0x0f);
  EXPECT_EQ(uart_.read(ier), 0x0f);
  uart_.write(ier, 0xf0);
  EXPECT_EQ(uart_.read(ier), 0);
}

TEST_F(Uart, IdentifiesItsFifosAsA16550A) {  // IIR bits 7:6; 01 would be a 16550 whose FIFOs are broken
  EXPECT_EQ(uart_.read(iir) >> 6, 0);
  uart_.write(fcr, fifo_on);
  EXPECT_EQ(uart_.read(iir) >> 6, 3);
  uart_.write(fcr, fifo_on | 0x20);  // a 16750 would set IIR bit 5
  EXPECT_EQ(uart_.read(iir) >> 5, 6);
  uart_.write(fcr, 0);
  EXPECT_EQ(uart_.read(iir) >> 6, 0);
}

TEST_F(Uart, LoopbackConnectsModemOutputsToInputs) {  // autoconfig: loop, OUT2 and RTS must show as DCD and CTS
  uart_.write(mcr, loop | 0x0a);
  EXPECT_EQ(uart_.read(msr) & 0xf0, 0x90);
  uart_.write(mcr, loop | 0x05);
  EXPECT_EQ(uart_.read(msr) & 0xf0, 0x60);
  uart_.write(mcr, 0);
  EXPECT_EQ(uart_.read(msr) & 0xf0, 0xb0);  // the peer: DCD, DSR, CTS
}

TEST_F(Uart, ModemDeltasAreClearedByReading) {
  uart_.write(ier, ier_modem);
  uart_.write(mcr, loop | 0x0f);
  uart_.read(msr);
  EXPECT_FALSE(line());
  uart_.write(mcr, loop | 0x0b);  // OUT1 falls: trailing edge of the ring indicator
  EXPECT_TRUE(line());
  EXPECT_EQ(interrupt_id(), 0x00);
  EXPECT_EQ(uart_.read(msr) & 0x0f, 0x04);
  EXPECT_FALSE(line());
  uart_.write(mcr, loop | 0x0f);  // its leading edge is no event
  EXPECT_EQ(uart_.read(msr) & 0x0f, 0x00);
}

TEST_F(Uart, LoopbackFifoHolds16Bytes) {  // size_fifo sends 256 and counts; 64 would be another chip
  uart_.write(fcr, fifo_on);
  uart_.write(mcr, loop);
  for (int i = 0; i < 256; ++i) uart_.write(thr, static_cast<u8>(i));
  EXPECT_EQ(sent_, "");
  EXPECT_EQ(uart_.read(lsr) & (ready | overrun), ready | overrun);
  EXPECT_EQ(uart_.read(lsr) & overrun, 0);  // cleared by the read
  EXPECT_EQ(read_all().size(), 16u);
}

TEST_F(Uart, LoopbackWithoutFifoKeepsTheNewestByte) {
  uart_.write(mcr, loop);
  uart_.write(thr, 'a');
  uart_.write(thr, 'b');
  EXPECT_EQ(uart_.read(lsr) & (ready | overrun), ready | overrun);
  EXPECT_EQ(read_all(), "b");
}

TEST_F(Uart, OverrunIsALineStatusInterrupt) {
  uart_.write(ier, ier_line);
  uart_.write(mcr, loop);
  uart_.write(thr, 'a');
  EXPECT_FALSE(line());
  uart_.write(thr, 'b');
  EXPECT_TRUE(line());
  EXPECT_EQ(interrupt_id(), 0x06);
  uart_.read(lsr);
  EXPECT_FALSE(line());
}

TEST_F(Uart, KeepsInputInOrder) {
  uart_.write(mcr, rts);
  uart_.write(fcr, fifo_on);
  const std::string text = "more than the sixteen bytes of the FIFO, in order";
  receive(text.substr(0, 20));
  receive(text.substr(20));
  EXPECT_EQ(uart_.backlog(), text.size());
  EXPECT_EQ(read_all(), text);
  EXPECT_EQ(uart_.backlog(), 0u);
  EXPECT_EQ(uart_.read(lsr) & overrun, 0);
}

TEST_F(Uart, HoldsInputBackWithoutRts) {
  receive("typed ahead");
  EXPECT_EQ(uart_.read(lsr) & ready, 0);
  uart_.write(fcr, fifo_on | fifo_clear_receiver);  // as a driver starts: clear and drain the receiver
  uart_.read(rbr);
  uart_.write(mcr, rts);
  EXPECT_EQ(read_all(), "typed ahead");
}

TEST_F(Uart, ClearingTheReceiverDropsItsFifo) {
  uart_.write(mcr, rts);
  uart_.write(fcr, fifo_on);
  receive("lost");
  uart_.write(mcr, 0);
  receive("kept");
  uart_.write(fcr, fifo_on | fifo_clear_receiver);
  EXPECT_EQ(uart_.read(lsr) & ready, 0);
  uart_.write(mcr, rts);
  EXPECT_EQ(read_all(), "kept");
}

TEST_F(Uart, ReceivedDataInterruptsUntilItIsRead) {
  uart_.write(mcr, rts);
  uart_.write(ier, ier_received);
  receive("ab");  // without FIFO: one byte at a time
  EXPECT_EQ(interrupt_id(), 0x04);
  EXPECT_EQ(uart_.read(rbr), 'a');
  EXPECT_TRUE(line());
  EXPECT_EQ(uart_.read(rbr), 'b');
  EXPECT_FALSE(line());
  EXPECT_EQ(interrupt_id(), 0x01);
  EXPECT_THAT(levels_, ElementsAre(true, false));
}

TEST_F(Uart, BelowTheTriggerLevelItIsATimeout) {  // data sheet, "FIFO Interrupt Mode Operation"
  uart_.write(mcr, rts);
  uart_.write(fcr, fifo_on | 0x80);  // trigger at 8
  uart_.write(ier, ier_received);
  receive("1234567");
  EXPECT_EQ(interrupt_id(), 0x0c);
  receive("8");
  EXPECT_EQ(interrupt_id(), 0x04);
  read_all();
  EXPECT_FALSE(line());
}

TEST_F(Uart, EnablingTheTransmitterInterruptRaisesIt) {
  uart_.write(ier, ier_empty);
  EXPECT_TRUE(line());
  EXPECT_EQ(interrupt_id(), 0x02);
  EXPECT_FALSE(line());  // reading IIR clears it
  EXPECT_EQ(interrupt_id(), 0x01);
  uart_.write(ier, ier_empty);  // it was enabled already
  EXPECT_FALSE(line());
}

TEST_F(Uart, ReassertsTheTransmitterInterruptWhenEnabledAgain) {  // or Linux polls with a timer (UART_BUG_THRE)
  for (int i = 0; i < 2; ++i) {
    uart_.write(ier, ier_empty);
    EXPECT_EQ(interrupt_id(), 0x02) << i;
    uart_.write(ier, 0);
    EXPECT_FALSE(line());
  }
}

TEST_F(Uart, EachByteSentRaisesTheTransmitterInterruptAnew) {
  uart_.write(ier, ier_empty);
  uart_.read(iir);
  uart_.write(thr, 'x');
  EXPECT_TRUE(line());
  EXPECT_EQ(interrupt_id(), 0x02);
}

TEST_F(Uart, InterruptsHaveTableVsPriorities) {
  uart_.write(ier, 0x0f);
  uart_.write(mcr, loop | 0x04);
  uart_.write(thr, 'a');
  uart_.write(thr, 'b');  // overrun, data, transmitter empty and modem status wait
  EXPECT_EQ(interrupt_id(), 0x06);
  uart_.read(lsr);
  EXPECT_EQ(interrupt_id(), 0x04);
  EXPECT_EQ(interrupt_id(), 0x04);  // this one is not cleared by reading IIR
  uart_.read(rbr);
  EXPECT_EQ(interrupt_id(), 0x02);
  EXPECT_EQ(interrupt_id(), 0x00);
  uart_.read(msr);
  EXPECT_EQ(interrupt_id(), 0x01);
  EXPECT_FALSE(line());
}

TEST_F(Uart, ReportsLevelChangesOnly) {
  uart_.write(mcr, rts);
  uart_.write(ier, ier_received | ier_empty);
  receive("a");
  receive("b");
  EXPECT_THAT(levels_, ElementsAre(true));
}

TEST_F(Uart, ResetLowersTheLineAndKeepsTheScratchRegister) {
  uart_.write(scr, 7);
  uart_.write(ier, ier_empty);
  uart_.reset();
  EXPECT_FALSE(line());
  EXPECT_EQ(uart_.read(ier), 0);
  EXPECT_EQ(uart_.read(scr), 7);
}

}  // namespace
}  // namespace cloister::platform
