//! Every golden case through the real tool, on every device there is: it passes, or is refused by the name of the
//! option that is not supported. What each case must do stands in one table; each number is judged here once more.

mod case;
mod controls;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use case::File;
use convt_bn_gap_tests::{cli, golden_dir, gpu};
use serde_json::Value;

/// What the tool must do with a case.
#[derive(Clone, Copy, PartialEq)]
enum Must {
    /// Pass; f32.
    Pass,
    /// Pass; f64.
    PassF64,
    /// Pass with an output that is β in every sample: its error is absolute.
    PassBeta,
    /// Pass; f32, with inputs drawn by the file's recipe, which are too large for the definition.
    PassDrawn,
    /// Pass; f32, with padding, which the spectral way refuses in a sentence that holds this.
    Padded(&'static str),
    /// Pass; in 16 bits.
    Narrow,
}
use Must::{Narrow, Padded, Pass, PassBeta, PassDrawn, PassF64};

/// Every file of the folder.
const CASES: [(&str, Must); 34] = [
    ("bf16", Narrow),
    ("constant_input", PassBeta),
    ("cube_64", PassDrawn),
    ("dilation", Pass),
    ("eval", Pass),
    ("everything", Padded("padding = 1,2,0")),
    ("f16", Narrow),
    ("f64", PassF64),
    ("flat_depth", Pass),
    ("groups", Pass),
    ("kernel1", Pass),
    ("kernel7", Pass),
    ("kernel_larger_than_input", Pass),
    ("kernelbench_77", PassDrawn),
    ("kernelbench_77_v0", PassDrawn),
    ("large_mean", Pass),
    ("line", Pass),
    ("many_channels", Pass),
    ("momentum_eps", Pass),
    ("negative_scale", Pass),
    ("no_affine", Pass),
    ("no_running_stats", Pass),
    ("one_sample", PassBeta),
    ("padding", Padded("padding = 1,0,2")),
    ("primes", Pass),
    ("rectangular_kernel", Pass),
    ("relu_input", Pass),
    ("sinusoid_input", PassBeta),
    ("smallest", Pass),
    ("stride2", Pass),
    ("stride_mixed_output_padding", Pass),
    ("tiny_values", Pass),
    ("wide_kernel_9", PassDrawn),
    ("zero_scale", PassBeta),
];

/// A way to run the tool, and the bounds of what it gives.
struct Way {
    backend: &'static str,
    algorithm: &'static str,
    precision: &'static str,
    /// What an output is rounded to, which counts as no error.
    output: &'static str,
    /// Of cases in f32 and 16 bits; those of f64 cases are within 1e-11 everywhere.
    bound: f64,
}

const REFERENCE: Way =
    Way { backend: "reference", algorithm: "reference", precision: "default", output: "input", bound: 1e-9 };
const CPU: Way = Way { backend: "cpu", algorithm: "spectral", precision: "default", output: "input", bound: 1e-6 };
/// Nothing is rounded to 16 bits: what is left are the errors of arithmetic, as for f32.
const CPU_F32: Way = Way { output: "f32", ..CPU };
const CPU_DIRECT: Way = Way { algorithm: "direct", ..CPU };
/// All sums in f64: what is left is the rounding of the running statistics to f32.
const CPU_STRICT: Way = Way { precision: "strict", bound: 2e-7, ..CPU };
const CUDA: Way = Way { backend: "cuda", algorithm: "direct", precision: "default", output: "input", bound: 1e-5 };
/// All sums in f64: what is left is the rounding of the running statistics to f32.
const CUDA_STRICT: Way = Way { precision: "strict", bound: 2e-7, ..CUDA };

/// Energies of the spectra, for all but f64.
const SPECTRAL: Way = Way { algorithm: "spectral", ..CUDA };
/// Everything in two 16-bit numbers, of 22 bits together.
const SPECTRAL_STRICT: Way = Way { precision: "strict", bound: 1e-6, ..SPECTRAL };

impl Way {
    /// Words of the sentence with which a case is refused; none where it must pass.
    fn refusal(&self, must: Must) -> Option<String> {
        match (self.backend, self.algorithm, must) {
            ("cuda" | "cpu", "spectral", Padded(words)) => {
                Some(format!("algorithm = spectral is not possible for this problem: it does not take {words}"))
            }
            _ => None,
        }
    }

    /// Runs the cases in one call of the tool and judges each.
    fn verify(&self, chosen: impl Fn(Must) -> bool) {
        let cases: Vec<_> = CASES.into_iter().filter(|&(_, must)| chosen(must)).collect();
        let ended = Command::new(cli())
            .args(["verify", "--json", "--device", self.backend])
            .args(["--algorithm", self.algorithm, "--precision", self.precision, "--output-dtype", self.output])
            .args(cases.iter().map(|(case, _)| path(case)))
            .output()
            .expect("the tool starts");
        let said = String::from_utf8_lossy(&ended.stderr);
        let refused = cases.iter().any(|&(_, must)| self.refusal(must).is_some());
        assert_eq!(ended.status.code(), Some(if refused { 2 } else { 0 }), "{said}");
        let rows: Vec<Value> = serde_json::from_slice(&ended.stdout).expect("a JSON array on stdout");
        assert_eq!(rows.len(), cases.len());
        for (row, (case, must)) in rows.iter().zip(cases) {
            assert!(row["file"].as_str().is_some_and(|file| file.ends_with(&format!("{case}.safetensors"))), "{row}");
            match self.refusal(must) {
                Some(words) => {
                    let sentence = row["refused"].as_str().unwrap_or_else(|| panic!("{case} is not refused: {row}"));
                    assert!(sentence.contains(&words), "{case}: {sentence:?} does not say {words:?}");
                    assert_eq!(row["pass"], false);
                }
                None => self.judge(row, case, must),
            }
        }
    }

    /// Holds the errors of a case that ran against the bounds, tensor by tensor: all that the file expects, no others.
    fn judge(&self, row: &Value, case: &str, must: Must) {
        assert_eq!(row["backend"], self.backend, "{row}");
        assert_eq!(row["algorithm"], self.algorithm, "{row}");
        assert_eq!(row["precision"], self.precision, "{row}");
        assert_eq!(row["pass"], true, "{row}");
        let errors = row["tensors"].as_object().expect("an object");
        let found: BTreeSet<&str> = errors.keys().map(String::as_str).collect();
        let file = File::read(case);
        let expected: BTreeSet<&str> = file.names().filter_map(|name| name.strip_prefix("expected.")).collect();
        assert_eq!(found, expected, "{case}");
        for (tensor, judged) in errors {
            let bound = match (tensor.as_str(), must) {
                ("output", PassBeta) => 1e-6,
                (_, PassF64) => 1e-11,
                _ => self.bound,
            };
            let error = judged["error"].as_f64().unwrap_or_else(|| panic!("{case}: {tensor} has no error: {row}"));
            assert!(error <= bound, "{case} on {} {}: {tensor} {error:e} > {bound:e}", self.backend, self.precision);
        }
    }
}

fn path(case: &str) -> std::path::PathBuf {
    golden_dir().join(format!("{case}.safetensors"))
}

#[test]
fn the_table_holds_every_file_once() {
    let in_folder: BTreeSet<String> = fs::read_dir(golden_dir())
        .expect("the folder of the golden cases")
        .map(|entry| entry.expect("a readable entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name != "README.md")
        .collect();
    let in_table: BTreeSet<String> = CASES.iter().map(|(case, _)| format!("{case}.safetensors")).collect();
    assert_eq!(in_table, in_folder, "the table, and the folder");
    assert_eq!(in_table.len(), CASES.len());
}

#[test]
fn the_table_says_which_cases_draw_their_inputs() {
    for (case, must) in CASES {
        let file = File::read(case);
        assert_eq!(file.metadata.contains_key("recipe"), must == PassDrawn, "{case}");
        assert_eq!(file.metadata["dtype"] == "f64", must == PassF64, "{case}");
    }
}

#[test]
fn on_the_reference() {
    REFERENCE.verify(|must| must != PassDrawn);
}

#[test]
fn on_the_cpu() {
    CPU.verify(|must| must != PassDrawn);
}

#[test]
fn drawn_on_the_cpu() {
    CPU.verify(|must| must == PassDrawn);
}

#[test]
fn by_their_convolutions_on_the_cpu() {
    CPU_DIRECT.verify(|must| must != PassDrawn);
}

#[test]
fn sixteen_bits_with_outputs_in_f32() {
    for way in [CPU_F32, Way { output: "f32", ..CPU_DIRECT }, Way { output: "f32", ..REFERENCE }] {
        way.verify(|must| must == Narrow);
    }
}

#[test]
fn on_the_cpu_in_strict_precision() {
    CPU_STRICT.verify(|must| must != PassDrawn);
}

#[test]
fn on_the_gpu() {
    if gpu().is_some() {
        CUDA.verify(|_| true);
    }
}

#[test]
fn on_the_gpu_in_strict_precision() {
    if gpu().is_some() {
        CUDA_STRICT.verify(|_| true);
    }
}

#[test]
fn sixteen_bits_with_outputs_in_f32_on_the_gpu() {
    if gpu().is_some() {
        for way in [CUDA, CUDA_STRICT, SPECTRAL, SPECTRAL_STRICT] {
            Way { output: "f32", ..way }.verify(|must| must == Narrow);
        }
    }
}

#[test]
fn by_their_spectra_on_the_gpu() {
    if gpu().is_some() {
        SPECTRAL.verify(|must| must != PassF64);
    }
}

#[test]
fn by_their_spectra_on_the_gpu_in_strict_precision() {
    if gpu().is_some() {
        SPECTRAL_STRICT.verify(|must| must != PassF64);
    }
}
