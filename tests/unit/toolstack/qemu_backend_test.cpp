// `cloister run --backend=qemu` (docs/qemu-backend.md) up to what QEMU itself does: with devices that are plain files
// and a QEMU that is a script; and with the real one, on its interpreter and without EPC.
#include "interop/qemu/qemu_backend.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "host/exit_status.hpp"
#include "silicon/backend.hpp"
#include "unit/platform/kernel_files.hpp"

namespace cloister::toolstack {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string offer = "--backend=software (the default) can, on software silicon";

class QemuBackend : public testing::Test {
 protected:
  QemuBackend() : before_(spdlog::default_logger()) {
    std::string pattern = (fs::temp_directory_path() / "cloister-qemu-XXXXXX").string();
    if (::mkdtemp(pattern.data()) != nullptr) folder_ = pattern;
    fs::permissions(folder_, fs::perms(0755));
    fs::create_directory(folder_ / "dev");
    for (const char* device : {"kvm", "sgx_vepc", "sgx_provision"}) write(std::string("dev/") + device, "");
    write("kernel", "a kernel");
    fake_qemu("exit 99");
    host_.devices = path("dev");
    auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(messages_));
    logger->set_pattern("%v");
    spdlog::set_default_logger(logger);
  }
  ~QemuBackend() override {
    spdlog::set_default_logger(before_);
    fs::remove_all(folder_);
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }
  std::string contents(const std::string& name) const {
    std::ifstream file(path(name));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  /// A QEMU that knows memory-backend-epc, leaves its arguments in the file argv, one a line, and does this.
  void fake_qemu(const std::string& script, const std::string& objects = "memory-backend-epc") {
    write("qemu", "#!/bin/sh\n[ \"$*\" = '-object help' ] && { echo '" + objects + "'; exit 0; }\n" +
                      "printf '%s\\n' \"$@\" >'" + path("argv") + "'\ncd '" + path("") + "'\n" + script + "\n");
    fs::permissions(path("qemu"), fs::perms(0755));
    host_.program = path("qemu");
  }
  static std::string says(const std::string& line) { return "echo '" + line + "' >&3\n"; }
  static std::string shuts_down(const std::string& reason) {
    return says(R"({"timestamp":{"seconds":1},"event":"SHUTDOWN","data":{"guest":true,"reason":")" + reason + R"("}})");
  }
  /// Obeys the monitor, and answers query-status with this.
  static std::string obeys(const std::string& status = "running") {
    return "while read -r line <&3; do case $line in\n*query-status*) " +
           says(R"({"return":{"status":")" + status + R"(","running":false}})") + ";;\n*quit*) exit 0;;\nesac; done\n";
  }

  DomainConfig domain(u64 epc_mib = 64) const {
    DomainConfig config;
    config.name = "d";
    config.kernel = path("kernel");
    if (epc_mib > 0) config.epc = {{epc_mib, {}}};
    return config;
  }
  int run(const DomainConfig& config, RunArguments arguments = {}) {
    arguments.file = "d.cfg";
    arguments.backend = "qemu";
    return run_on_qemu(arguments, config, silicon::backend(), host_);
  }
  std::string messages() const { return messages_.str(); }
  void expect_offer(const std::string& trouble) {
    EXPECT_THAT(messages(),
                AllOf(StartsWith("cloister: QEMU cannot run d here: "), HasSubstr(trouble), EndsWith(offer + "\n")));
    EXPECT_EQ(std::ranges::count(messages(), '\n'), 1);
    EXPECT_FALSE(fs::exists(path("argv"))) << "QEMU was started";
  }

  qemu::Host host_;

 private:
  fs::path folder_;
  std::ostringstream messages_;
  std::shared_ptr<spdlog::logger> before_;
};

// What a host may lack

TEST_F(QemuBackend, NamesAProgramThatIsNotThere) {
  host_.program = "qemu-of-nobody";
  EXPECT_EQ(run(domain()), exit_status::failed);
  expect_offer("no program qemu-of-nobody: QEMU is not installed");
}

TEST_F(QemuBackend, NamesADeviceThatIsNotThere) {
  fs::remove(path("dev/sgx_vepc"));
  EXPECT_EQ(run(domain()), exit_status::failed);
  expect_offer("no " + path("dev/sgx_vepc") + ": ");
}

TEST_F(QemuBackend, NamesKvmFirst) {
  fs::remove(path("dev/sgx_vepc"));
  fs::remove(path("dev/kvm"));
  EXPECT_EQ(run(domain()), exit_status::failed);
  expect_offer("no " + path("dev/kvm") + ": ");
}

TEST_F(QemuBackend, TellsAMissingPermissionFromAMissingDevice) {
  const bool root = ::geteuid() == 0;
  fs::permissions(path("dev/sgx_vepc"), fs::perms(0));
  fs::permissions(path("dev/kvm"), fs::perms(0666));
  ASSERT_TRUE(!root || ::seteuid(65534) == 0);
  const int status = run(domain());
  ASSERT_TRUE(!root || ::seteuid(0) == 0);
  EXPECT_EQ(status, exit_status::failed);
  expect_offer("no permission on " + path("dev/sgx_vepc") + ": ");
}

TEST_F(QemuBackend, SaysTheSystemsReasonOfOtherTrouble) {
  fs::remove(path("dev/sgx_vepc"));
  fs::create_directory(path("dev/sgx_vepc"));
  EXPECT_EQ(run(domain()), exit_status::failed);
  expect_offer("cannot open " + path("dev/sgx_vepc") + ": Is a directory");
}

TEST_F(QemuBackend, NeedsTheProvisioningDeviceOnlyForProvisioning) {
  fs::remove(path("dev/sgx_provision"));
  DomainConfig config = domain();
  config.sgx_provision = true;
  EXPECT_EQ(run(config), exit_status::failed);
  expect_offer("no " + path("dev/sgx_provision") + ": sgx_provision = 1 needs it");
  EXPECT_TRUE(qemu::check_host(host_, domain()));
}

TEST_F(QemuBackend, AsksQemuWhetherItHasTheObject) {
  fake_qemu("exit 99", "memory-backend-ram");
  EXPECT_EQ(run(domain()), exit_status::failed);
  expect_offer("no memory-backend-epc in " + path("qemu") + ": ");
}

TEST_F(QemuBackend, WithoutEpcNeedsNoSgx) {
  fs::remove(path("dev/sgx_vepc"));
  fs::remove(path("dev/sgx_provision"));
  fake_qemu(shuts_down("guest-shutdown"), "memory-backend-ram");
  EXPECT_EQ(run(domain(0)), exit_status::powered_off);
}

// What QEMU is started with

TEST_F(QemuBackend, StartsQemuWithTheDomain) {
  fake_qemu(shuts_down("guest-shutdown"));
  DomainConfig config = domain(32);
  config.cmdline = "console=ttyS0 a,b";
  config.memory_mib = 300;
  config.vcpus = 3;
  EXPECT_EQ(run(config), exit_status::powered_off);
  const std::string argv = contents("argv");
  EXPECT_THAT(argv, HasSubstr("\n-kernel\n" + path("kernel") + "\n"));
  EXPECT_THAT(argv, HasSubstr("\n-append\nconsole=ttyS0 a,b\n"));
  EXPECT_THAT(argv, HasSubstr("memory-backend-epc"));
  EXPECT_THAT(argv, HasSubstr("\n-serial\nchardev:console\n"));
  EXPECT_THAT(argv, Not(HasSubstr("-no-reboot")));
  EXPECT_EQ(messages(), "cloister: d powered off\n");
}

TEST_F(QemuBackend, DryRunPrintsTheCommandAndNeedsNothingOfTheHost) {
  fs::remove_all(path("dev"));
  RunArguments arguments;
  arguments.dry_run = true;
  testing::internal::CaptureStdout();
  EXPECT_EQ(run(domain(), arguments), 0);
  const std::string text = testing::internal::GetCapturedStdout();
  EXPECT_THAT(text, AllOf(StartsWith(path("qemu")), HasSubstr("memory-backend-epc"), HasSubstr("\\\n")));
  arguments.json = true;
  testing::internal::CaptureStdout();
  EXPECT_EQ(run(domain(), arguments), 0);
  const auto json = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  EXPECT_EQ(json["arguments"].get<std::vector<std::string>>(),
            qemu_command(domain(), host_, silicon::backend())->arguments);
}

TEST_F(QemuBackend, RefusesWhatOnlyTheSoftwareSiliconCan) {
  std::vector<std::pair<RunArguments, std::string>> cases(6);
  cases[0].first.gdb_socket = "s", cases[0].second = "--gdb";
  cases[1].first.trace = {"exits"}, cases[1].second = "--trace";
  cases[2].first.deterministic = true, cases[2].second = "--deterministic";
  cases[3].first.machine = "m.toml", cases[3].second = "--machine";
  cases[4].first.stats = true, cases[4].second = "--stats";
  cases[5].first.engine = Engine::interpreter, cases[5].second = "--engine";
  for (const auto& [arguments, option] : cases) {
    EXPECT_EQ(run(domain(), arguments), exit_status::bad_configuration);
    EXPECT_THAT(messages(),
                EndsWith("cloister: " + option + " needs the software silicon: it is not for --backend=qemu\n"));
  }
}

TEST_F(QemuBackend, RefusesAnOwnLaunchHash) {
  DomainConfig config = domain();
  config.lehash = {1, 2, 3, 4};
  config.where["lehash"] = {7, 10};
  EXPECT_EQ(run(config), exit_status::bad_configuration);
  EXPECT_THAT(messages(),
              AllOf(StartsWith("d.cfg:7:10: launch hash 0100000000000000"), HasSubstr("--backend=software")));
  EXPECT_FALSE(fs::exists(path("argv")));
}

TEST_F(QemuBackend, RefusesALaunchHashThatTheGuestMayNotWrite) {
  DomainConfig config = domain();
  config.lewr = false;
  config.where["lewr"] = {3, 8};
  EXPECT_EQ(run(config), exit_status::bad_configuration);
  EXPECT_THAT(messages(), StartsWith("d.cfg:3:8: a launch hash that the guest may not write: "));
  config.silicon = "skylake-client";  // which has no launch control
  fake_qemu(shuts_down("guest-shutdown"));
  EXPECT_EQ(run(config), exit_status::powered_off);
}

TEST_F(QemuBackend, RefusesAnEngine) {
  DomainConfig config = domain();
  config.engine = Engine::compiler;
  config.where["engine"] = {6, 10};
  EXPECT_EQ(run(config), exit_status::bad_configuration);
  EXPECT_THAT(messages(), AllOf(StartsWith("d.cfg:6:10: 'engine': "), HasSubstr("--backend=software")));
}

TEST_F(QemuBackend, RefusesDisks) {
  DomainConfig config = domain();
  config.disks = {{.path = "a", .vdev = "xvda"}};
  config.where["disk"] = {6, 8};
  EXPECT_EQ(run(config), exit_status::bad_configuration);
  EXPECT_THAT(messages(), AllOf(StartsWith("d.cfg:6:8: 'disk': "), HasSubstr("--backend=software")));
}

TEST_F(QemuBackend, RefusesInterfaces) {
  DomainConfig config = domain();
  config.interfaces = {InterfaceConfig{}};
  config.where["vif"] = {6, 7};
  EXPECT_EQ(run(config), exit_status::bad_configuration);
  EXPECT_THAT(messages(), AllOf(StartsWith("d.cfg:6:7: 'vif': "), HasSubstr("--backend=software")));
}

TEST_F(QemuBackend, RefusesASourceOfRandomBytes) {
  DomainConfig config = domain();
  config.rng = true;
  config.where["rng"] = {6, 7};
  EXPECT_EQ(run(config), exit_status::bad_configuration);
  EXPECT_THAT(messages(), AllOf(StartsWith("d.cfg:6:7: 'rng': "), HasSubstr("--backend=software")));
}

TEST_F(QemuBackend, RefusesAVirtioConsole) {
  DomainConfig config = domain();
  config.virtio_console = true;
  config.where["virtio_console"] = {6, 18};
  EXPECT_EQ(run(config), exit_status::bad_configuration);
  EXPECT_THAT(messages(), AllOf(StartsWith("d.cfg:6:18: 'virtio_console': "), HasSubstr("--backend=software")));
}

TEST_F(QemuBackend, RefusesKeysThatAreNotTheMachines) {
  DomainConfig config = domain();
  config.sgx_platform = SgxPlatform{};
  config.where["sgx_platform"] = {5, 16};
  EXPECT_EQ(run(config), exit_status::bad_configuration);
  EXPECT_THAT(messages(), AllOf(StartsWith("d.cfg:5:16: 'sgx_platform': "), HasSubstr("--backend=software")));
  config.sgx_platform = SgxPlatform{.keys = SgxPlatform::Keys::machine};
  fake_qemu(shuts_down("guest-shutdown"));
  EXPECT_EQ(run(config), exit_status::powered_off);
}

TEST_F(QemuBackend, RefusesAFeatureThatQemuHasNoWordFor) {
  DomainConfig config = domain();
  config.silicon = "sapphire-rapids";
  config.where["silicon"] = {4, 11};
  EXPECT_EQ(run(config), exit_status::bad_configuration);
  EXPECT_THAT(messages(), StartsWith("d.cfg:4:11: feature sgx-"));
}

TEST_F(QemuBackend, HasTheClockOfLocalTimeAndRefusesADifference) {
  DomainConfig config = domain();
  config.localtime = true;
  const auto command = qemu_command(config, host_, silicon::backend());
  ASSERT_TRUE(command);
  EXPECT_THAT(command->text, HasSubstr("  -rtc base=localtime \\\n"));
  EXPECT_EQ(std::ranges::count(command->arguments, "-rtc"), 1);
  config.rtc_timeoffset = -3600;
  config.where["rtc_timeoffset"] = {9, 18};
  EXPECT_EQ(run(config), exit_status::bad_configuration);
  EXPECT_EQ(messages(),
            "d.cfg:9:18: clock 3600 s behind local time: QEMU's -rtc has no word for a difference; "
            "--backend=software has it\n");
  EXPECT_FALSE(fs::exists(path("argv")));
}

TEST_F(QemuBackend, RefusesAKernelThatCannotBeRead) {
  DomainConfig config = domain();
  config.kernel = path("nothing");
  EXPECT_EQ(run(config), exit_status::bad_configuration);
  EXPECT_THAT(messages(), HasSubstr("cannot use kernel"));
}

// How QEMU ends

TEST_F(QemuBackend, AResetEndsTheRunWhereTheConfigurationSaysSo) {
  fake_qemu(shuts_down("guest-reset"));
  DomainConfig config = domain();
  config.on_reboot = Action::destroy;
  EXPECT_EQ(run(config), exit_status::powered_off);
  EXPECT_THAT(contents("argv"), HasSubstr("-no-reboot\n"));
  EXPECT_EQ(messages(), "cloister: d reset itself\n");
}

TEST_F(QemuBackend, WhatKvmCannotGoOnWithIsACrash) {
  fake_qemu(says(R"({"event":"STOP"})") + obeys("internal-error"));
  EXPECT_EQ(run(domain()), exit_status::crashed);
  EXPECT_THAT(messages(), StartsWith("cloister: d crashed: "));
}

TEST_F(QemuBackend, AnEndOfQemusOwnIsAFailure) {
  fake_qemu("exit 7");
  EXPECT_EQ(run(domain()), exit_status::failed);
  EXPECT_EQ(messages(), "cloister: d: QEMU ended by itself, with status 7\n");
}

TEST_F(QemuBackend, AKilledQemuIsAFailure) {
  fake_qemu("kill -9 $$");
  EXPECT_EQ(run(domain()), exit_status::failed);
  EXPECT_EQ(messages(), "cloister: d: QEMU ended by itself, with signal 9\n");
}

TEST_F(QemuBackend, TheTimeLimitEndsIt) {
  fake_qemu(obeys() + "exit 0");
  RunArguments arguments;
  arguments.timeout_seconds = 0.2;
  EXPECT_EQ(run(domain(), arguments), exit_status::timed_out);
  EXPECT_EQ(messages(), "cloister: d did not end in time\n");
}

TEST_F(QemuBackend, WhatDoesNotQuitIsKilled) {
  host_.patience = std::chrono::milliseconds(50);
  fake_qemu("trap '' TERM; while :; do sleep 1; done");
  RunArguments arguments;
  arguments.timeout_seconds = 0.1;
  EXPECT_EQ(run(domain(), arguments), exit_status::timed_out);
}

TEST_F(QemuBackend, ASignalEndsIt) {
  fake_qemu("kill -TERM $PPID\n" + obeys());
  EXPECT_EQ(run(domain()), exit_status::signalled + SIGTERM);
  EXPECT_EQ(messages(), "cloister: d was stopped\n");
}

TEST_F(QemuBackend, BuildsTheDomainAnewWhereTheConfigurationSaysSo) {
  fake_qemu("echo x >>runs; [ $(wc -l <runs) = 3 ] && exit 5\n" + shuts_down("guest-shutdown"));
  DomainConfig config = domain();
  config.on_poweroff = Action::restart;
  EXPECT_EQ(run(config), exit_status::failed);
  EXPECT_EQ(messages(),
            "cloister: d powered off\ncloister: d powered off\n"
            "cloister: d: QEMU ended by itself, with status 5\n");
}

TEST_F(QemuBackend, AGuestThatEndsInALoopIsEndedAsEverywhere) {
  fake_qemu(shuts_down("guest-shutdown"));
  DomainConfig config = domain();
  config.on_poweroff = Action::restart;
  config.restart_limit = 2;
  EXPECT_EQ(run(config), exit_status::powered_off);
  EXPECT_THAT(messages(), EndsWith("cloister: d powered off\ncloister: d: restarted 2 times within 300 s "
                                   "(restart_limit, restart_window)\n"));
  EXPECT_EQ(std::ranges::count(messages(), '\n'), 4);
}

TEST_F(QemuBackend, StrangeWordsOnTheMonitorAreNothing) {
  fake_qemu(says("{") + says("[1]") + says(R"({"event":5,"data":[]})") + says(R"({"return":{"status":[]}})") +
            says(R"({"event":"SHUTDOWN","data":{"reason":{}}})") + shuts_down("guest-shutdown"));
  EXPECT_EQ(run(domain()), exit_status::powered_off);
}

// On a terminal

class Terminal : public QemuBackend {
 protected:
  /// Runs a domain in a child on a terminal of its own, types once QEMU is there, and takes the child's status.
  int run_and_type(const std::string& keys) {
    int slave = -1;
    EXPECT_EQ(::openpty(&master_, &slave, nullptr, nullptr, nullptr), 0);
    ::tcgetattr(slave, &before_);
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(60);
      ::_exit(::login_tty(slave) == 0 ? run(domain()) : 99);
    }
    while (!fs::exists(path("ready")) && ::waitpid(child, nullptr, WNOHANG) == 0) ::usleep(1000);
    termios during{};
    ::tcgetattr(master_, &during);
    EXPECT_EQ(during.c_lflag & (ICANON | ECHO | ISIG), 0u) << "the terminal is not raw";
    EXPECT_EQ(::write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    termios after{};
    ::tcgetattr(master_, &after);
    EXPECT_EQ(after.c_lflag, before_.c_lflag);
    EXPECT_EQ(after.c_iflag, before_.c_iflag);
    ::close(master_);
    ::close(slave);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  int master_ = -1;
  termios before_{};
};

TEST_F(Terminal, HandsAllKeysToTheGuest) {
  fake_qemu("touch ready; head -c 3 >typed; " + shuts_down("guest-shutdown"));
  EXPECT_EQ(run_and_type("a\x03z"), exit_status::powered_off);
  EXPECT_EQ(contents("typed"), "a\x03z");
}

TEST_F(Terminal, EndsAtTheEscapeKey) {
  fake_qemu("touch ready\n" + obeys());
  EXPECT_EQ(run_and_type("\x1d"), exit_status::signalled + SIGINT);
}

// The real QEMU, on TCG

class RealQemu : public QemuBackend {
 protected:
  void SetUp() override {
    host_ = {.devices = path("dev"), .interpreted = true};
    if (!qemu::check_host(host_, domain(0))) GTEST_SKIP() << "qemu-system-x86_64 is not installed";
  }

  /// A kernel that prints "up" and then runs this, in 32-bit protected mode.
  DomainConfig kernel(const std::string& code) const {
    const std::string print =
        "\x66\xba\xf8\x03\xb0u\xee\xb0p\xee\xb0\x0a\xee";  // mov dx,0x3f8; mov al,'u'; out dx,al; …
    test::Bytes elf = test::make_elf();
    const std::string text = print + code;
    std::ranges::copy(text, elf.begin() + 0x410);  // the entry
    write("kernel", std::string(elf.begin(), elf.end()));
    return domain(0);
  }
};

// The firmware puts the power management registers at 0x600 (SeaBIOS); 0x2000 is SLP_EN with S5's type 0.
TEST_F(RealQemu, PowersOff) {
  const DomainConfig config = kernel(std::string("\x66\xba\x04\x06\x66\xb8\x00\x20\x66\xef\xf4", 11));
  RunArguments arguments;
  arguments.timeout_seconds = 60;
  testing::internal::CaptureStdout();
  const int status = run(config, arguments);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("up\n"));
  EXPECT_EQ(status, exit_status::powered_off);
  EXPECT_EQ(messages(), "cloister: d powered off\n");
}

// QEMU's processor resets the machine at a triple fault, as a PC's does.
TEST_F(RealQemu, TakesATripleFaultForAReset) {
  DomainConfig config = kernel(std::string("\x6a\x00\x6a\x00\x0f\x01\x1c\x24\x0f\x0b", 10));  // lidt of zeros; ud2
  config.on_reboot = Action::destroy;
  RunArguments arguments;
  arguments.timeout_seconds = 60;
  testing::internal::CaptureStdout();
  const int status = run(config, arguments);
  testing::internal::GetCapturedStdout();
  EXPECT_EQ(status, exit_status::powered_off);
  EXPECT_EQ(messages(), "cloister: d reset itself\n");
}

TEST_F(RealQemu, EndsAtTheTimeLimit) {
  RunArguments arguments;
  arguments.timeout_seconds = 1;
  testing::internal::CaptureStdout();
  const int status = run(kernel("\xeb\xfe"), arguments);
  testing::internal::GetCapturedStdout();
  EXPECT_EQ(status, exit_status::timed_out);
}

}  // namespace
}  // namespace cloister::toolstack
