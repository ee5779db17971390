//! The C library as a C program meets it: its header compiles, it links, it refuses in words, it exports nothing else.
#![cfg(target_os = "linux")]

mod plans;

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use convt_bn_gap::Device;
use convt_bn_gap_tests::cli;
use object::Object;

const HEADER: &str = include_str!("../../../host/include/convt_bn_gap.h");

/// Prints a line for each call: its name, the code, the sentence.
const PROGRAM: &str = r#"
#include <math.h>
#include <stdio.h>
#include "convt_bn_gap.h"
#include "convt_bn_gap.h"

static float input[2 * 3 * 2 * 2 * 2], kernel[3 * 4 * 1 * 2 * 2], output[2 * 4];

static void report(const char *name, int code) {
    printf("%s\t%d\t%s\n", name, code, convt_bn_gap_last_error());
}

#define CALL(x, w, out, scale, batch, width, taps) \
    operation(x, w, NULL, NULL, NULL, out, scale, batch, 3, 4, 2, 2, width, 1, 2, taps)

static void calls(int (*operation)(const float *, const float *, const float *, const float *, const float *, float *,
                                   double, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t)) {
    report("valid", CALL(input, kernel, output, 2.0, 2, 2, 2));
    report("null input", CALL(NULL, kernel, output, 2.0, 2, 2, 2));
    report("null kernel", CALL(input, NULL, output, 2.0, 2, 2, 2));
    report("null output", CALL(input, kernel, NULL, 2.0, 2, 2, 2));
    report("no samples", CALL(input, kernel, output, 2.0, 0, 2, 2));
    report("no width", CALL(input, kernel, output, 2.0, 2, 0, 2));
    report("no taps", CALL(input, kernel, output, 2.0, 2, 2, 0));
    report("absurd width", CALL(input, kernel, output, 2.0, 2, (size_t)-1, 2));
    report("no number", CALL(input, kernel, output, NAN, 2, 2, 2));
    report("all zero", operation(NULL, NULL, NULL, NULL, NULL, NULL, 0.0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
}

static int on_default_stream(const float *x, const float *w, const float *bias, const float *gamma, const float *beta,
                             float *out, double scale, size_t batch, size_t ci, size_t co, size_t d, size_t h, size_t width,
                             size_t kd, size_t kh, size_t kw) {
    return convt_bn_gap_f32_on_stream(x, w, bias, gamma, beta, out, scale, batch, ci, co, d, h, width, kd, kh, kw, NULL);
}

int main(void) {
    report("before", CONVT_BN_GAP_OK);
    calls(convt_bn_gap_f32);
    calls(solution);
    calls(on_default_stream);
    return 0;
}
"#;

const BAD_INPUT: i32 = 2;
const DEVICE_FAILED: i32 = 3;

/// What each call must give, and words of its sentence.
const REFUSED: [(&str, i32, &str); 9] = [
    ("null input", BAD_INPUT, "input is a null pointer; it must be given"),
    ("null kernel", BAD_INPUT, "kernel is a null pointer; it must be given"),
    ("null output", BAD_INPUT, "output is a null pointer; it must be given"),
    ("no samples", BAD_INPUT, "input's batch size is 0"),
    ("no width", BAD_INPUT, "input's width is 0"),
    ("no taps", BAD_INPUT, "kernel's width is 0"),
    ("absurd width", BAD_INPUT, "too large"),
    ("no number", BAD_INPUT, "scale_factor is NaN"),
    ("all zero", BAD_INPUT, "is 0"),
];

/// The shared library: beside the tool where that is given from outside, else built now. (Cargo does not renew the
/// one beside the tool when it builds the tool alone.)
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| match env::var_os("CONVT_BN_GAP_BIN") {
        Some(_) => cli().with_file_name("libconvt_bn_gap.so"),
        None => build(),
    })
}

fn build() -> PathBuf {
    let target = cli().ancestors().nth(2).expect("the tool is in target/release");
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--quiet", "--package", "convt-bn-gap", "--lib"])
        .args(["--message-format", "json", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "the library does not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "convt_bn_gap")
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .find(|file| file.extension().is_some_and(|extension| extension == "so"))
        .expect("cargo says where it put the library")
}

/// Whether there is this compiler; where there is none the test is over, and says so past the harness's capture.
fn has(compiler: &str) -> bool {
    let found = Command::new(compiler).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        let _ = std::io::stderr().write_all(format!("skipped: no compiler {compiler}\n").as_bytes());
    }
    found.is_ok()
}

/// A folder with the header and a program.
fn sources(program: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("convt_bn_gap.h"), HEADER).expect("a writable folder");
    fs::write(folder.path().join("program.c"), program).expect("a writable folder");
    folder
}

fn compile(compiler: &mut Command) {
    let output = compiler.output().expect("the compiler starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_c_program_gets_codes_and_sentences() {
    if !has("cc") {
        return;
    }
    let folder = sources(PROGRAM);
    let (program, libraries) = (folder.path().join("program"), library().parent().expect("a folder"));
    compile(
        Command::new("cc")
            .args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "program.c", "-o", "program"])
            .arg("-L")
            .arg(libraries)
            .arg(format!("-Wl,-rpath,{}", libraries.display()))
            .arg("-lconvt_bn_gap")
            .current_dir(folder.path()),
    );
    let ended = Command::new(program).output().expect("the program starts");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "the library says nothing by itself");
    assert!(ended.status.success(), "{}", ended.status);
    let text = String::from_utf8(ended.stdout).expect("UTF-8");
    let said: Vec<(&str, i32, &str)> = text
        .lines()
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [name, code, sentence] => (name, code.parse().expect("a code"), sentence),
            _ => panic!("not one line a call: {line:?}"),
        })
        .collect();

    // The program's tensors lie in the host's memory, which a device refuses; without one it gets no further.
    let valid = match Device::cuda(0) {
        Ok(_) => ("valid", BAD_INPUT, "which the device cannot reach"),
        Err(_) => ("valid", DEVICE_FAILED, "no CUDA device can be used"),
    };
    let of_each = || std::iter::once(valid).chain(REFUSED);
    let expected: Vec<_> = std::iter::once(("before", 0, "")).chain((0..3).flat_map(|_| of_each())).collect();
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for ((name, code, sentence), (call, expected, words)) in said.iter().zip(expected) {
        assert_eq!((*name, *code), (call, expected), "{sentence}");
        assert!(sentence.contains(words), "{name}: {sentence:?} does not say {words:?}");
        assert_eq!(sentence.is_empty(), expected == 0, "{name}");
    }
}

#[test]
fn the_header_compiles_as_cpp() {
    if !has("c++") {
        return;
    }
    let folder = sources(PROGRAM);
    let flags = ["-std=c++11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", "program.c"];
    compile(Command::new("c++").args(flags).current_dir(folder.path()));
}

/// A driver's name among the exports would take the place of the driver's own in a process that has both.
#[test]
fn nothing_but_the_interface_is_exported() {
    let bytes = fs::read(library()).expect("a built library");
    let file = object::File::parse(&*bytes).expect("an object file");
    let exports = file.exports().expect("a symbol table");
    let mut names: Vec<_> = exports.iter().map(|export| String::from_utf8_lossy(export.name())).collect();
    names.sort();
    let expected = [
        "convt_bn_gap_bf16",
        "convt_bn_gap_f16",
        "convt_bn_gap_f32",
        "convt_bn_gap_f32_on_stream",
        "convt_bn_gap_f64",
        "convt_bn_gap_last_error",
        "convt_bn_gap_options_init",
        "convt_bn_gap_plan_create",
        "convt_bn_gap_plan_destroy",
        "convt_bn_gap_plan_run",
        "convt_bn_gap_plan_workspace_bytes",
        "solution",
    ];
    assert_eq!(names, expected);
    for name in names {
        assert!(HEADER.contains(&format!("{name}(")), "{name} is not in the header");
    }
}

/// The driver is looked for at run time: neither the library nor the tool refers to its symbols.
#[test]
fn no_symbol_of_the_driver_is_wanted() {
    for path in [library(), cli()] {
        let bytes = fs::read(path).expect("a built file");
        let file = object::File::parse(&*bytes).expect("an object file");
        let imports = file.imports().expect("a symbol table");
        assert!(!imports.is_empty(), "{} has no dynamic symbols at all", path.display());
        for import in imports {
            let name = String::from_utf8_lossy(import.name());
            let driver = name.strip_prefix("cu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
            assert!(!driver, "{} wants {name}", path.display());
        }
    }
}
