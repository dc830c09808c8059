#!/usr/bin/env bash
# Runs every fuzz target for a bounded number of inputs. Options by environment: RUNS (200000), SECONDS_EACH (30).
set -euo pipefail
cd "$(dirname "$0")"
runs=${RUNS:-200000}
seconds=${SECONDS_EACH:-30}
# Without a sanitizer: it needs a nightly compiler, and there is no unsafe code to find faults in.
cargo fuzz build -s none --fuzz-dir .
for file in fuzz_targets/*.rs; do
    target=$(basename "$file" .rs)
    mkdir -p "corpus/$target" "seeds/$target"
    log=$(mktemp)
    if ! cargo fuzz run -s none --fuzz-dir . "$target" "corpus/$target" "seeds/$target" -- \
        -runs="$runs" -max_total_time="$seconds" -max_len=8192 -timeout=10 >"$log" 2>&1; then
        tail -40 "$log" >&2
        exit 1
    fi
    echo "$target: $(grep -E '^Done' "$log")"
    rm -f "$log"
done
