#!/usr/bin/env bash
# The one check: what it accepts may be submitted.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/check.sh [--full]

Checks format, lints, documentation, tests (with the real agent CLIs) and dependencies.
What comes from crates.io or npm is installed below target/; system packages are only asked for.
Tests that cannot run here are named in the last lines.

  --full   a test that cannot run is a failure
  --help   print this

  DENIZEN_TEST_DIR   where tests make their folders (default: /var/tmp/denizen-test-$UID)
USAGE
}

full=false
for argument in "$@"; do
    case $argument in
        --full) full=true ;;
        -h | --help)
            usage
            exit
            ;;
        *)
            printf 'error: unknown argument %s\n\n' "$argument" >&2
            usage >&2
            exit 2
            ;;
    esac
done

# shellcheck source=scripts/prepare.sh
source "$(dirname "${BASH_SOURCE[0]}")/prepare.sh"
require_everything=$full

step "preparation"
require_cargo
cargo fmt --version || die "rustfmt is missing" "rustup component add rustfmt"
cargo clippy --version || die "clippy is missing" "rustup component add clippy"
ask_for_system_packages tools
prepare_clis
prepare_cargo_deny
prepare_test_dir

step "format"
cargo fmt --check

step "lints"
cargo clippy --all-targets --locked -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

step "tests"
# More of what the quick loop, `cargo test` alone, does a little of.
export DENIZEN_TEST_CHECK=1
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(nproc)}
export RUST_TEST_THREADS
run_tests cargo test --locked

step "what the tests left behind"
check_leftovers

step "dependencies: bans, licences, sources"
"$cargo_deny" --locked check bans licenses sources

# The database is fetched from the internet, and its verdict depends on the day rather than on the
# commit: out of reach it is only named, but what it does say counts.
step "dependencies: advisories"
if timeout 120 "$cargo_deny" --locked fetch db; then
    "$cargo_deny" --locked --offline check advisories
else
    advisories_note="cargo deny check advisories: the advisory database could not be fetched: run it with the internet in reach"
fi
