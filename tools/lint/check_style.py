#!/usr/bin/env python3
"""Small habits that rot unless something looks: one line per finding, exit code 1 if there is any.

  length    no source or page over 600 lines
  header    every C++ header opens with a comment that says what it is for, and has #pragma once
  words     no marks of unfinished work, no numbers of trackers, no paths of one person's machine
  space     no tabs (but in Makefiles), no trailing blanks, and a newline at the end
"""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tree  # noqa: E402

LINES_MAX = 600
TEXT_SUFFIXES = tree.CPP_SUFFIXES + (".py", ".sh", ".cmake", ".fbs", ".md", ".json", ".yaml", ".yml")
TEXT_NAMES = ("dev", "run", "CMakeLists.txt", ".clang-tidy", ".clang-format")
# Written in halves, so that this file does not find itself.
WORDS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"
                   r"|\bnot (?:yet )?imple" r"mented\b|\bunimple" r"mented\b|\bfor n" r"ow\b"
                   r"|\bissue[ -]?#?\d|(?<![\w/.])/(?:work|root|home/\w+/src)/", re.IGNORECASE)


def check_file(path, text):
    found = []
    lines = text.split("\n")
    count = len(lines) - 1 if text.endswith("\n") else len(lines)
    if count > LINES_MAX:
        found.append(f"{path}:{LINES_MAX + 1}: {count} lines; split it by idea, at most {LINES_MAX}")
    if path.endswith((".h", ".hpp")):
        if not text.startswith("//"):
            found.append(f"{path}:1: a header opens with a comment: what it is for, who owns what, what always holds")
        if "#pragma once" not in text:
            found.append(f"{path}:1: no #pragma once")
    for number, line in enumerate(lines, 1):
        match = WORDS.search(line)
        if match:
            found.append(f"{path}:{number}: '{match.group(0)}' does not belong here")
        if line.rstrip() != line and not path.endswith(".md"):
            found.append(f"{path}:{number}: blanks at the end of the line")
        if "\t" in line:
            found.append(f"{path}:{number}: a tab; indent with spaces")
    if text and not text.endswith("\n"):
        found.append(f"{path}:{count}: no newline at the end")
    return found


def check(root):
    found = []
    for path in tree.files(root, TEXT_SUFFIXES, TEXT_NAMES):
        found += check_file(path, tree.read(root, path))
    return found


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    found = check(os.path.normpath(root))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
