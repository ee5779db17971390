//! `cargo xtask header [--check]`: host/src/capi.rs and what is below it → host/include/convt_bn_gap.h, by cbindgen.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::project;

/// Make the C header from the C ABI's source
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing: exit 1 if the committed header is not the source's
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (root, header) = (project::root()?, project::root()?.join("host/include"));
    let path = header.join("convt_bn_gap.h");
    let text = generate(&SOURCES.map(|source| root.join(source)))?;
    if !arguments.check {
        fs::create_dir_all(&header).with_context(|| format!("cannot make {}", header.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("host/include/convt_bn_gap.h");
        return Ok(ExitCode::SUCCESS);
    }
    if fs::read_to_string(&path).is_ok_and(|committed| committed == text) {
        println!("host/include/convt_bn_gap.h belongs to host/src/capi");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("host/include/convt_bn_gap.h is not what host/src/capi gives: run `cargo xtask header`");
    Ok(ExitCode::FAILURE)
}

/// The files of the C ABI, in the header's order.
const SOURCES: [&str; 4] =
    ["host/src/capi.rs", "host/src/capi/formats.rs", "host/src/capi/options.rs", "host/src/capi/plan.rs"];

fn generate(sources: &[PathBuf]) -> Result<String> {
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        cpp_compat: true,
        include_guard: Some("CONVT_BN_GAP_H".to_owned()),
        header: Some(HEADER.to_owned()),
        usize_is_size_t: true,
        documentation_style: cbindgen::DocumentationStyle::C99,
        ..cbindgen::Config::default()
    };
    let builder = sources.iter().fold(cbindgen::Builder::new(), |builder, source| builder.with_src(source));
    let bindings = builder.with_config(config).generate()?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(String::from_utf8(text)?)
}

const HEADER: &str = "\
// ConvTranspose3d, scale, BatchNorm3d and global average pooling as one fused operation.
// Made from host/src/capi by `cargo xtask header`.";
