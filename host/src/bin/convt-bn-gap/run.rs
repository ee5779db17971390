//! `run`: one call on tensors from files, its results into a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use convt_bn_gap::Problem;
use serde_json::json;

use crate::arguments::{OutputDtype, Where};
use crate::call::{Call, Outcome};
use crate::failure::Failure;
use crate::io::{Archive, PendingFile, read_npy, read_safetensors, serialize};
use crate::options::{OptionArguments, Options};
use crate::{recipe, report};

/// Run the operation on the tensors of a file.
///
/// FILE holds input and kernel, and optionally conv_bias, bn_weight, bn_bias, running_mean and running_var. Options
/// not given come from its metadata, then from PyTorch's defaults (shown in brackets).
#[derive(Args)]
pub struct Arguments {
    /// A .safetensors file; or give the tensors as .npy files with --input, --kernel, ...
    #[arg(value_name = "FILE.safetensors", required_unless_present = "input")]
    file: Option<PathBuf>,
    #[command(flatten)]
    arrays: Arrays,
    /// Where the results go: output, batch_mean and batch_var in f64, and the updated running
    /// statistics in the type they came in.
    #[arg(short, long, value_name = "OUT.safetensors")]
    output: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    options: OptionArguments,
    /// The type of the output.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = OutputDtype::Input)]
    output_dtype: OutputDtype,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Each operand from a .npy file of its own.
#[derive(Args)]
struct Arrays {
    #[arg(long, value_name = "NPY", requires = "kernel", conflicts_with = "file")]
    input: Option<PathBuf>,
    #[arg(long, value_name = "NPY", requires = "input")]
    kernel: Option<PathBuf>,
    #[arg(long, value_name = "NPY", requires = "input")]
    conv_bias: Option<PathBuf>,
    #[arg(long, value_name = "NPY", requires = "input")]
    bn_weight: Option<PathBuf>,
    #[arg(long, value_name = "NPY", requires = "input")]
    bn_bias: Option<PathBuf>,
    #[arg(long, value_name = "NPY", requires = "input")]
    running_mean: Option<PathBuf>,
    #[arg(long, value_name = "NPY", requires = "input")]
    running_var: Option<PathBuf>,
}

impl Arrays {
    fn read(&self) -> Result<Archive> {
        let mut archive = Archive::default();
        for (name, path) in [
            ("input", &self.input),
            ("kernel", &self.kernel),
            ("conv_bias", &self.conv_bias),
            ("bn_weight", &self.bn_weight),
            ("bn_bias", &self.bn_bias),
            ("running_mean", &self.running_mean),
            ("running_var", &self.running_var),
        ] {
            if let Some(path) = path {
                archive.tensors.insert(name.to_owned(), read_npy(path)?);
            }
        }
        Ok(archive)
    }
}

/// Reads, runs, writes, and says what ran.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let pending = arguments.output.as_deref().map(output_file).transpose()?;
    let mut archive = match &arguments.file {
        Some(file) => read_safetensors(file)?,
        None => arguments.arrays.read()?,
    };
    recipe::draw_operands(&mut archive)?;
    if !archive.ignored.is_empty() {
        report::remark(&format!("note: ignoring tensors of other names: {}", archive.ignored.join(", ")));
    }
    let options = Options::resolve(&arguments.options, &archive.metadata)?;
    let call = Call::new(archive.tensors, &options, arguments.output_dtype)?;
    let problem = call.problem.clone();
    let outcome = call.execute(&arguments.place.prepare()?, arguments.place.plan_options())?;
    if let Some(pending) = &pending {
        pending.write(&serialize(&outcome.tensors(), &metadata(&outcome, &options))?)?;
    }
    let written = pending.as_ref().map(PendingFile::path);
    let text = if arguments.json {
        as_json(&outcome, &problem, written).to_string()
    } else {
        in_words(&outcome, &problem, written)
    };
    Ok(report::print(&text)?)
}

fn output_file(path: &Path) -> Result<PendingFile> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        bail!("cannot write {}: the results are several tensors, which go into a .safetensors file", path.display());
    }
    PendingFile::at(path)
}

fn metadata(outcome: &Outcome, options: &Options) -> BTreeMap<String, String> {
    let mut metadata = options.to_metadata();
    metadata.extend(
        [
            ("device", outcome.device.clone()),
            ("backend", outcome.recipe.backend.to_string()),
            ("algorithm", outcome.recipe.algorithm.to_string()),
            ("precision", outcome.recipe.precision.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    metadata
}

fn as_json(outcome: &Outcome, problem: &Problem, written: Option<&Path>) -> serde_json::Value {
    json!({
        "device": outcome.device,
        "backend": outcome.recipe.backend.to_string(),
        "algorithm": outcome.recipe.algorithm.to_string(),
        "precision": outcome.recipe.precision.to_string(),
        "shape": report::shape_numbers(problem),
        "output_shape": outcome.output.shape(),
        "ms": outcome.ms,
        "workspace_bytes": outcome.recipe.workspace_bytes,
        "output_file": written.map(|path| path.display().to_string()),
    })
}

fn in_words(outcome: &Outcome, problem: &Problem, written: Option<&Path>) -> String {
    let recipe = &outcome.recipe;
    let values: Vec<String> = outcome.output.iter().take(4).map(|value| format!("{value:.6}")).collect();
    let more = if outcome.output.len() > values.len() { ", …" } else { "" };
    format!(
        "{}\n{} on {}, precision {}: {}\noutput {:?}: {}{more}\n{}",
        report::shape_in_words(problem),
        recipe.algorithm,
        report::place(recipe.backend, &outcome.device),
        recipe.precision,
        report::milliseconds(outcome.ms),
        outcome.output.shape(),
        values.join(", "),
        match written {
            Some(path) => format!("written to {}", path.display()),
            None => "not written to a file (-o OUT.safetensors does that)".to_owned(),
        },
    )
}
