#!/usr/bin/env python3
"""check_rooms.py finds what is planted, each fault by itself in a copy of src/.

    check_rooms_test.py SOURCE BUILD TESTS"""
import pathlib
import shutil
import sys
import tempfile
import unittest

import check_rooms

SOURCE = BUILD = TESTS = None


class Planted(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.source = pathlib.Path(self.folder.name) / "src"
        shutil.copytree(SOURCE, self.source)

    def found(self):
        tree = check_rooms.Tree(self.source)
        return [
            line
            for check in check_rooms.CHECKS
            for line in check(tree)
        ]

    def plant(self, file, include):
        path = self.source / file
        path.write_text(path.read_text() + f'#include "{include}"\n')

    def declare(self, old, new):
        path = self.source / "CMakeLists.txt"
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new, 1))

    def test_nothing_is_found_in_the_tree(self):
        self.assertEqual(self.found(), [])

    def test_an_include_that_goes_up(self):
        self.plant("hypervisor/vcpu.cpp", "daemon/domains.hpp")
        self.assertEqual(
            self.found(), ["hypervisor/vcpu.cpp: includes daemon/domains.hpp, and hypervisor does not declare daemon"]
        )

    def test_the_hypervisor_looking_into_the_silicon(self):
        self.plant("hypervisor/vcpu.cpp", "silicon/state/cpu.hpp")
        self.assertIn(
            "hypervisor/vcpu.cpp: includes silicon/state/cpu.hpp; of silicon others see silicon/backend.hpp", self.found()
        )

    def test_a_header_that_names_what_is_private(self):
        self.plant("run/run_epc.hpp", "text/utf8.hpp")
        self.assertEqual(
            self.found(), ["run/run_epc.hpp: a header includes text/utf8.hpp, and run declares text PRIVATE"]
        )

    def test_a_lock_that_no_compiler_checks(self):
        path = self.source / "vmm/lifecycle.hpp"
        path.write_text(path.read_text() + "inline std::mutex planted;\n")
        self.assertEqual(
            self.found(), ["vmm/lifecycle.hpp: uses std::mutex, which no compiler checks; host/mutex.hpp has the locks"]
        )

    def test_a_circle_of_rooms(self):
        self.plant("vmx/exit.cpp", "hypervisor/outcome.hpp")
        self.declare("cloister_room(vmx STRICT PUBLIC arch)", "cloister_room(vmx STRICT PUBLIC arch PRIVATE hypervisor)")
        self.assertEqual(
            self.found(),
            ["CMakeLists.txt: vmx declares hypervisor, which is not above it: the rooms go up, or in a circle"],
        )

    def test_a_circle_of_files(self):
        self.plant("platform/uart.hpp", "platform/rtc.hpp")
        self.plant("platform/rtc.cpp", "platform/uart.hpp")
        self.assertEqual(self.found(), ["platform/rtc, platform/uart: include each other in a circle"])

    def test_a_layer_that_includes_what_is_above_it(self):
        self.plant("silicon/mmu/shootdown.cpp", "silicon/engine/block_cache.hpp")
        self.assertEqual(
            self.found(),
            [
                "silicon/mmu/shootdown.cpp: includes silicon/engine/block_cache.hpp, and layer mmu does not declare engine"
            ],
        )

    def test_layers_that_go_up(self):
        self.plant("silicon/mmu/shootdown.cpp", "silicon/engine/debug_log.hpp")
        self.declare("cloister_layer(silicon mmu ", "cloister_layer(silicon mmu engine ")
        self.assertEqual(self.found(), ["CMakeLists.txt: layer mmu of silicon declares engine, which is not above it"])

    def test_a_layer_that_nobody_uses(self):
        self.declare("cloister_layer(silicon mmu ", "cloister_layer(silicon mmu sgx/keys ")
        self.assertEqual(
            self.found(), ["CMakeLists.txt: layer mmu of silicon declares sgx/keys and never includes it"]
        )

    def test_a_folder_that_is_no_layer(self):
        (self.source / "silicon/attic").mkdir()
        (self.source / "silicon/attic/old.cpp").write_text("")
        self.assertEqual(self.found(), ["silicon/attic/old.cpp: no cloister_layer() declares attic"])

    def test_an_arrow_that_nobody_takes(self):
        self.declare("cloister_room(vmx STRICT PUBLIC arch)", "cloister_room(vmx STRICT PUBLIC arch policy)")
        self.assertEqual(self.found(), ["CMakeLists.txt: vmx declares policy and never includes it"])

    def test_a_folder_that_no_line_declares(self):
        (self.source / "attic").mkdir()
        self.assertEqual(self.found(), ["attic/: no cloister_room() declares it"])


class DoorTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tests = pathlib.Path(folder.name)
        self.folder = self.tests / check_rooms.DOOR_TESTS
        shutil.copytree(TESTS / check_rooms.DOOR_TESTS, self.folder)

    def found(self):
        return list(check_rooms.check_door_tests(self.tests))

    def plant(self, file, include):
        path = self.folder / file
        path.write_text(path.read_text() + f'#include "{include}"\n')

    def test_nothing_is_found_in_the_tree(self):
        self.assertEqual(self.found(), [])

    def test_a_test_that_names_an_implementation(self):
        self.plant("exits_test.cpp", "silicon/backend.hpp")
        self.assertEqual(
            self.found(),
            ["unit/vmx/exits_test.cpp: includes silicon/backend.hpp; the tests of the door see the door alone"],
        )

    def test_the_one_file_that_looks_into_one(self):
        self.plant("implementations.cpp", "silicon/engine/vcpu_impl.hpp")
        self.assertEqual(
            self.found(),
            ["unit/vmx/implementations.cpp: includes silicon/engine/vcpu_impl.hpp; the tests of the door see the door alone"],
        )

    def test_a_helper_of_another_rooms_tests(self):
        self.plant("guest.hpp", "unit/silicon/sgx_machine.hpp")
        self.assertEqual(
            self.found(),
            ["unit/vmx/guest.hpp: includes unit/silicon/sgx_machine.hpp; the tests of the door see the door alone"],
        )

    def test_tests_that_are_not_there(self):
        shutil.rmtree(self.folder)
        self.assertEqual(self.found(), ["unit/vmx: there are no tests of the door"])


class Links(unittest.TestCase):
    def found(self, change=lambda text: text):
        with tempfile.TemporaryDirectory() as folder:
            build = pathlib.Path(folder)
            (build / "build.ninja").write_text(change((BUILD / "build.ninja").read_text()))
            return list(check_rooms.check_programs(check_rooms.Tree(SOURCE), build))

    def test_nothing_is_found_in_the_build(self):
        self.assertEqual(self.found(), [])

    def test_a_vmm_that_links_an_http_server(self):
        def link(text):
            at = text.index("build bin/cloister-vmm:")
            at = text.index("LINK_LIBRARIES = ", at) + len("LINK_LIBRARIES = ")
            return text[:at] + "src/libhttp.a " + text[at:]

        self.assertEqual(self.found(link), ["cloister-vmm: links http, which it may not have"])


if __name__ == "__main__":
    SOURCE, BUILD, TESTS = (pathlib.Path(word).resolve() for word in sys.argv[1:4])
    unittest.main(argv=sys.argv[:1])
