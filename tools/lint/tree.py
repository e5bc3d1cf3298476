"""What the checks share: which files are the project's own, and C++ text without its comments and strings."""

import os
import re

SKIPPED_DIRECTORIES = {".git", "build", "__pycache__", ".cache", "third_party"}
CPP_SUFFIXES = (".h", ".hpp", ".cpp", ".cc", ".c")

# A string (or character) literal or a comment, whichever begins first.
_NOISE = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/', re.DOTALL)


def files(root, suffixes=None, names=()):
    """Paths relative to root, sorted, of the files with these suffixes or these exact names (all files by default)."""
    found = []
    for directory, subdirectories, entries in os.walk(root):
        subdirectories[:] = sorted(d for d in subdirectories if d not in SKIPPED_DIRECTORIES)
        for entry in entries:
            if suffixes is None or entry.endswith(tuple(suffixes)) or entry in names:
                path = os.path.join(directory, entry)
                if os.path.isfile(path) and not os.path.islink(path):
                    found.append(os.path.relpath(path, root))
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def code_only(text):
    """The text with comments and literals blanked, line for line. Includes keep their names (see includes())."""
    def blank(match):
        piece = match.group(0)
        if piece.startswith(("/", "'")):
            return re.sub(r"[^\n]", " ", piece) if piece.startswith("/") else "' '"
        return '""'
    return _NOISE.sub(blank, text)


def includes(text):
    """(line number, name, is_system) of every #include."""
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
        if match:
            yield number, match.group(1) or match.group(2), match.group(2) is not None
