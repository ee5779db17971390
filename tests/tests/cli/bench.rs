//! `bench` and `demo`: their fields, and the sizes they refuse.

use crate::support::tool;

#[test]
fn bench_prints_every_field_of_its_contract() {
    let object = tool("bench --device cpu --shape 3,4,6,5,6,7,3,2,3 --runs 3 --json").json();
    let fields: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected = [
        "device",
        "backend",
        "algorithm",
        "precision",
        "dtype",
        "shape",
        "convolution",
        "error",
        "median_ms",
        "min_ms",
        "max_ms",
        "runs",
        "floor_ms",
        "workspace_bytes",
        "peak_memory_bytes",
        "stages",
        "reason",
        "graph_ms",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    assert_eq!(object["shape"], serde_json::json!([3, 4, 6, 5, 6, 7, 3, 2, 3]));
    assert_eq!(object["runs"], 3);
    assert_eq!(object["backend"], "cpu");
    let number = |name: &str| object[name].as_f64().unwrap_or_else(|| panic!("{name} is no number: {object}"));
    assert!(number("error") < 1e-5);
    assert!(0.0 < number("min_ms") && number("min_ms") <= number("median_ms"));
    assert!(number("median_ms") <= number("max_ms"));
    assert!(number("floor_ms") > 0.0);
    let stage = &object["stages"][0];
    for field in ["name", "median_ms", "bytes", "flops", "gflop_per_s", "share"] {
        assert!(!stage[field].is_null(), "{stage}");
    }
}

#[test]
fn bench_takes_every_format() {
    for (dtype, bound) in [("f16", 1e-5), ("bf16", 1e-5), ("f64", 1e-11)] {
        let object =
            tool(&format!("bench --device cpu --shape 3,4,6,5,6,7,3,2,3 --runs 3 --json --dtype {dtype}")).json();
        assert_eq!(object["dtype"], dtype);
        assert!(object["error"].as_f64().is_some_and(|error| error < bound), "{object}");
    }
    tool("bench --device cpu --shape 3,4,6,5,6,7,3,2,3 --dtype f8").refused(2, "must be f16, bf16, f32 or f64");
}

/// Sizes with options, as a module of PyTorch is given them.
#[test]
fn bench_takes_the_options_of_the_convolution() {
    let object =
        tool("bench --device cpu --shape 2,4,6,5,6,7,4,2,3 --stride 2,1,2 --dilation 1,2,1 --groups 2 --runs 1 --json")
            .json();
    assert_eq!(object["shape"], serde_json::json!([2, 4, 6, 5, 6, 7, 4, 2, 3]));
    let [stride, dilation] = ["stride", "dilation"].map(|option| &object["convolution"][option]);
    assert_eq!((stride, dilation), (&serde_json::json!([2, 1, 2]), &serde_json::json!([1, 2, 1])));
    assert_eq!(object["convolution"]["groups"], 2);
    assert!(object["error"].as_f64().unwrap() < 1e-5);
    let words = tool("bench --device cpu --shape 2,4,6,5,6,7,4,2,3 --stride 2 --padding 1 --runs 1").done();
    assert!(words.contains("convolution 2 × 6 × 10×10×13"), "{words}");
    tool("bench --device cpu --shape 2,4,6,5,6,7,4,2,3 --groups 4")
        .refused(2, "out_channels is 6; groups, which are 4, must divide it");
    tool("bench --device cpu --stride 2").refused(2, "give others with --shape");
}

#[test]
fn bench_in_words_names_what_ran() {
    let words = tool("bench --device cpu --shape 3,4,6,5,6,7,3,2,3 --runs 2").done();
    for word in ["cpu", "median", "floor", "error"] {
        assert!(words.contains(word), "{words}");
    }
}

#[test]
fn one_sample_is_benched_too() {
    // The output is β exactly, so the error is an absolute one.
    let object = tool("bench --device cpu --shape 1,2,3,4,4,4,2,2,2 --runs 1 --json").json();
    assert_eq!(object["error"], 0.0);
}

#[test]
fn absurd_sizes_are_refused_in_one_sentence() {
    let device = "--device cpu";
    tool(&format!("bench {device} --shape 1000000,64,128,1000,1000,1000,5,5,5")).refused(2, " are available");
    tool(&format!("bench {device} --shape 1,1,1000000,1,1,1,100000,100000,1")).refused(2, " are available");
    let huge = u64::MAX;
    tool(&format!("bench {device} --shape {huge},{huge},1,1,1,1,1,1,1")).refused(2, "too large");
    tool(&format!("bench {device} --shape 0,1,1,1,1,1,1,1,1")).refused(2, "batch size is 0");
    tool(&format!("bench {device} --shape 1,1,1,1,1,1,1,1,1")).refused(2, "more than 1 value per channel");
}

#[test]
fn malformed_shapes_and_presets_are_usage_errors() {
    for (arguments, words) in [
        ("--shape 1,2,3", "nine"),
        ("--shape 1,2,3,4,5,6,7,8,x", "nine"),
        ("--shape=-1,2,3,4,5,6,7,8,9", "nine"),
        ("--preset kernelbench-78", "kernelbench-77"),
        ("--preset kernelbench-77 --shape 2,1,1,1,1,1,1,1,1", "cannot be used with"),
        ("--runs 0", "--runs"),
        ("--frobnicate", "--frobnicate"),
    ] {
        let ended = tool(&format!("bench --device cpu {arguments}"));
        assert_eq!(ended.code, Some(2), "{arguments}");
        assert!(ended.stderr.contains(words), "{arguments}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(tool("").code, Some(2));
    assert_eq!(tool("frobnicate").code, Some(2));
    assert_eq!(tool("--version").code, Some(0));
    assert!(tool("bench --help").done().contains("--shape"));
}

#[test]
fn demo_says_what_it_did_and_how_far_from_f64() {
    let words = tool("demo").done();
    for word in ["16 × 64 × 16×32×32", "5×5×5", "GFLOP", "f64"] {
        assert!(words.contains(word), "{words}");
    }
}
