//! Outputs that cannot be written, and readers that go away: no half-written file, no panic.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use convt_bn_gap_tests::{cli, golden_dir};

use crate::support::{Ended, File, folder, names_in, tool_on};

#[test]
fn unwritable_outputs_are_refused_before_the_work() {
    let folder = folder();
    let input = File::small().save(folder.path(), "in.safetensors");
    let existing = folder.path().join("folder");
    fs::create_dir(&existing).expect("a writable folder");
    for (out, words) in [
        (folder.path().join("no/such/folder/out.safetensors"), "out.safetensors"),
        (input.join("out.safetensors"), "out.safetensors"),
        (existing, "not a regular file"),
        (folder.path().join("out.npy"), "safetensors"),
        (PathBuf::from("/"), "names no file"),
    ] {
        tool_on("run --device cpu {} -o {}", &[&input, &out]).refused(2, words);
    }
    if Path::new("/dev/full").exists() {
        tool_on("run --device cpu {} -o /dev/full", &[&input]).refused(2, "not a regular file");
    }
    if Path::new("/proc/version").exists() {
        tool_on("run --device cpu {} -o /proc/out.safetensors", &[&input]).refused(2, "/proc/out");
    }
    assert_eq!(names_in(folder.path()), ["folder", "in.safetensors"]);
}

/// A file size limit stops the write in its middle, as a full disk does.
#[test]
#[cfg(unix)]
fn a_write_that_fails_midway_leaves_what_was_there() {
    let folder = folder();
    let mut file = File::small();
    // 900 output values: more than the limit of one block of 512 or 1024 bytes.
    file.f32("kernel", &[4, 300, 2, 3, 2]);
    for name in ["conv_bias", "bn_weight", "bn_bias", "running_mean", "running_var"] {
        file.without(name);
    }
    let input = file.save(folder.path(), "in.safetensors");
    let out = folder.path().join("out.safetensors");
    fs::write(&out, "what was there").expect("a writable folder");
    let limited = || -> Ended {
        Command::new("sh")
            .args(["-c", r#"ulimit -f 1; exec "$0" "$@""#])
            .arg(cli())
            .args(["run", "--device", "cpu"])
            .arg(&input)
            .arg("-o")
            .arg(&out)
            .output()
            .expect("sh starts")
            .into()
    };
    let ended = limited();
    assert!(!ended.stderr.contains(".convt-bn-gap-"), "names the temporary file: {}", ended.stderr);
    ended.refused(2, "out.safetensors");
    assert_eq!(fs::read(&out).expect("still there"), b"what was there");
    assert_eq!(names_in(folder.path()), ["in.safetensors", "out.safetensors"]);
    tool_on("run --device cpu {} -o {}", &[&input, &out]).done();
    assert_eq!(File::load(&out).numbers("output").len(), 900);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_stdout_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has /dev/full");
    let ended: Ended = Command::new(cli()).arg("devices").stdout(full).output().expect("the tool starts").into();
    ended.refused(2, "stdout");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let golden = golden_dir().join("smallest.safetensors");
    let golden = golden.to_str().expect("a path in UTF-8");
    for arguments in
        [&["--help"][..], &["devices"], &["run", "--device", "cpu", golden], &["verify", "--device", "cpu", golden]]
    {
        let mut child = Command::new(cli())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("readable");
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{arguments:?}: {stderr}");
        assert_eq!(stderr, "");
    }
}
