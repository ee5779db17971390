//! Names in PTX made the same on every machine.
//!
//! rustc mangles into a device function's name which crate it is from, as a number that depends on the crate's
//! place on disk, and names constants by hashes of such names. Here each gets a readable name instead
//! (`core::panicking::panic_fmt` → `core_panicking_panic_fmt`), with a number where two would be the same. The
//! kernels' own names are not mangled and stay.

use std::collections::{BTreeMap, BTreeSet};

use crate::module::tokens;

/// `text` with every mangled and hashed name replaced.
pub(crate) fn canonical(text: &str) -> String {
    let mut taken: BTreeSet<String> = tokens(text).map(|token| token.text.to_owned()).collect();
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for token in tokens(text) {
        let (base, parameter) = split_parameter(token.text);
        let Some(plain) = readable(base) else {
            continue;
        };
        let name = names.entry(base).or_insert_with(|| {
            let numbered = (2..).map(|number| format!("{plain}_{number}"));
            let mut candidates = std::iter::once(plain.clone()).chain(numbered);
            // Endless, so there is always one more to try.
            candidates.find(|name| taken.insert(name.clone())).unwrap_or(plain)
        });
        out.push_str(&text[copied..token.at]);
        out.push_str(name);
        out.push_str(parameter);
        copied = token.at + token.text.len();
    }
    out.push_str(&text[copied..]);
    out
}

/// The demangled name of a Rust symbol, without hashes; other names as they are.
pub(crate) fn demangled(symbol: &str) -> String {
    // LLVM puts `$` where PTX allows no `.`: what follows the first one is LLVM's suffix, not the name.
    let head = match symbol.split_once('$') {
        Some((head, _)) if symbol.starts_with("_R") => head.trim_end_matches('_'),
        _ => symbol,
    };
    format!("{:#}", rustc_demangle::demangle(head))
}

/// A parameter is named `FUNCTION_param_N`: the function's name and the rest.
fn split_parameter(word: &str) -> (&str, &str) {
    match word.rfind("_param_") {
        Some(at) if word[at + 7..].bytes().all(|byte| byte.is_ascii_digit()) => word.split_at(at),
        _ => (word, ""),
    }
}

/// The readable form of a name that varies from machine to machine; none for every other name.
fn readable(word: &str) -> Option<String> {
    let mut varies = false;
    let mut parts = Vec::new();
    // LLVM joins names with `.`, which is `_$_` in PTX: `switch.table.NAME`, `anon.HASH.3`.
    for part in word.split("_$_") {
        // A name after `.` may have kept an underscore too many.
        let symbol = part.trim_start_matches('_');
        if symbol.len() > 2 && symbol.starts_with('R') && part.starts_with('_') {
            let symbol = format!("_{symbol}");
            let name = demangled(&symbol);
            if name != symbol {
                varies = true;
                parts.push(name);
                continue;
            }
        }
        match without_hash(part) {
            Some(rest) => {
                varies = true;
                parts.push(rest.to_owned());
            }
            None => parts.push(part.to_owned()),
        }
    }
    varies.then(|| identifier(&parts.join("_")))
}

/// `alloc_0123…` → `alloc`, `0123…` → nothing: 32 hexadecimal digits are a hash.
fn without_hash(part: &str) -> Option<&str> {
    let head = part.len().checked_sub(32)?;
    let (rest, hash) = part.split_at_checked(head)?;
    let is_hash = hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hash && (rest.is_empty() || rest.ends_with('_'))).then(|| rest.trim_end_matches('_'))
}

/// `<trial::Sum as core::ops::Add>::add` → `trial_Sum_as_core_ops_Add_add`.
fn identifier(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let name = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
    // An identifier begins with a letter.
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("constant_{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_number_goes() {
        let one = ".func _RNvCs5SHQ3yFVuIw_5trial4half(.param .b32 _RNvCs5SHQ3yFVuIw_5trial4half_param_0) { ld.param.b32 %r2, [_RNvCs5SHQ3yFVuIw_5trial4half_param_0+4]; }";
        let other = one.replace("s5SHQ3yFVuIw_", "sanIojcP8aaR_");
        let expected = ".func trial_half(.param .b32 trial_half_param_0) { ld.param.b32 %r2, [trial_half_param_0+4]; }";
        assert_eq!(canonical(one), expected);
        assert_eq!(canonical(&other), expected);
    }

    #[test]
    fn two_of_one_name_are_numbered() {
        let text = "call _RNvCs1_5trial4half; call _RNvCs2_5trial4half; call _RNvCs1_5trial4half; trial_half_2";
        assert_eq!(canonical(text), "call trial_half; call trial_half_3; call trial_half; trial_half_2");
    }

    #[test]
    fn hashed_constants_are_numbered() {
        let text = "anon_$_0123456789abcdef0123456789abcdef_$_7 alloc_0123456789abcdef0123456789abcdef alloc_1123456789abcdef0123456789abcdef switch_$_table_$__RNvCs5SHQ3yFVuIw_5trial4half";
        assert_eq!(canonical(text), "anon_7 alloc alloc_2 switch_table_trial_half");
    }

    #[test]
    fn other_names_stay() {
        for text in [
            "axpy_param_0",
            "__local_depot0",
            "$L__BB1_2",
            "dyn_smem",
            "_R",
            "Repeat",
            "anon_$_7",
            "mul.rn.f32 %f1, 0f3F000000;",
        ] {
            assert_eq!(canonical(text), text);
        }
    }
}
