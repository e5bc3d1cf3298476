"""Every check is shown to fail: a small tree that is right, and one fault planted at a time."""

import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import check_layers  # noqa: E402
import check_style  # noqa: E402
import tree  # noqa: E402

ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
GOOD = {
    "state/ids.h": "// Ids.\n#pragma once\n#include <cstdint>\n",
    "state/store/store.h": '// Store.\n#pragma once\n#include <fstream>\n#include "state/ids.h"\n',
    "state/CMakeLists.txt": "berth_room(state .)\nberth_room(store store)\n"
                            "target_link_libraries(berth_store PUBLIC berth_state)\n",
    "placement/engine.cpp": '#include "state/ids.h"\nint runtime(int a) { return a; }\n'
                            '// a clock: time(nullptr)\nconst char* text = "getenv(";\n',
    "placement/CMakeLists.txt": "berth_room(placement .)\ntarget_link_libraries(berth_placement PUBLIC berth_state)\n",
    "scheduler/core.cpp": '#include "placement/engine.h"\n#include "state/ids.h"\n',
    "tools/cli/main.cpp": '#include "api/client/client.h"\n#include <thread>\n',
    "tests/state/ids_test.cpp": '#include "tools/cli/command.h"\n#include "state/ids.h"\n',
}


class Tree(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.put(check_layers.TABLE, tree.read(ROOT, check_layers.TABLE))
        for path, text in GOOD.items():
            self.put(path, text)

    def put(self, path, text):
        full = os.path.join(self.directory.name, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)

    def findings(self, check):
        return check.check(self.directory.name)

    def assert_found(self, check, *pieces):
        found = self.findings(check)
        self.assertEqual(len(found), 1, found)
        for piece in pieces:
            self.assertIn(piece, found[0])


class Layers(Tree):
    def test_a_tree_that_keeps_the_table_passes(self):
        self.assertEqual(self.findings(check_layers), [])

    def test_an_include_upwards_is_found(self):
        self.put("state/ids.h", '// Ids.\n#pragma once\n#include "placement/engine.h"\n')
        self.assert_found(check_layers, "state/ids.h:3", "state may not include placement")

    def test_every_pair_that_the_table_does_not_allow_is_found(self):
        rooms = check_layers.read_table(tree.read(ROOT, check_layers.TABLE))
        refused = 0
        for room in rooms.values():
            for other in rooms.values():
                found = check_layers.check_file(f"{room.name}/x.cpp", f'#include "{other.name}/y.h"\n', rooms)
                self.assertEqual(found == [], room.may_use(other.name), (room.name, other.name))
                refused += bool(found)
        self.assertGreater(refused, 50)

    def test_a_room_within_a_room_is_a_room_of_its_own(self):
        self.put("state/ids.h", '// Ids.\n#pragma once\n#include "state/store/store.h"\n')
        self.assert_found(check_layers, "state may not include state/store")

    def test_a_file_outside_every_room_is_found(self):
        self.put("misc/helper.cpp", "int x;\n")
        self.assert_found(check_layers, "misc/helper.cpp", "belongs to no room")

    def test_a_link_upwards_is_found(self):
        self.put("state/CMakeLists.txt", "berth_room(state .)\ntarget_link_libraries(berth_state PUBLIC\n  berth_placement)\n")
        self.assert_found(check_layers, "state/CMakeLists.txt:2", "berth_state may not link berth_placement")

    def test_a_table_that_cannot_be_read_is_an_error(self):
        self.put(check_layers.TABLE, "# Architecture\n")
        self.assert_found(check_layers, "no table")
        self.put(check_layers.TABLE, "| state | x | cellar | |\n")
        self.assert_found(check_layers, "'state' is not understood")


class Purity(Tree):
    def test_impure_headers_are_found_in_every_pure_room(self):
        rooms = check_layers.read_table(tree.read(ROOT, check_layers.TABLE))
        pure = sorted(room.name for room in rooms.values() if room.pure)
        self.assertEqual(pure, ["agent/core", "placement", "scheduler", "state"])
        for room in pure:
            for header in ("random", "thread", "mutex", "fstream", "filesystem", "unistd.h", "sys/socket.h", "boost/asio.hpp"):
                with self.subTest(room=room, header=header):
                    found = check_layers.check_file(f"{room}/x.cpp", f"#include <{header}>\n", rooms)
                    self.assertEqual(len(found), 1)

    def test_impure_calls_are_found(self):
        rooms = check_layers.read_table(tree.read(ROOT, check_layers.TABLE))
        for call in ('std::getenv("HOME")', "time(nullptr)", "std::time(0)", "std::chrono::steady_clock::now()", "std::chrono::system_clock::now()",
                     "rand()",
                     "std::random_device device", "std::thread worker", "clock_gettime(0, &ts)", 'open("/etc/passwd", 0)',
                     "std::cerr << 1", 'std::filesystem::exists("x")', "kill(1, 9)", "localtime(&t)"):
            with self.subTest(call=call):
                found = check_layers.check_file("scheduler/x.cpp", f"auto y = {call};\n", rooms)
                self.assertEqual(len(found), 1, found)

    def test_names_that_only_look_alike_pass(self):
        rooms = check_layers.read_table(tree.read(ROOT, check_layers.TABLE))
        for line in ("offer.open();", "bool open() const;", "node->time(5);", "first_time(0);", "x.clock(1);", "runtime(0);",
                     "// std::thread", 'auto a = "rand()";', "operand(1);"):
            with self.subTest(line=line):
                self.assertEqual(check_layers.check_file("state/x.cpp", line + "\n", rooms), [])

    def test_the_journal_may_touch_files(self):
        self.put("state/store/journal.cpp", '#include <fcntl.h>\nint f() { return open("x", 0); }\n')
        self.assertEqual(self.findings(check_layers), [])


class Style(Tree):
    def test_a_tidy_tree_passes(self):
        self.assertEqual(self.findings(check_style), [])

    def test_a_long_file_is_found(self):
        self.put("state/long.cpp", "int x;\n" * 600)
        self.assertEqual(self.findings(check_style), [])
        self.put("state/long.cpp", "int x;\n" * 601)
        self.assert_found(check_style, "state/long.cpp", "601 lines")

    def test_a_header_without_a_contract_or_a_guard_is_found(self):
        self.put("state/a.h", "#pragma once\n")
        self.assert_found(check_style, "state/a.h:1", "opens with a comment")
        self.put("state/a.h", "// Something.\n")
        self.assert_found(check_style, "state/a.h:1", "#pragma once")

    def test_marks_of_unfinished_work_are_found(self):
        for word in ("// TO" + "DO: later", "// FIX" + "ME", "# XX" + "X", "// not imple" + "mented", "// good for n" + "ow"):
            with self.subTest(word=word):
                self.put("state/a.cpp", word + "\n")
                self.assert_found(check_style, "state/a.cpp:1", "does not belong here")

    def test_numbers_of_trackers_and_private_paths_are_found(self):
        for word in ("// see issue" + " 12", "// issue" + " #7", "// in /root" + "/src/x", "// under /work" + "/x"):
            with self.subTest(word=word):
                self.put("state/a.cpp", word + "\n")
                self.assert_found(check_style, "does not belong here")

    def test_blanks_tabs_and_a_missing_newline_are_found(self):
        for text, piece in (("int x; \n", "blanks"), ("\tint x;\n", "tab"), ("int x;", "newline")):
            with self.subTest(piece=piece):
                self.put("state/a.cpp", text)
                self.assert_found(check_style, piece)


class ThisTree(unittest.TestCase):
    def test_the_layers_hold(self):
        self.assertEqual(check_layers.check(ROOT), [])

    def test_the_style_holds(self):
        self.assertEqual(check_style.check(ROOT), [])


if __name__ == "__main__":
    unittest.main()
