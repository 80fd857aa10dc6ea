#!/bin/sh
# `make release`: `apiclay` and `apiclay-gateway` in profile `dist`, optimised by what they did under load. Both are built twice
# from nothing, one after the other, which takes its time. It says each step, and ends at the first that fails.
# Without it, `cargo build --profile dist` builds the same programs, somewhat slower ones.
set -eu

say() { printf '\nrelease: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# Of training: fewer counts than this, and the load has not reached the gateway.
COUNT_MIN=100000

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/pgo" "$target/released"
target=$(cd "$target" && pwd)
raw="$target/pgo/raw"
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[ -x "$profdata" ] || profdata=$(command -v "llvm-profdata-$llvm") ||
    fail "there is no llvm-profdata of LLVM $llvm, rustc's: run \`make release\`, which brings it"

# build FOLDER FLAG: for a target that is named, so that what runs while building is built without the flag. All else is the
# same both times, debug information too: it is part of functions' names, by which counts find them.
build() {
    RUSTFLAGS="${RUSTFLAGS:-} $2" cargo build --locked --profile dist --target "$host" --target-dir "$1" \
        --package apiclay --package apiclay-gateway --bin apiclay --bin apiclay-gateway
}

say "1 of 4: building with counters"
rm -rf "$raw" "$target"/pgo/*.profdata
build "$target/pgo/counting" "-Cprofile-generate=$raw"

say "2 of 4: training"
cargo build --locked --workspace --bin train
# What a user has set is not what is trained: no other store, no other counters, no settings.
for name in $(env | sed -nE 's/^(MONGODB_URI|REDIS_URL|RAZORPAY_[A-Z_]*|APICLAY_[A-Z0-9_]*)=.*/\1/p'); do unset "$name"; done
LLVM_PROFILE_FILE="$raw/%p-%m.profraw" APICLAY_TEST_BINARIES="$target/pgo/counting/$host/dist" "$target/debug/train"
ls "$raw"/*.profraw >/dev/null 2>&1 || fail "the programs left no counts in $raw"

say "3 of 4: merging what was counted"
"$profdata" merge -o "$target/pgo/merged" "$raw"/*.profraw
# By its content: cargo builds dependencies anew for another flag, not for another file of the same name.
profile="$target/pgo/$(sha256sum "$target/pgo/merged" | cut -c1-16).profdata"
mv "$target/pgo/merged" "$profile"
most=$("$profdata" show "$profile" | sed -n 's/^Maximum function count: //p')
say "the function that ran most ran $most times"
[ "${most:-0}" -ge $COUNT_MIN ] || fail "that is too few to learn from: at least $COUNT_MIN are wanted"

say "4 of 4: building with the profile"
build "$target/pgo/optimised" "-Cprofile-use=$profile"
# What is not seen outside its unit has the unit's name before its own there.
"$profdata" show --all-functions "$profile" | sed -n 's/^  \([^ ].*\):$/\1/p' | sed 's/.*;//' | sort -u >"$target/pgo/profile.names"
for program in apiclay apiclay-gateway; do
    nm "$target/pgo/optimised/$host/dist/$program" | awk '{ print $3 }' | sed 's/\.llvm\.[0-9]*$//' | grep apiclay | sort -u >"$target/pgo/names"
    all=$(wc -l <"$target/pgo/names")
    known=$(comm -12 "$target/pgo/profile.names" "$target/pgo/names" | wc -l)
    say "$program: $known of $all functions of ours are in the profile by their name"
    [ $((known * 2)) -gt "$all" ] || fail "the profile says nothing of most functions: the two builds name them differently"
    cp "$target/pgo/optimised/$host/dist/$program" "$target/released/$program"
    "$target/released/$program" --version
done
say "done: $target/released/apiclay, $target/released/apiclay-gateway"
