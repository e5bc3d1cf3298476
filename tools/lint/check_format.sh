#!/usr/bin/env bash
# Fails, with one line per file, where clang-format would change a C++ source. Exit code 77 (skipped) where clang-format is
# absent or another major version than the one the tree is formatted with: versions differ in what they think is pretty.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
readonly kMajor=14
tool=$(command -v "clang-format-$kMajor" || command -v clang-format) || { echo "format: no clang-format here"; exit 77; }
major=$("$tool" --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
[ "$major" = "$kMajor" ] || { echo "format: clang-format is version $major, the tree is formatted with $kMajor"; exit 77; }
bad=0
while IFS= read -r -d '' file; do
  if ! "$tool" --dry-run -Werror "$file" 2>/dev/null; then
    echo "$file: not formatted; run: clang-format -i $file"
    bad=1
  fi
done < <(find agent api bench placement scheduler state tests tools \( -name '*.h' -o -name '*.cpp' \) -print0 | sort -z)
exit $bad
