//! A process for a test: this executable again, told to run that test only.

use std::any::type_name;
use std::env;
use std::process::Command;

use simulated_driver::{Machine, Usage, with};

/// Set in a process that was started for one test, to the test's name.
const ALONE: &str = "SIMULATED_TEST";

/// Runs `test`, which must be a closure written in the test function itself, in a process of its own with `machine`'s
/// driver. Nothing may be left over at its end: no handle, no finding, no misuse of the driver, no fault that did not happen.
pub fn alone<F: FnOnce()>(machine: Machine, test: F) {
    in_a_process_of_its_own::<F>(|| {
        bind(machine);
        test();
        all_is_given_back();
    });
}

/// The same for what keeps things until the process ends: only misuses, findings and faults are looked for.
pub fn alone_and_keeping<F: FnOnce()>(machine: Machine, test: F) {
    in_a_process_of_its_own::<F>(|| {
        bind(machine);
        test();
        nothing_is_wrong();
    });
}

fn in_a_process_of_its_own<F>(body: impl FnOnce()) {
    // simulated::faults::the_test::{{closure}}
    let path = type_name::<F>().trim_end_matches("::{{closure}}");
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    if env::var(ALONE).is_ok_and(|test| test == name) {
        return body();
    }
    let this = env::current_exe().expect("a test knows its own executable");
    let ended = Command::new(this).args([name, "--exact", "--nocapture"]).env(ALONE, name).output().expect("it starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{}: {stdout}\n{stderr}", ended.status);
    assert!(stdout.contains("1 passed"), "no test is called {name}: {stdout}");
}

fn bind(machine: Machine) {
    with(|state| state.start(machine));
    // SAFETY: `lookup` gives functions of the driver's signatures (handles and codes as words), callable from any thread.
    // A failure is what some tests are about: `cuda_loader::load` gives it again.
    let _ = unsafe { cuda_loader::simulate(simulated_driver::lookup) };
}

/// Nothing is held, nor was when the context went, and nothing is wrong.
#[track_caller]
pub fn all_is_given_back() {
    with(|state| {
        assert_eq!(state.usage(), Usage::NOTHING, "held at the end");
        assert_eq!(state.abandoned, Usage::NOTHING, "held when the context went");
    });
    nothing_is_wrong();
}

#[track_caller]
fn nothing_is_wrong() {
    with(|state| {
        assert!(state.misuses.is_empty(), "{:#?}", state.misuses);
        assert!(state.findings.is_empty(), "{:#?}", state.findings);
        assert_eq!(state.forget_faults(), 0, "ordered and never met");
    });
}

#[test]
fn a_test_runs_alone_and_its_failure_is_seen() {
    if env::var_os("SIMULATED_MUST_FAIL").is_some() {
        return alone(Machine::default(), || panic!("as it must"));
    }
    let this = env::current_exe().expect("a test knows its own executable");
    let ended = Command::new(this)
        .args(["alone::a_test_runs_alone_and_its_failure_is_seen", "--exact"])
        .env("SIMULATED_MUST_FAIL", "1")
        .output()
        .expect("it starts");
    assert!(!ended.status.success());
    assert!(String::from_utf8_lossy(&ended.stdout).contains("as it must"));
}
