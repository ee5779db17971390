//! The command-line tool with `--device cuda`: the loader opens the simulated driver as it opens the real one.

use std::path::Path;
use std::process::Command;

use convt_bn_gap_tests::{cli, golden_dir, simulated_driver};
use serde_json::Value;

/// What the tool said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the tool on a machine of these words.
fn tool(library: &Path, machine: &str, arguments: &[&str]) -> Said {
    let ended = Command::new(cli())
        .args(arguments)
        .env("CUDA_LOADER_LIBRARY", library)
        .env("SIMULATED_CUDA", machine)
        .output()
        .expect("the tool starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Said { code: ended.status.code(), stdout: text(ended.stdout), stderr: text(ended.stderr) }
}

impl Said {
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A golden case, by its name.
fn golden(name: &str) -> String {
    golden_dir().join(name).with_extension("safetensors").to_str().expect("UTF-8").to_owned()
}

#[test]
fn devices_lists_it() {
    let Some(library) = simulated_driver() else { return };
    let listed = tool(library, "driver=12.4 memory=1048576", &["devices", "--json"]).json();
    let device = &listed["devices"][1];
    assert_eq!((&device["device"], &device["name"]), (&"cuda:0".into(), &"Simulated GPU".into()));
    assert_eq!((&device["driver_cuda"], &device["memory_bytes"]), (&"12.4".into(), &(1 << 20).into()));
    assert!(listed["cuda_unavailable"].is_null());
}

/// Some small golden cases, on every form of the kernels.
#[test]
fn golden_cases_verify() {
    let Some(library) = simulated_driver() else { return };
    let cases =
        ["smallest", "kernel1", "no_affine", "zero_scale", "negative_scale", "eval", "one_sample", "f64", "f16"];
    for precision in ["default", "strict"] {
        for case in cases {
            let arguments = ["verify", "--json", "--device", "cuda", "--precision", precision, &golden(case)];
            let said = tool(library, "", &arguments);
            assert_eq!(said.code, Some(0), "{case}: {}{}", said.stdout, said.stderr);
            assert!(said.stdout.contains("cuda"), "{}", said.stdout);
        }
    }
}

#[test]
fn run_and_bench_compute_on_it() {
    let Some(library) = simulated_driver() else { return };
    let ran = tool(library, "", &["run", "--json", "--device", "cuda:0", &golden("no_running_stats")]).json();
    assert_eq!(ran["backend"], "cuda");
    let shape = ["--shape", "2,2,3,2,3,4,1,2,2", "--runs", "2"];
    let benched = tool(library, "", &[&["bench", "--json", "--device", "cuda"], &shape[..]].concat()).json();
    assert_eq!((&benched["backend"], &benched["runs"]), (&"cuda".into(), &2.into()));
    assert!(benched["error"].as_f64().expect("a number") < 1e-5);
    assert_eq!(benched["stages"].as_array().expect("an array").len(), 3);
    // `auto` takes it without a word.
    let auto = tool(library, "", &["run", "--json", &golden("no_running_stats")]);
    assert_eq!((auto.json()["backend"].as_str(), auto.stderr.contains("CPU")), (Some("cuda"), false));
}

/// What is wrong with the call is said in the same words by every machine; what a GPU does not take, `auto` does not take elsewhere.
#[test]
fn auto_refuses_the_same_with_a_gpu_and_without() {
    let Some(library) = simulated_driver() else { return };
    let machines = ["", "devices=0", "driver=11.3", "capability=7.5", "fault=cuModuleLoadDataEx:1:218"];
    for (option, words) in [
        ("--eps=-1", "error: eps is -1; it must be finite and at least 0"),
        ("--groups=3", "error: groups is 3; it must divide "),
        ("--stride=0", "error: stride is 0; it must be at least 1"),
    ] {
        for machine in machines {
            let said = tool(library, machine, &["run", &golden("no_running_stats"), option]);
            assert_eq!((said.code, &*said.stdout), (Some(2), ""), "{machine}: {}", said.stderr);
            assert!(said.stderr.starts_with(words) && said.stderr.lines().count() == 1, "{machine}: {}", said.stderr);
        }
    }
    let padded = ["run", "--algorithm", "spectral", &golden("padding")];
    for machine in ["", "devices=0"] {
        let said = tool(library, machine, &padded);
        assert_eq!(said.code, Some(2), "{machine}: {}", said.stderr);
        let words = "algorithm = spectral is not possible for this problem: it does not take padding = 1,0,2";
        assert!(said.stderr.contains(words), "{machine}: {}", said.stderr);
    }
    let reference = tool(library, "", &["run", "--algorithm", "reference", &golden("no_running_stats")]);
    assert_eq!(reference.code, Some(2));
    assert!(
        reference.stderr.contains("algorithm = reference is not supported on the cuda device"),
        "{}",
        reference.stderr
    );
}

/// A file that is refused before the device fails to open is told of all the same.
#[test]
fn verify_tells_of_the_files_before_there_was_no_device() {
    let Some(library) = simulated_driver() else { return };
    let files = ["no such file.safetensors", &golden("no_running_stats"), "nor this.safetensors"];
    let said = tool(library, "devices=0", &[&["verify", "--json", "--device", "cuda"][..], &files].concat());
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("finds no GPU"), "{}", said.stderr);
    let rows: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(rows.as_array().expect("an array").len(), 1, "{rows}");
    assert!(rows[0]["file"] == files[0] && rows[0]["refused"].is_string(), "{rows}");
}

#[test]
fn failures_end_in_one_sentence_and_exit_code_3() {
    let Some(library) = simulated_driver() else { return };
    let cases = [
        ("devices=0", "finds no GPU"),
        ("driver=11.3", "supports CUDA 11.3"),
        ("capability=7.5", "has compute capability 7.5"),
        ("fault=cuModuleLoadDataEx:1:218", "CUDA_ERROR_INVALID_PTX (218): ptxas application ptx input, line 9;"),
        ("fault=cuLaunchKernelEx:2:719:sticky", "launching batch_norm_reduce failed: cuLaunchKernelEx returned"),
        ("fault=cuMemcpyDtoHAsync_v2:1:700:sticky", "CUDA_ERROR_ILLEGAL_ADDRESS (700)"),
        ("fault=cuStreamSynchronize:1:917", "(917)"),
    ];
    for (machine, words) in cases {
        let said = tool(library, machine, &["run", "--device", "cuda", &golden("no_running_stats")]);
        assert_eq!((said.code, &*said.stdout), (Some(3), ""), "{machine}: {}", said.stderr);
        let [sentence] = said.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{machine}: {}", said.stderr) };
        assert!(sentence.starts_with("error: ") && sentence.contains(words), "{machine}: {sentence}");
    }
    for machine in ["memory=1000", "fault=cuMemAlloc_v2:8:2"] {
        let said = tool(library, machine, &["run", "--device", "cuda", &golden("no_running_stats")]);
        assert!(said.code.is_some_and(|code| code == 2 || code == 3), "{machine}: {:?}", said.code);
        assert!(said.stderr.contains("are available"), "{}", said.stderr);
    }
}
