//! What rustc writes → the PTX that is kept: launch bounds in each `.entry`, canonical names, no comments.
//!
//! Refused is what would only fail at load time or bloat the module: a function that nothing defines, and
//! formatting code. The marker of `#[kernel]` is the comment `// cuda_std.kernel NAME maxntid=N minnctapersm=M`.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::module::{Function, Kind, Module, comment_length, tokens};
use crate::symbols;

const MARKER: &str = "// cuda_std.kernel ";

/// Why a PTX is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing in the module defines it.
    #[error("it calls `{symbol}`, which nothing defines")]
    Unresolved {
        /// The function's name.
        symbol: String,
    },
    /// A panic message or `write!` is left in device code.
    #[error("it holds formatting code, `{symbol}`: leave messages, `Debug` and `write!` out of device code")]
    Formatting {
        /// The function's name.
        symbol: String,
    },
    /// A marker that is not as `#[kernel]` writes it.
    #[error("the marker `{line}` is not one that #[kernel] writes")]
    Marker {
        /// The line as found.
        line: String,
    },
    /// A marker without its kernel.
    #[error("the kernel `{name}` is marked but has no `.entry`")]
    NoEntry {
        /// The kernel's name.
        name: String,
    },
    /// Two kernels of one name.
    #[error("the kernel `{name}` is marked twice")]
    Twice {
        /// The kernel's name.
        name: String,
    },
    /// There is nothing to launch.
    #[error("it has no kernel: mark one with #[kernel]")]
    Empty,
}

/// The PTX to keep, from the text that rustc wrote. `title` becomes its first line.
pub(crate) fn postprocess(raw: &str, title: &str) -> Result<String, Refusal> {
    let bounds = markers(raw)?;
    let text = without_comments(raw);
    let module = Module::parse(&text);
    module.functions.iter().try_for_each(refuse)?;
    let is_entry = |function: &&Function<'_>| function.kind == Kind::Entry;
    if !module.functions.iter().any(|function| is_entry(&function)) {
        return Err(Refusal::Empty);
    }
    let with_bounds = insert_bounds(&text, &module, bounds)?;
    Ok(format!("// {title}\n{}", symbols::canonical(&with_bounds)))
}

fn refuse(function: &Function<'_>) -> Result<(), Refusal> {
    let symbol = symbols::demangled(function.name);
    if function.is_extern {
        return Err(Refusal::Unresolved { symbol });
    }
    if function.kind == Kind::Function && symbol.contains("core::fmt::") {
        return Err(Refusal::Formatting { symbol });
    }
    Ok(())
}

/// Kernel → its directives, from the markers.
fn markers(raw: &str) -> Result<BTreeMap<&str, String>, Refusal> {
    let mut bounds = BTreeMap::new();
    for line in raw.lines() {
        let Some(marker) = line.trim().strip_prefix(MARKER) else {
            continue;
        };
        let malformed = || Refusal::Marker { line: line.trim().to_owned() };
        let mut words = marker.split_whitespace();
        let name = words.next().ok_or_else(malformed)?;
        let mut directives = String::new();
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(malformed)?;
            let value: u32 = value.parse().map_err(|_| malformed())?;
            directives += &match key {
                "maxntid" => format!("\n.maxntid {value}, 1, 1"),
                "minnctapersm" => format!("\n.minnctapersm {value}"),
                _ => return Err(malformed()),
            };
        }
        if bounds.insert(name, directives).is_some() {
            return Err(Refusal::Twice { name: name.to_owned() });
        }
    }
    Ok(bounds)
}

fn insert_bounds(text: &str, module: &Module<'_>, mut bounds: BTreeMap<&str, String>) -> Result<String, Refusal> {
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for function in &module.functions {
        if function.kind == Kind::Entry
            && let Some(directives) = bounds.remove(function.name)
        {
            out += &text[copied..function.header_end];
            out += &directives;
            copied = function.header_end;
        }
    }
    out += &text[copied..];
    match bounds.into_keys().next() {
        Some(name) => Err(Refusal::NoEntry { name: name.to_owned() }),
        None => Ok(out),
    }
}

/// `text` without comments and without the lines they leave empty.
fn without_comments(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut copied = 0;
    // Between two tokens are only blanks and comments.
    for token in tokens(text) {
        push_blanks(&text[copied..token.at], &mut bare);
        bare += token.text;
        copied = token.at + token.text.len();
    }
    let mut out = String::with_capacity(bare.len());
    for line in bare.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        out += line;
        out.push('\n');
    }
    out
}

fn push_blanks(mut gap: &str, out: &mut String) {
    while let Some(first) = gap.chars().next() {
        let length = comment_length(gap).unwrap_or_else(|| {
            out.push(first);
            first.len_utf8()
        });
        gap = &gap[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &str = "//\n// Generated by LLVM NVPTX Back-End\n//\n\n.version 8.0\n.target sm_90a\n.address_size 64\n\n\t// cuda_std.kernel axpy maxntid=256 minnctapersm=2\n// cuda_std.kernel free\n.func _RNvCs1_5trial4half();\n\t// .globl\taxpy\n.visible .entry axpy(\n\t.param .align 8 .b8 axpy_param_0[32]\n)\n{\n\t// begin inline asm\n\tadd.u32 %r1, /* here */ %r2, 1; // one\n\t{ // callseq 0, 0\n\tcall.uni _RNvCs1_5trial4half, ();\n\t}\n\tret;\n\n}\n.visible .entry free()\n{\n\tret;\n}\n";

    #[test]
    fn bounds_in_the_entry_and_nothing_superfluous() {
        let text = postprocess(RAW, "trial").unwrap();
        assert_eq!(
            text,
            "// trial\n.version 8.0\n.target sm_90a\n.address_size 64\n.func trial_half();\n.visible .entry axpy(\n\t.param .align 8 .b8 axpy_param_0[32]\n)\n.maxntid 256, 1, 1\n.minnctapersm 2\n{\n\tadd.u32 %r1,  %r2, 1;\n\t{\n\tcall.uni trial_half, ();\n\t}\n\tret;\n}\n.visible .entry free()\n{\n\tret;\n}\n"
        );
        let entries = crate::ptx::entries(&text);
        assert_eq!(entries[0].max_threads, Some(256));
        assert_eq!(entries[1].max_threads, None);
    }

    #[test]
    fn unresolved_functions_are_named() {
        let raw = format!("{RAW}.extern .func (.param .b32 r) vprintf(.param .b64 a);\n");
        assert_eq!(postprocess(&raw, ""), Err(Refusal::Unresolved { symbol: "vprintf".to_owned() }));
    }

    #[test]
    fn formatting_code_is_named() {
        let raw = format!("{RAW}.func _RNvMsa_NtCs1_4core3fmtNtB5_9Formatter9write_str() {{ ret; }}\n");
        let Err(Refusal::Formatting { symbol }) = postprocess(&raw, "") else {
            panic!("must be refused");
        };
        assert_eq!(symbol, "<core::fmt::Formatter>::write_str");
    }

    #[test]
    fn markers_and_entries_must_agree() {
        let refusal = |raw: &str| postprocess(raw, "").unwrap_err();
        let name = || "gone".to_owned();
        let gone = format!("{MARKER}gone\n");
        assert_eq!(refusal(&format!("{gone}{RAW}")), Refusal::NoEntry { name: name() });
        assert_eq!(refusal(&format!("{gone}{gone}{RAW}")), Refusal::Twice { name: name() });
        for words in ["", "axpy maxntid", "axpy maxntid=x", "axpy threads=2"] {
            let line = format!("{MARKER}{words}");
            assert!(matches!(refusal(&line), Refusal::Marker { .. } | Refusal::Empty), "{line}");
        }
        assert_eq!(refusal(".version 8.0\n"), Refusal::Empty);
    }
}
