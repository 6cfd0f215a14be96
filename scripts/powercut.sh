#!/usr/bin/env bash
# Power cuts, on real file systems: Denizen must lose nothing, and unsafe writers must be found out.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/powercut.sh [--states COUNT] [FILESYSTEM]...

Lets Denizen work on disks that log their writes, and looks at what a power cut at any moment
would have left of them. The same is done with writers that leave a sync out: if one of them is
not found out, that is a failure too. Needs root, /dev/fuse and loop devices; everything is
mounted in a mount namespace of its own, and nothing stays behind.

  FILESYSTEM      ext4, xfs or btrfs (default: all of them)
  --states COUNT  how many states are looked at on each (default: 200; of each unsafe writer a quarter)
  --help          print this

  DENIZEN_TEST_DIR   where the disks are mounted (default: /var/tmp/denizen-test-$UID)
USAGE
}

wrong_usage() {
    printf 'error: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

filesystems=()
while [ $# -gt 0 ]; do
    case $1 in
        ext4 | xfs | btrfs) filesystems+=("$1") ;;
        --states)
            [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || wrong_usage "--states needs a number"
            export DENIZEN_TEST_POWERCUT_STATES=$2
            shift
            ;;
        -h | --help)
            usage
            exit
            ;;
        *) wrong_usage "unknown argument $1" ;;
    esac
    shift
done
((${#filesystems[@]} > 0)) || filesystems=(ext4 xfs btrfs)

# shellcheck source=scripts/prepare.sh
source "$(dirname "${BASH_SOURCE[0]}")/prepare.sh"
require_everything=true

step "preparation"
require_cargo
[ "$EUID" -eq 0 ] || die "only root may mount file systems" "run this as root"
ask_for_system_packages disks
prepare_test_dir

step "power cuts on ${filesystems[*]}"
run_tests cargo test --locked --release --test it -- \
    --ignored --nocapture --test-threads=1 "${filesystems[@]/#/powercut::}"

# Two tests of each: a filter that fits nothing would pass.
expected=$((2 * ${#filesystems[@]}))
ran=$(awk '/^test result: / { passed += $4 } END { print passed + 0 }' "$scratch/tests")
((ran == expected)) || die "$ran tests ran instead of $expected"

step "what was found"
grep -ohE '(ext4|xfs|btrfs) +[A-Za-z]+ +[0-9]+ states.*' "$scratch/tests"

step "what the tests left behind"
check_leftovers
if losetup --list --noheadings --output BACK-FILE | grep -F "$private_test_dir"; then
    die "the tests left loop devices behind" "losetup --detach"
fi
