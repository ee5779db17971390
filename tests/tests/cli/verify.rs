//! `verify`: passes what is right, fails what is wrong, and tells refused files apart from failed ones.

use std::path::{Path, PathBuf};

use convt_bn_gap_tests::golden_dir;
use serde_json::Value;

use crate::support::{File, folder, tool, tool_on};

/// Every case whose options and types are supported and that ships its inputs.
const SUPPORTED: [&str; 29] = [
    "constant_input",
    "eval",
    "bf16",
    "dilation",
    "everything",
    "f16",
    "f64",
    "flat_depth",
    "groups",
    "kernel1",
    "kernel7",
    "kernel_larger_than_input",
    "large_mean",
    "line",
    "many_channels",
    "momentum_eps",
    "negative_scale",
    "no_affine",
    "no_running_stats",
    "one_sample",
    "padding",
    "primes",
    "rectangular_kernel",
    "relu_input",
    "sinusoid_input",
    "smallest",
    "stride2",
    "stride_mixed_output_padding",
    "tiny_values",
];

fn golden(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| golden_dir().join(format!("{name}.safetensors"))).collect()
}

/// What is changed in a golden case.
type Change = fn(&mut File);

/// Changes a golden case and verifies it.
fn verify_changed(case: &str, change: impl FnOnce(&mut File)) -> (i32, Value) {
    let folder = folder();
    let mut file = File::load(&golden_dir().join(format!("{case}.safetensors")));
    change(&mut file);
    verify(&file.save(folder.path(), "changed.safetensors"))
}

fn verify(path: &Path) -> (i32, Value) {
    let ended = tool_on("verify --device cpu --json {}", &[&path]);
    let code = ended.code.expect("it ends by itself");
    (code, serde_json::from_str(&ended.stdout).expect("JSON"))
}

#[test]
fn the_golden_cases_pass_on_cpu_and_reference() {
    for device in ["cpu", "reference"] {
        let rows = tool_on(&format!("verify --json --device {device}"), &golden(&SUPPORTED)).json();
        let rows = rows.as_array().expect("an array");
        assert_eq!(rows.len(), SUPPORTED.len());
        for row in rows {
            assert_eq!(row["pass"], true, "{row}");
            let output = &row["tensors"]["output"];
            assert!(output["error"].as_f64() <= output["bound"].as_f64(), "{row}");
        }
        let bound = if device == "cpu" { 1e-5 } else { 1e-9 };
        assert_eq!(rows[1]["tensors"]["output"]["bound"], bound);
    }
    let table = tool_on("verify --device cpu", &golden(&["primes", "f64"])).done();
    assert!(table.contains("primes.safetensors") && table.contains("pass"), "{table}");
}

#[test]
fn a_zero_scale_is_judged_absolutely() {
    let row = &tool_on("verify --json --device cpu", &golden(&["zero_scale"])).json()[0];
    assert_eq!(row["pass"], true, "{row}");
    assert_eq!(row["tensors"]["output"]["bound"], 1e-6);
}

#[test]
fn a_recipe_draws_its_inputs() {
    let row = &tool_on("verify --json --device cpu", &golden(&["kernelbench_77_v0"])).json()[0];
    assert_eq!(row["pass"], true, "{row}");
}

#[test]
fn wrong_expectations_fail() {
    for tensor in ["output", "batch_mean", "batch_var", "running_mean", "running_var"] {
        let (code, rows) = verify_changed("primes", |file| {
            let name = format!("expected.{tensor}");
            let mut numbers = file.numbers(&name);
            let largest = numbers.iter().fold(0f64, |a, b| a.max(b.abs()));
            numbers[0] += 1e-3 * largest;
            file.set_numbers(&name, &numbers);
        });
        assert_eq!(code, 1, "{tensor}: {rows}");
        assert_eq!(rows[0]["pass"], false);
        let failed = &rows[0]["tensors"][tensor];
        assert!(failed["error"].as_f64() > failed["bound"].as_f64(), "{rows}");
    }
}

/// What passes ordinary tolerances and is wrong: each must fail here.
#[test]
fn negative_controls_fail() {
    let controls: [(&str, Change); 5] = [
        ("plain β", |file| {
            let beta = file.numbers("bn_bias");
            let samples = file.tensors["expected.output"].1[0];
            file.set_numbers("expected.output", &beta.repeat(samples));
        }),
        ("zeros", |file| {
            let zeros = vec![0.0; file.numbers("expected.output").len()];
            file.set_numbers("expected.output", &zeros);
        }),
        ("samples in another order", |file| {
            let mut output = file.numbers("expected.output");
            let channels = file.numbers("bn_bias").len();
            output.rotate_left(channels);
            file.set_numbers("expected.output", &output);
        }),
        ("not a number", |file| {
            let mut output = file.numbers("expected.output");
            output[0] = f64::NAN;
            file.set_numbers("expected.output", &output);
        }),
        ("biased running variance", |file| {
            let (old, batch) = (file.numbers("running_var"), file.numbers("expected.batch_var"));
            let biased: Vec<f64> = old.iter().zip(batch).map(|(old, batch)| 0.9 * old + 0.1 * batch).collect();
            file.set_numbers("expected.running_var", &biased);
        }),
    ];
    for (name, change) in controls {
        let (code, rows) = verify_changed("kernel1", change);
        assert_eq!(code, 1, "an expectation of {name} passes: {rows}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name_and_the_others_still_run() {
    for (case, words) in [("padding", "padding = 1,0,2"), ("everything", "padding = 1,2,0")] {
        let ended = tool_on("verify --json --device cpu --algorithm spectral", &golden(&[case, "smallest"]));
        assert_eq!(ended.code, Some(2), "{}", ended.stdout);
        let rows: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        assert!(rows[0]["refused"].as_str().expect("a sentence").contains(words), "{rows}");
        assert_eq!(rows[0]["pass"], false);
        assert_eq!(rows[1]["pass"], true);
    }
    let table = tool_on("verify --device cpu --algorithm spectral", &golden(&["padding", "smallest"]));
    assert_eq!(table.code, Some(2));
    assert!(table.stdout.contains("refused") && table.stdout.contains("pass"), "{}", table.stdout);
}

#[test]
fn a_failed_check_outranks_a_refusal() {
    let folder = folder();
    let mut file = File::load(&golden_dir().join("smallest.safetensors"));
    let zeros = vec![0.0; file.numbers("expected.batch_var").len()];
    file.set_numbers("expected.batch_var", &zeros);
    let wrong = file.save(folder.path(), "wrong.safetensors");
    let ended = tool_on("verify --device cpu --algorithm spectral", &[&golden(&["padding"])[0], &wrong]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
}

#[test]
fn files_that_expect_nothing_or_nonsense_are_refused() {
    let changes: [(&str, Change, &str); 6] = [
        ("no expectation", |file| file.tensors.retain(|name, _| !name.starts_with("expected.")), "expected"),
        ("another shape", |file| _ = file.f64("expected.output", &[1, 13, 1, 1, 1]), "expected.output"),
        ("another length", |file| _ = file.f64("expected.batch_mean", &[12]), "expected.batch_mean"),
        ("statistics in eval", |file| _ = file.option("mode", "eval"), "expected.batch_mean"),
        ("malformed recipe", |file| _ = file.option("recipe", "["), "recipe"),
        ("malformed draw", |file| _ = file.option("recipe", r#"{"input": [1, 0]}"#), "recipe of input"),
    ];
    for (name, change, words) in changes {
        let (code, rows) = verify_changed("primes", change);
        assert_eq!(code, 2, "{name}: {rows}");
        assert!(rows[0]["refused"].as_str().expect("a sentence").contains(words), "{name}: {rows}");
    }
    for size in ["1000000000000", "18446744073709551615", "-1", ""] {
        let (code, rows) = verify_changed("kernelbench_77", |file| _ = file.option("depth", size));
        assert_eq!(code, 2, "{size}: {rows}");
    }
    assert_eq!(tool("verify").code, Some(2));
}
