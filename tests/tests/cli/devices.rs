//! `devices`, and which device a command takes: `cpu` never asks the driver, `auto` may fall back, `cuda` never does.

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
    let file = File::small().save(folder.path(), "small.safetensors");
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

/// The dynamic loader's own log says which libraries were looked for.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn cpu_never_touches_the_driver() {
    let folder = folder();
    let file = File::small().save(folder.path(), "small.safetensors");
    let loads = |device: &str| -> Ended {
        Command::new(cli())
            .args(["run", "--device", device])
            .arg(&file)
            .env("LD_DEBUG", "libs")
            .output()
            .expect("the tool starts")
            .into()
    };
    for device in ["cpu", "reference"] {
        let ended = loads(device);
        assert!(ended.stderr.contains("libc.so"), "the loader does not log: {}", ended.stderr);
        assert!(!ended.stderr.contains("libcuda"), "--device {device} looked for the driver");
        ended.done();
    }
    // The log would show it.
    assert!(loads("auto").stderr.contains("libcuda"));
}

#[test]
fn unknown_devices_are_usage_errors() {
    for device in ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cuda:99999999999999999999"] {
        let ended = tool(&format!("run --device {device} x.safetensors"));
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("auto, cpu, cuda, cuda:N, reference"), "{}", ended.stderr);
    }
}
