//! `verify`: runs files that say what they expect, and compares by the rule of [`convt_bn_gap::check`].
//!
//! Every file is run, whatever became of the ones before it. The exit code tells the worst: 1 if any result exceeds
//! its bound, else 3 if the device failed, else 2 if a file was refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use comfy_table::{LineStyle, Table, TableStyle};
use convt_bn_gap::check;
use ndarray::{Array1, ArrayView5};
use serde_json::{Value, json};

use crate::arguments::{OutputDtype, Place, Where};
use crate::call::{Call, Outcome};
use crate::failure::Failure;
use crate::io::{EXPECTED, FromValues, Tensor, read_safetensors};
use crate::options::{OptionArguments, Options};
use crate::{recipe, report};

/// Run files that hold what they expect (expected.output, ...), and compare.
///
/// Prints each tensor's error and its bound. Exits with 1 if any exceeds it, else with 3 if the device failed, else
/// with 2 if a file was refused. Files with a recipe in their metadata draw their inputs.
#[derive(Args)]
pub struct Arguments {
    /// .safetensors files that hold the operands and expected.* tensors.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    place: Where,
    /// The type of the output; its rounding counts as no error.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = OutputDtype::Input)]
    output_dtype: OutputDtype,
    /// Print a JSON array with one object a file.
    #[arg(long)]
    json: bool,
}

/// What may be compared, in the table's order.
const TENSORS: [&str; 5] = ["output", "batch_mean", "batch_var", "running_mean", "running_var"];

/// What became of one file.
struct Row<'a> {
    file: &'a Path,
    ended: Result<Comparison, Failure>,
}

/// A file's results beside its expectations.
struct Comparison {
    outcome: Outcome,
    errors: Vec<TensorError>,
}

struct TensorError {
    tensor: &'static str,
    error: f64,
    bound: f64,
}

impl TensorError {
    /// NaN is within no bound.
    fn passes(&self) -> bool {
        self.error <= self.bound
    }
}

impl Comparison {
    fn passes(&self) -> bool {
        self.errors.iter().all(TensorError::passes)
    }
}

/// Verifies every file, prints one row each.
pub fn verify(arguments: &Arguments) -> Result<(), Failure> {
    let place = arguments.place.prepare()?;
    let (mut rows, mut unopened) = (Vec::with_capacity(arguments.files.len()), None);
    for file in &arguments.files {
        match compare(file, &place, arguments) {
            // Without a device no further file can be verified, which is said once.
            Err(failure @ Failure::Device(_)) if !place.is_open() => {
                unopened = Some(failure);
                break;
            }
            ended => rows.push(Row { file, ended }),
        }
    }
    // What the files before were refused for is not lost.
    if !rows.is_empty() {
        let text =
            if arguments.json { Value::from_iter(rows.iter().map(as_json)).to_string() } else { as_table(&rows) };
        report::print(&text)?;
    }
    match unopened {
        Some(failure) => Err(failure),
        None => worst(rows),
    }
}

fn compare(file: &Path, place: &Place, arguments: &Arguments) -> Result<Comparison, Failure> {
    let mut archive = read_safetensors(file)?;
    let mut expected: BTreeMap<&str, Tensor> = BTreeMap::new();
    for name in EXPECTED {
        if let (Some(tensor), Some(short)) = (archive.tensors.remove(name), name.strip_prefix("expected.")) {
            expected.insert(short, tensor);
        }
    }
    if let Some(name) = archive.ignored.iter().find(|name| name.starts_with("expected.")) {
        Err(anyhow::anyhow!("{name} is no result of this operation; there are {}", EXPECTED.join(", ")))?;
    }
    if expected.is_empty() {
        Err(anyhow::anyhow!("there is nothing to compare with: no tensor is named expected.*"))?;
    }
    recipe::draw_operands(&mut archive)?;
    let options_of_file = Options::resolve(&OptionArguments::default(), &archive.metadata)?;
    let call = Call::new(archive.tensors, &options_of_file, arguments.output_dtype)?;
    let beta = call.beta()?;
    let outcome = call.execute(place, arguments.place.plan_options())?;

    let mut errors = Vec::new();
    if let Some(tensor) = expected.remove("output") {
        let shape = tensor.shape;
        let values = f64::from_values("expected.output", tensor.values)?;
        if shape != outcome.output.shape() {
            let given = outcome.output.shape();
            Err(anyhow::anyhow!("expected.output has shape {shape:?}; the output has {given:?}"))?;
        }
        let values = ArrayView5::from_shape(outcome.output.raw_dim(), &values).map_err(anyhow::Error::from)?;
        let error = outcome.output_error(values, beta.as_ref())?;
        errors.push(TensorError { tensor: "output", error: error.value, bound: error.bound(outcome.bound()) });
    }
    for (tensor, found) in [
        ("batch_mean", &outcome.batch_mean),
        ("batch_var", &outcome.batch_var),
        ("running_mean", &outcome.running_mean),
        ("running_var", &outcome.running_var),
    ] {
        if let Some(expected) = expected.remove(tensor) {
            let error = statistic_error(tensor, found.as_ref(), expected)?;
            errors.push(TensorError { tensor, error, bound: outcome.bound() });
        }
    }
    Ok(Comparison { outcome, errors })
}

fn statistic_error(tensor: &'static str, found: Option<&Array1<f64>>, expected: Tensor) -> Result<f64> {
    let Some(found) = found else {
        bail!("the file holds expected.{tensor}, which this mode and these inputs do not give");
    };
    let values = Array1::from_vec(f64::from_values("expected statistics", expected.values)?);
    match check::statistic_error(tensor, found.view(), values.view()) {
        Ok(error) => Ok(error),
        Err(_) => {
            bail!("expected.{tensor} has {} elements; there are {} output channels", values.len(), found.len())
        }
    }
}

fn as_json(row: &Row<'_>) -> Value {
    let file = row.file.display().to_string();
    match &row.ended {
        Ok(comparison) => {
            let tensors: serde_json::Map<String, Value> = comparison
                .errors
                .iter()
                .map(|e| (e.tensor.to_owned(), json!({ "error": e.error, "bound": e.bound, "pass": e.passes() })))
                .collect();
            let recipe = &comparison.outcome.recipe;
            json!({
                "file": file,
                "pass": comparison.passes(),
                "tensors": tensors,
                "device": comparison.outcome.device,
                "backend": recipe.backend.to_string(),
                "algorithm": recipe.algorithm.to_string(),
                "precision": recipe.precision.to_string(),
                "ms": comparison.outcome.ms,
            })
        }
        Err(failure) => json!({ "file": file, "pass": false, "refused": failure.sentence() }),
    }
}

/// One row a file; the sentences about refused files stand below.
fn as_table(rows: &[Row<'_>]) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_header([&["file", "", "ran on", "time"], &TENSORS[..]].concat());
    let mut refusals = Vec::new();
    for row in rows {
        let file = row.file.file_name().unwrap_or(row.file.as_os_str()).to_string_lossy().into_owned();
        match &row.ended {
            Ok(comparison) => {
                let outcome = &comparison.outcome;
                let mut cells = vec![
                    file,
                    if comparison.passes() { "pass" } else { "FAIL" }.to_owned(),
                    format!("{} {}", outcome.recipe.backend, outcome.recipe.algorithm),
                    report::milliseconds(outcome.ms),
                ];
                cells.extend(TENSORS.map(|tensor| {
                    let error = comparison.errors.iter().find(|error| error.tensor == tensor);
                    error.map_or_else(String::new, |e| {
                        let sign = if e.passes() { '≤' } else { '>' };
                        format!("{:.1e} {sign} {:.0e}", e.error, e.bound)
                    })
                }));
                table.add_row(cells);
            }
            Err(failure) => {
                refusals.push(format!("\n{file}: {}", failure.sentence()));
                table.add_row([file, "refused".to_owned()]);
            }
        }
    }
    format!("{table}{}", refusals.concat())
}

/// The failure that decides the exit code: exceeded bounds, else the device, else a refusal.
fn worst(rows: Vec<Row<'_>>) -> Result<(), Failure> {
    let all = rows.len();
    let wrong = rows.iter().filter(|row| row.ended.as_ref().is_ok_and(|comparison| !comparison.passes())).count();
    if wrong > 0 {
        return Err(Failure::Check(format!("{wrong} of {all} files give results outside their bounds")));
    }
    let mut failures: Vec<(&Path, Failure)> =
        rows.into_iter().filter_map(|row| Some((row.file, row.ended.err()?))).collect();
    let count = failures.len();
    failures.sort_by_key(|(_, failure)| std::cmp::Reverse(failure.exit_code()));
    let Some((file, first)) = failures.into_iter().next() else { return Ok(()) };
    let summary = format!("{count} of {all} files were not verified, among them {}", file.display());
    Err(match first {
        Failure::Device(error) => Failure::Device(error.context(summary)),
        Failure::Refused(error) => Failure::Refused(error.context(summary)),
        check @ Failure::Check(_) => check,
    })
}
