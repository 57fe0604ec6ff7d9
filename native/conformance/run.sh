#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the conformance program in every way that might change a bit, and runs each.
#
#     run.sh BUILD_FOLDER GOLDEN_FOLDER [cross]
#
# Native: both compilers, without and with optimisation, with -ffast-math forced on all that does
# not forbid it (GCC then also links code that flushes denormals to zero), and with the vector units
# and fused multiply-add of newer processors. There is no choice of instructions at run time.
# cross: 64-bit ARM, and big-endian s390x, both under qemu's user emulation.
set -euo pipefail
build=$1
golden=$2
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
list="$source/conformance/packets_v1.txt"
n_failed=0

# check NAME EMULATOR COMPILER FLAGS...: an empty emulator runs the program as it is.
check() {
    local name=$1 emulator=$2 compiler=$3
    shift 3
    if ! command -v "$compiler" >/dev/null || { [ -n "$emulator" ] && ! command -v "$emulator" >/dev/null; }; then
        echo "$name: not run, expected $compiler ${emulator:+and $emulator }on PATH"
        n_failed=$((n_failed + 1))
        return
    fi
    cmake -S "$source" -B "$build/$name" -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_COMPILER="$compiler" \
        -DCMAKE_CXX_FLAGS="$*" -DFL_DEEPCABAC_CONFORMANCE=ON >/dev/null
    cmake --build "$build/$name" --target conformance >/dev/null
    printf '%-18s %-36s ' "$name" "$*"
    ${emulator:+"$emulator"} "$build/$name/conformance" "$list" --golden "$golden" || n_failed=$((n_failed + 1))
}

if [ "${3-}" = cross ]; then
    check aarch64 qemu-aarch64 aarch64-linux-gnu-g++ -O2 -static
    check s390x qemu-s390x s390x-linux-gnu-g++ -O2 -static
else
    for compiler in g++ clang++; do
        check "$compiler-O0" "" "$compiler" -O0
        check "$compiler-O3" "" "$compiler" -O3
        check "$compiler-fast-math" "" "$compiler" -O3 -ffast-math
        check "$compiler-O0-fast-math" "" "$compiler" -O0 -ffast-math
        check "$compiler-avx2-fma" "" "$compiler" -O3 -march=x86-64-v3 -ffp-contract=fast
    done
fi
[ $n_failed = 0 ] || { echo "$n_failed builds failed or were not run" >&2; exit 1; }
