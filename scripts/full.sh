#!/usr/bin/env bash
# The long runs: every test, also those that take too long for check.sh, in a release build.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/full.sh

Runs every test in a release build, the long ones included. Everything must be able to run,
so it needs root, FUSE and loop devices: see scripts/powercut.sh.
For format, lints, documentation and dependencies see scripts/check.sh.

  --help   print this

  DENIZEN_TEST_DIR   where tests make their folders (default: /var/tmp/denizen-test-$UID)
USAGE
}

case ${1:-} in
    "") ;;
    -h | --help)
        usage
        exit
        ;;
    *)
        printf 'error: unknown argument %s\n\n' "$1" >&2
        usage >&2
        exit 2
        ;;
esac

# shellcheck source=scripts/prepare.sh
source "$(dirname "${BASH_SOURCE[0]}")/prepare.sh"
require_everything=true

step "preparation"
require_cargo
ask_for_system_packages tools disks
prepare_clis
prepare_test_dir

step "tests, with the long ones"
export DENIZEN_TEST_FULL=1
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(nproc)}
export RUST_TEST_THREADS
run_tests cargo test --locked --release -- --include-ignored

step "what the tests left behind"
check_leftovers
