# shellcheck shell=bash
#
# What check.sh and full.sh have in common. Sourced by them, not run: it changes to the top of the
# checkout, and gives steps with a heading, the tools and test programs that come from registries,
# a directory of its own for the tests, and the closing lines.

CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
SECONDS=0

cargo_deny_version=0.20.2

# A setting of the person who runs this must not decide what the tests see.
for name in "${!DENIZEN_@}"; do
    case $name in
        DENIZEN_TEST_*) ;;
        *) unset "$name" ;;
    esac
done

# The caller sets it to true when a test that cannot run is a failure.
require_everything=false
current_step="start"
advisories_note=""

scratch=$(mktemp -d)
# Every test that cannot run here appends `<test>\t<what is missing>\t<how to get it>`.
export DENIZEN_TEST_NOT_RUN=$scratch/not-run
: >"$DENIZEN_TEST_NOT_RUN"

trap finish EXIT

step() {
    current_step=$1
    printf '\n== [%4d s] %s\n' "$SECONDS" "$1"
}

# The first argument says what is wrong, the second how to mend it.
die() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

# For what may be absent: named in the closing lines, or the end where everything is required.
did_not_run() {
    local what=$1 missing=$2 remedy=$3
    if "$require_everything"; then
        die "$what cannot run: $missing" "$remedy"
    fi
    printf '%s\t%s\t%s\n' "$what" "$missing" "$remedy" >>"$DENIZEN_TEST_NOT_RUN"
}

# The closing lines come last whatever happened, so that nobody has to search for them.
finish() {
    local status=$? what missing remedy
    trap - EXIT
    set +e
    echo

    if [ -s "$scratch/tests" ]; then
        awk '
            /^test result: / { passed += $4; failed += $6; ignored += $8 }
            END { printf "tests: %d passed, %d failed, %d skipped\n", passed, failed, ignored }
        ' "$scratch/tests"
    fi
    if [ -s "$DENIZEN_TEST_NOT_RUN" ] || [ -n "$advisories_note" ]; then
        echo "Did not run here:"
        sort -u "$DENIZEN_TEST_NOT_RUN" | while IFS=$'\t' read -r what missing remedy; do
            echo "  $what: $missing: $remedy"
        done
        [ -z "$advisories_note" ] || echo "  $advisories_note"
    fi

    if [ -n "${private_test_dir:-}" ] && ! rmdir "$private_test_dir" 2>/dev/null; then
        echo "The tests left something to look at in $private_test_dir"
    fi

    if [ "$status" -ne 0 ]; then
        echo "FAILED after $SECONDS s in the step: $current_step"
    elif "$require_everything" && [ -s "$DENIZEN_TEST_NOT_RUN" ]; then
        echo "FAILED after $SECONDS s: what ran has passed, but here everything must run"
        status=1
    elif [ -s "$DENIZEN_TEST_NOT_RUN" ] || [ -n "$advisories_note" ]; then
        echo "Everything that ran has passed, in $SECONDS s"
    else
        echo "Everything has passed, in $SECONDS s"
    fi

    rm -rf "$scratch"
    exit "$status"
}

require_cargo() {
    command -v cargo >/dev/null || die "cargo is missing" "install Rust from https://rustup.rs"
}

# System packages are only asked for: whether to install them is the owner's decision.
# The tests themselves say what they could not do without them. Takes `tools`, `disks` or both.
ask_for_system_packages() {
    local group need needs=() missing=()
    for group in "$@"; do
        case $group in
            tools) needs+=(git:git rsync:rsync bwrap:bubblewrap strace:strace tmux:tmux) ;;
            disks) needs+=(mount:mount mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs) ;;
        esac
    done
    for need in "${needs[@]}"; do
        command -v "${need%%:*}" >/dev/null || missing+=("${need#*:}")
    done
    if ((${#missing[@]} > 0)); then
        echo "Not installed here: ${missing[*]}"
        echo "hint: tests that need them are named at the end; on Debian: apt-get install ${missing[*]}"
    fi
}

# Installs the agent CLIs in the versions of tests/npm, and tells the tests where they are.
prepare_clis() {
    local what="tests with the real CLIs" node_major
    unset DENIZEN_TEST_CLIS

    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        did_not_run "$what" "node or npm is missing" "install Node.js 20 or later, with npm, from https://nodejs.org"
        return
    fi
    node_major=$(node --print 'process.versions.node.split(".")[0]')
    if ((node_major < 20)); then
        did_not_run "$what" "Node.js is too old: $(node --version)" "install Node.js 20 or later from https://nodejs.org"
        return
    fi

    if ! cat tests/npm/package.json tests/npm/package-lock.json | cmp -s - target/npm/installed; then
        if ! (install_clis); then
            did_not_run "$what" "they could not be installed, see above" "run this again with the npm registry in reach"
            return
        fi
        cat tests/npm/package.json tests/npm/package-lock.json >target/npm/installed
    fi
    export DENIZEN_TEST_CLIS=$PWD/target/npm/node_modules/.bin
}

# Runs in a subshell, as a condition, where `set -e` has no effect: hence the chain.
install_clis() {
    local cli
    mkdir -p target/npm &&
        rm -f target/npm/installed &&
        cp tests/npm/package.json tests/npm/package-lock.json target/npm/ &&
        cd target/npm &&
        npm ci --ignore-scripts --no-audit --no-fund || return 1

    # The programs below leave caches in the home directory, which is not ours to write to.
    # Not below the temp directory either, where Codex warns.
    unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_CACHE_HOME
    HOME=$PWD/home
    mkdir -p "$HOME"

    # Without their install scripts these two are stubs: the scripts put the platform's binary,
    # which npm has fetched and verified, in the place of the stub. No other package needs its own.
    node node_modules/@anthropic-ai/claude-code/install.cjs &&
        (cd node_modules/opencode-ai && node postinstall.mjs) || return 1

    for cli in claude codex opencode gemini; do
        printf '%s: ' "$cli"
        "node_modules/.bin/$cli" --version </dev/null || return 1
    done
    rm -rf "$HOME"
}

# Leaves in `cargo_deny` how to call it.
prepare_cargo_deny() {
    for cargo_deny in "$PWD/target/tools/bin/cargo-deny" cargo-deny; do
        if is_recent_cargo_deny "$cargo_deny"; then
            return
        fi
    done
    cargo install --locked --root target/tools --version "$cargo_deny_version" cargo-deny
    cargo_deny=$PWD/target/tools/bin/cargo-deny
}

is_recent_cargo_deny() {
    local found
    found=$("$1" --version 2>/dev/null) || return 1
    printf '%s\n' "$cargo_deny_version" "${found##* }" | sort --version-sort --check=quiet
}

# A directory for this run alone: a test that somebody else runs meanwhile is not a leftover.
# Not below the checkout, which is a git repository, nor below the temp directory: agent CLIs treat both specially.
prepare_test_dir() {
    local base=${DENIZEN_TEST_DIR:-/var/tmp/denizen-test-$UID}
    (umask 077 && mkdir -p "$base")
    [ -O "$base" ] || die "$base belongs to somebody else" "set DENIZEN_TEST_DIR to a directory of your own"
    private_test_dir=$(mktemp -d "$(cd "$base" && pwd -P)/check.XXXXXX")
    export DENIZEN_TEST_DIR=$private_test_dir
}

# Runs its arguments, a `cargo test`, and keeps what it prints, to be counted in the closing lines.
run_tests() {
    "$@" | tee "$scratch/tests"
}

# A test that leaves a folder or a process behind has not shown that Denizen cleans up.
check_leftovers() {
    local found=false entry link cwd process
    while IFS= read -r entry; do
        echo "left behind: $entry"
        found=true
    done < <(find "$private_test_dir" -mindepth 1 -maxdepth 1)

    [ -d /proc/self ] || did_not_run "search for leftover processes" "no /proc" "run it on Linux"
    for link in /proc/[0-9]*/cwd; do
        cwd=$(readlink "$link" 2>/dev/null) || continue
        case $cwd in
            "$private_test_dir" | "$private_test_dir"[/\ ]*)
                process=${link%/cwd}
                echo "still running: $(tr '\0' ' ' <"$process/cmdline")(process ${process#/proc/}, in $cwd)"
                found=true
                ;;
        esac
    done

    if "$found"; then
        die "the tests left something behind"
    fi
}
