//! `devices`, and which device a command takes: `cpu` never asks the driver, `auto` may fall back, `cuda` never does.

use std::path::Path;
use std::process::Command;

use convt_bn_gap_tests::cli;

use crate::support::{Ended, File, folder, has_cuda, tool, tool_on};

#[test]
fn devices_lists_the_cpu_and_the_driver_or_why_there_is_none() {
    let listed = tool("devices --json").json();
    let devices = listed["devices"].as_array().expect("an array");
    assert_eq!(devices[0]["device"], "cpu");
    assert!(devices[0]["threads"].as_u64().expect("a number") > 0);
    if has_cuda() {
        assert_eq!(devices[1]["device"], "cuda:0");
    } else {
        assert_eq!(devices.len(), 1);
        let reason = listed["cuda_unavailable"].as_str().expect("a reason");
        assert!(tool("devices").done().contains(reason));
    }
    assert!(tool("devices").done().starts_with("cpu"));
}

#[test]
fn auto_says_once_that_it_fell_back_and_cuda_never_does() {
    let folder = folder();
    let file = File::small().f32("expected.batch_mean", &[5]).save(folder.path(), "small.safetensors");
    let auto = tool_on("verify --json", &[&file, &file, &file]);
    let cuda = tool_on("run --device cuda", &[&file]);
    if has_cuda() {
        assert_eq!(auto.stderr.matches("note: computing on the CPU").count(), 0, "{}", auto.stderr);
        assert_eq!(tool_on("run --json", &[&file]).json()["backend"], "cuda");
        assert_eq!(tool_on("run --json --device cuda:0", &[&file]).json()["backend"], "cuda");
        tool_on("run --device cuda:99", &[&file]).refused(3, "99");
    } else {
        assert_eq!(auto.stderr.matches("note: computing on the CPU").count(), 1, "{}", auto.stderr);
        let reason = tool("devices --json").json()["cuda_unavailable"].as_str().expect("a reason").to_owned();
        assert!(auto.stderr.contains(&reason), "{} does not say {reason}", auto.stderr);
        cuda.refused(3, &reason);
        tool_on("run --device cuda:1", &[&file]).refused(3, "");
        tool_on("verify --device cuda", &[&file]).refused(3, &reason);
        tool("bench --device cuda").refused(3, &reason);
    }
}

/// Runs the tool with the dynamic loader's own log, which says which libraries were looked for.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn logged(arguments: &str, file: Option<&Path>) -> Ended {
    let mut command = Command::new(cli());
    command.args(arguments.split_whitespace()).args(file).env("LD_DEBUG", "libs");
    let ended: Ended = command.output().expect("the tool starts").into();
    assert!(ended.stderr.contains("libc.so"), "the loader does not log: {}", ended.stderr);
    ended
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn cpu_never_touches_the_driver() {
    let folder = folder();
    let file = File::small().save(folder.path(), "small.safetensors");
    let loads = |device: &str| logged(&format!("run --device {device}"), Some(&file));
    for device in ["cpu", "reference"] {
        let ended = loads(device);
        assert!(!ended.stderr.contains("libcuda"), "--device {device} looked for the driver");
        ended.done();
    }
    // The log would show it.
    assert!(loads("auto").stderr.contains("libcuda"));
}

/// What is wrong with a problem or its tensors is said before any device is asked, in the same words whatever there is.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn a_bad_problem_is_refused_without_the_driver() {
    let folder = folder();
    let small = File::small().save(folder.path(), "small.safetensors");
    let short = File::small().f32("bn_bias", &[6]).save(folder.path(), "short.safetensors");
    let negative = [1.0, -1.0, 1.0, 1.0, 1.0];
    let negative = File::small().set_f32("running_var", &negative).save(folder.path(), "negative.safetensors");
    let flat = File::small().f32("input", &[3, 4, 0, 5, 3]).save(folder.path(), "flat.safetensors");
    for (arguments, file, words) in [
        ("run --eps -1", Some(&small), "eps is -1; it must be finite and at least 0"),
        ("run --groups 3", Some(&small), "groups is 3; it must divide the 4 input channels"),
        ("run", Some(&short), "bn_bias has 6 elements; it must have one for each of the 5 output channels"),
        ("run", Some(&negative), "running_var[1] is -1; a variance must be at least 0"),
        ("run", Some(&flat), "input's depth is 0; it must be at least 1"),
        ("verify --json", Some(&small), "there is nothing to compare with"),
        ("bench --shape 0,1,1,1,1,1,1,1,1", None, "input's batch size is 0; it must be at least 1"),
        ("bench --shape 1000000,64,128,1000,1000,1000,5,5,5", None, "needs"),
    ] {
        for device in ["auto", "cuda", "cuda:7", "cpu"] {
            let ended = logged(&format!("{arguments} --device {device}"), file.map(AsRef::as_ref));
            assert_eq!(ended.code, Some(2), "{arguments} on {device}: {}", ended.stderr);
            assert!(ended.stderr.contains(words), "{arguments} on {device}: {}", ended.stderr);
            assert!(!ended.stderr.contains("libcuda"), "{arguments} on {device} looked for the driver");
        }
    }
}

#[test]
fn unknown_devices_are_usage_errors() {
    for device in ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cuda:99999999999999999999"] {
        let ended = tool(&format!("run --device {device} x.safetensors"));
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("auto, cpu, cuda, cuda:N, reference"), "{}", ended.stderr);
    }
}
