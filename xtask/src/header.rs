//! `cargo xtask header [--check]`: host/src/capi.rs → host/include/convt_bn_gap.h, by cbindgen.

use std::fs;
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
    let (source, header) = (project::root()?.join("host/src/capi.rs"), project::root()?.join("host/include"));
    let path = header.join("convt_bn_gap.h");
    let text = generate(&source)?;
    if !arguments.check {
        fs::create_dir_all(&header).with_context(|| format!("cannot make {}", header.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("host/include/convt_bn_gap.h");
        return Ok(ExitCode::SUCCESS);
    }
    if fs::read_to_string(&path).is_ok_and(|committed| committed == text) {
        println!("host/include/convt_bn_gap.h belongs to host/src/capi.rs");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("host/include/convt_bn_gap.h is not what host/src/capi.rs gives: run `cargo xtask header`");
    Ok(ExitCode::FAILURE)
}

fn generate(source: &std::path::Path) -> Result<String> {
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        cpp_compat: true,
        include_guard: Some("CONVT_BN_GAP_H".to_owned()),
        header: Some(HEADER.to_owned()),
        usize_is_size_t: true,
        documentation_style: cbindgen::DocumentationStyle::C99,
        ..cbindgen::Config::default()
    };
    let bindings = cbindgen::Builder::new().with_src(source).with_config(config).generate()?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(String::from_utf8(text)?)
}

const HEADER: &str = "\
// ConvTranspose3d, scale, BatchNorm3d and global average pooling as one fused operation on a CUDA device.
// Made from host/src/capi.rs by `cargo xtask header`.";
