#!/usr/bin/env bash
# All checks of the tree, one line each: "ok NAME", "FAILED NAME" with the findings below, or "skipped NAME: why".
#   run.sh [--quick] [--tidy [FILE…]]     --quick leaves out clang-format; --tidy adds clang-tidy (minutes) over build/release
# Exit code 1 if anything failed. The last line counts: "lint: N passed, N failed, N skipped".
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
python=/usr/bin/python3
[ -x "$python" ] || python=python3
passed=0 failed=0 skipped=0
quick=0 tidy=0
[ "${1:-}" = --quick ] && { quick=1; shift; }
[ "${1:-}" = --tidy ] && { tidy=1; shift; }

check() {  # NAME COMMAND...
  local name=$1 output code
  shift
  output=$("$@" 2>&1)
  code=$?
  case $code in
    0) echo "ok       $name"; passed=$((passed + 1)) ;;
    77) echo "skipped  $name: $output"; skipped=$((skipped + 1)) ;;
    *) echo "FAILED   $name"; sed 's/^/    /' <<<"$output"; failed=$((failed + 1)) ;;
  esac
}

tidy() {
  local tool
  tool=$(command -v clang-tidy) || { echo "no clang-tidy here"; return 77; }
  [ -f "$root/build/release/compile_commands.json" ] || { echo "needs a configured build: ./dev build"; return 77; }
  [ $# -gt 0 ] || mapfile -t set < <(cd "$root" && find agent api placement scheduler state tools -name '*.cpp' | sort)
  [ $# -eq 0 ] || set=("$@")
  cd "$root" && printf '%s\0' "${set[@]}" |
    xargs -0 -n 1 -P "$(nproc)" "$tool" --quiet -p build/release --extra-arg=-Wno-unknown-warning-option
}

check "layers and purity" "$python" "$here/check_layers.py" "$root"
check "style (length, headers, words, space)" "$python" "$here/check_style.py" "$root"
check "the checks can fail" "$python" "$here/test_lint.py"
[ $quick -eq 1 ] || check "format" "$here/check_format.sh"
[ $tidy -eq 0 ] || check "clang-tidy" tidy "$@"
echo "lint: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
