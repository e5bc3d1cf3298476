#!/usr/bin/env python3
"""Keeps the house's floors: who may include and link whom, and what a pure room may not touch.

The include table is the one in docs/ARCHITECTURE.md. Three checks, one line per finding, exit code 1 if there is any:
  includes  every #include "room/..." is one that the table allows
  links     every target_link_libraries(berth_x ... berth_y) in a room's CMakeLists.txt is one that the table allows
  purity    a pure room includes no header of clocks, randomness, threads, files, sockets, and calls nothing of the kind
"""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tree  # noqa: E402

TABLE = "docs/ARCHITECTURE.md"

IMPURE_HEADERS = {
    "random", "thread", "stop_token", "mutex", "shared_mutex", "condition_variable", "future",
    "semaphore", "latch", "barrier", "fstream", "iostream", "filesystem", "syncstream", "unistd.h",
    "fcntl.h", "pthread.h", "poll.h", "dirent.h", "netdb.h", "spawn.h", "sched.h", "dlfcn.h", "ifaddrs.h",
}
IMPURE_HEADER_PREFIXES = ("sys/", "netinet/", "arpa/", "linux/", "boost/asio", "openssl/", "spdlog/", "hwloc")
IMPURE_CALLS = re.compile(
    r"\b(?:(?:system|steady|high_resolution|utc|file|tai|gps)_clock|current_zone|locate_zone|random_device|this_thread)\b"
    r"|\bstd\s*::\s*(?:thread|jthread|async|mutex|filesystem)\b"
    r"|(?<![\w.>])(?:std\s*::\s*)?(?:getenv|secure_getenv|setenv|putenv|rand|srand|random|system|popen|fopen|freopen|printf"
    r"|fprintf|puts|perror|clock|clock_gettime|gettimeofday|localtime|localtime_r|mktime|nanosleep"
    r"|usleep|sleep|getpid|fork|getrandom)\s*\("
    r"|(?<![\w.>])(?:open|socket|kill|raise|signal)\s*\(\s*[^)\s]"
    r"|(?<![\w.>])(?:std\s*::\s*)?time\s*\(\s*(?:nullptr|NULL|0|&)"
    r"|\bstd\s*::\s*(?:cout|cerr|clog|cin)\b|\bfmt\s*::\s*print(?:ln)?\s*\(")


class Room:
    def __init__(self, name, allowed, pure):
        self.name, self.allowed, self.pure = name, allowed, pure

    def may_use(self, other):
        return other == self.name or other in self.allowed


def read_table(text):
    """The rooms of docs/ARCHITECTURE.md by name. A table that cannot be read is an error, not an empty house."""
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if len(cells) == 4 and cells[0] != "room" and not set(cells[0]) <= set("-: "):
            rows.append(cells)
    names = [row[0] for row in rows]
    rooms = {}
    for name, _, allowed, pure in rows:
        if allowed == "nothing":
            may = set()
        elif allowed == "all":
            may = set(names)
        elif allowed.startswith("all but "):
            may = set(names) - {other.strip() for other in allowed[len("all but "):].split(",")}
        else:
            may = {other.strip() for other in allowed.split(",")}
        unknown = may - set(names)
        if unknown or pure not in ("", "pure"):
            raise ValueError(f"{TABLE}: the row of '{name}' is not understood: {', '.join(sorted(unknown)) or pure}")
        rooms[name] = Room(name, may, pure == "pure")
    if not rooms:
        raise ValueError(f"{TABLE}: no table with the columns room, what lives there, may include, pure")
    return rooms


def room_of(path, rooms):
    """The deepest room that holds the path, or None."""
    parts = path.split("/")
    for depth in range(len(parts) - 1, 0, -1):
        name = "/".join(parts[:depth])
        if name in rooms:
            return rooms[name]
    return None


def check_file(path, text, rooms):
    room = room_of(path, rooms)
    if room is None:
        return [f"{path}:1: belongs to no room of {TABLE}"]
    found = []
    for number, name, is_system in tree.includes(text):
        other = room_of(name, rooms)
        if other is not None and not room.may_use(other.name):
            found.append(f"{path}:{number}: {room.name} may not include {other.name} (\"{name}\")")
        if room.pure and is_system and (name in IMPURE_HEADERS or name.startswith(IMPURE_HEADER_PREFIXES)):
            found.append(f"{path}:{number}: {room.name} is pure and may not include <{name}>")
    if room.pure:
        for number, line in enumerate(tree.code_only(text).splitlines(), 1):
            match = IMPURE_CALLS.search(line)
            if match:
                found.append(f"{path}:{number}: {room.name} is pure and may not use '{match.group(0).strip(' (')}'")
    return found


def check_links(root, rooms):
    """The rooms' CMake targets may link only targets whose rooms the table allows to one of the linker's rooms."""
    scripts = {path: tree.read(root, path) for path in tree.files(root, (".cmake",), ("CMakeLists.txt",))}
    made_of = {}
    for path, text in scripts.items():
        for name, directories in re.findall(r"\bberth_room\(\s*(\w+)\s+([^)]*)\)", text):
            base = os.path.dirname(path)
            inside = [os.path.normpath(os.path.join(base, d)) for d in directories.split()]
            found = [room_of(directory + "/x", rooms) for directory in inside]
            made_of["berth_" + name] = [room for room in found if room is not None]
    found = []
    for path, text in scripts.items():
        for call in re.finditer(r"\btarget_link_libraries\(\s*(\w+)\s+([^)]*)\)", text):
            target, libraries = call.group(1), call.group(2).split()
            for library in libraries:
                if target not in made_of or library not in made_of or library == target:
                    continue
                for other in made_of[library]:
                    if not any(room.may_use(other.name) for room in made_of[target]):
                        line = text.count("\n", 0, call.start()) + 1
                        found.append(f"{path}:{line}: {target} may not link {library} ({other.name})")
    return found


def check(root):
    try:
        rooms = read_table(tree.read(root, TABLE))
    except (OSError, ValueError) as error:
        return [str(error)]
    found = []
    for path in tree.files(root, tree.CPP_SUFFIXES):
        found += check_file(path, tree.read(root, path), rooms)
    return found + check_links(root, rooms)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    found = check(os.path.normpath(root))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
