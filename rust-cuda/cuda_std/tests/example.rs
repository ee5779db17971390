//! The newcomer's example does what EXECUTOR.md says.

#[path = "../examples/reverse.rs"]
mod reverse;

use cuda_std::simt::{AccessKind, FindingKind, Space};

#[test]
fn the_kernel_is_clean_and_reverses() {
    let (report, y) = reverse::run(reverse::reverse);
    report.expect_clean();
    let expected: Vec<f32> = (0..2).flat_map(|b| (0..128).rev().map(move |i| (128 * b + i) as f32)).collect();
    assert_eq!(y, expected);
}

/// The load and the store of another thread, by their lines.
#[test]
fn without_the_barrier_the_race_is_reported_as_the_page_shows() {
    let (report, _) = reverse::run(reverse::reverse_broken);
    let text = report.to_string();
    let race = report.findings.iter().find_map(|finding| match (&finding.kind, finding.access) {
        (FindingKind::Race { space: Space::Shared, other }, Some(access)) => Some([access, *other]),
        _ => None,
    });
    let race = race.unwrap_or_else(|| panic!("{text}"));
    let source: Vec<&str> = include_str!("../examples/reverse.rs").lines().collect();
    for access in race {
        let line = source[access.at.line() as usize - 1];
        let what = if access.kind == AccessKind::Read { "tile.load" } else { "tile.store" };
        assert!(line.contains(what), "{access}: {line}");
    }
    // The page quotes the report word for word.
    let page = include_str!("../EXECUTOR.md");
    for line in text.lines() {
        let quoted = line.replace(race[0].at.file(), "rust-cuda/cuda_std/examples/reverse.rs");
        assert!(page.contains(&quoted), "EXECUTOR.md does not show: {quoted}");
    }
}

#[test]
fn it_runs() {
    reverse::main();
}

/// Every test that the page names exists.
#[test]
fn the_page_names_tests_that_there_are() {
    fn sources(folder: &std::path::Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).expect("the folder of the tests") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => sources(&path, text),
                false => text.push_str(&std::fs::read_to_string(path).expect("a source")),
            }
        }
    }
    let mut tests = String::new();
    sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut tests);
    let page = include_str!("../EXECUTOR.md");
    let is_test = |name: &&str| name.matches('_').count() > 1 && name.chars().all(|c| c == '_' || c.is_lowercase());
    let named: Vec<&str> = page.split('`').filter(is_test).collect();
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        assert!(tests.contains(&format!("fn {name}()")), "no test {name}");
    }
}
