//! On other machines than x86-64 the crash tests do not run: they read and set
//! the registers of the program that they strike.

#![cfg(not(target_arch = "x86_64"))]

use super::support::clis::did_not_run;

#[test]
fn kills_and_failures_at_system_calls() {
    did_not_run("crash_kill, crash_errors", "the stepper knows x86-64 only", "run it on an x86-64 machine");
}
