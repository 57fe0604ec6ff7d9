#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every libFuzzer target in BUILD_FOLDER for so many seconds, from the committed corpus and what
# earlier runs have found beside it, and says how many inputs each has tried.
#
#     run.sh BUILD_FOLDER SECONDS
#
# A finding ends its target; the input is left as BUILD_FOLDER/NAME-crash-..., to be put into the
# corpus once it is mended.
set -euo pipefail
build=$1
seconds=$2
source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
n_failed=0
for target in "$build"/fuzz_*; do
    name=$(basename "$target")
    name=${name#fuzz_}
    mkdir -p "$build/found/$name"
    log="$build/$name.log"
    if "$target" -max_total_time="$seconds" -dict="$source/fl_deepcabac.dict" -print_final_stats=1 \
        -artifact_prefix="$build/$name-" "$build/found/$name" "$source/corpus/$name" >"$log" 2>&1; then
        outcome="no fault found"
    else
        outcome="FAULT, see $log"
        n_failed=$((n_failed + 1))
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-16s %12s inputs: %s\n' "$name" "${runs:-0}" "$outcome"
done
[ $n_failed = 0 ]
