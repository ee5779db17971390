//! `run`: what it computes and writes, and every file and option it refuses.

use std::fs;
use std::path::Path;

use convt_bn_gap_tests::golden_dir;
use safetensors::Dtype;

use crate::support::{File, folder, names_in, npy, tool, tool_on};

#[test]
fn writes_every_tensor_in_its_type_and_says_what_ran() {
    let folder = folder();
    let input = File::small().save(folder.path(), "in.safetensors");
    let out = folder.path().join("out.safetensors");
    let said = tool_on("run --device cpu --scale-factor 2 {} -o {} --json", &[&input, &out]).json();
    assert_eq!(said["backend"], "cpu");
    assert_eq!(said["shape"], serde_json::json!([3, 4, 5, 4, 5, 3, 2, 3, 2]));
    assert_eq!(said["output_file"], out.display().to_string());
    let written = File::load(&out);
    let described: Vec<_> = written.tensors.iter().map(|(name, t)| (name.as_str(), t.0, t.1.clone())).collect();
    assert_eq!(
        described,
        [
            ("batch_mean", Dtype::F64, vec![5]),
            ("batch_var", Dtype::F64, vec![5]),
            ("output", Dtype::F32, vec![3, 5, 1, 1, 1]),
            ("running_mean", Dtype::F32, vec![5]),
            ("running_var", Dtype::F32, vec![5]),
        ]
    );
    for (name, value) in [("backend", "cpu"), ("scale_factor", "2"), ("mode", "train"), ("stride", "1,1,1")] {
        assert_eq!(written.metadata[name], value);
    }
    for name in ["device", "algorithm", "precision", "eps", "momentum"] {
        assert!(written.metadata.contains_key(name), "no {name} in the metadata");
    }
}

#[test]
fn gives_the_golden_results_and_options_reach_the_result() {
    let folder = folder();
    let golden = golden_dir().join("f64.safetensors");
    let expected = File::load(&golden);
    let run = |more: &str| -> File {
        let out = folder.path().join("out.safetensors");
        tool_on(&format!("run --device cpu {{}} -o {{}} {more}"), &[&golden, &out]).done();
        File::load(&out)
    };
    let near = |a: &[f64], b: &[f64], tolerance: f64| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance * b.abs().max(1.0))
    };
    let plain = run("");
    assert!(near(&plain.numbers("output"), &expected.numbers("expected.output"), 1e-9));
    assert!(near(&plain.numbers("batch_var"), &expected.numbers("expected.batch_var"), 1e-9));
    assert!(near(&plain.numbers("running_mean"), &expected.numbers("expected.running_mean"), 1e-6));
    // The metadata says scale 2; the command line wins.
    let scaled = run("--scale-factor 4");
    let doubled: Vec<f64> = plain.numbers("batch_mean").iter().map(|v| 2.0 * v).collect();
    assert!(near(&scaled.numbers("batch_mean"), &doubled, 1e-12));
    assert!(near(&run("--momentum 0").numbers("running_mean"), &expected.numbers("running_mean"), 0.0));
    // No batch was counted before: the cumulative average is the batch's own.
    let cumulative = run("--momentum none");
    assert!(near(&cumulative.numbers("running_mean"), &plain.numbers("batch_mean"), 1e-6));
    assert_eq!(cumulative.metadata["num_batches_tracked"], "1");
    let eval = run("--mode eval");
    assert!(!eval.tensors.contains_key("batch_mean"));
    assert!(!near(&eval.numbers("output"), &plain.numbers("output"), 1e-6));
    assert!(!near(&run("--eps 10").numbers("output"), &plain.numbers("output"), 1e-6));
    // The reference gives the same, in the input's type.
    let out = folder.path().join("reference.safetensors");
    tool_on("run --device reference {} -o {}", &[&golden, &out]).done();
    assert!(near(&File::load(&out).numbers("output"), &plain.numbers("output"), 1e-11));
}

#[test]
fn npy_files_give_the_same_as_the_safetensors_file() {
    let folder = folder();
    let file = File::small();
    let input = file.save(folder.path(), "in.safetensors");
    let mut options = String::new();
    let mut paths = Vec::new();
    for (name, (_, shape, bytes)) in &file.tensors {
        let shape: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape.join(" "));
        options += &format!(" --{} {{}}", name.replace('_', "-"));
        paths.push(npy(folder.path(), &format!("{name}.npy"), &header, bytes));
    }
    let [a, b] = ["a.safetensors", "b.safetensors"].map(|name| folder.path().join(name));
    tool_on("run --device cpu {} -o {}", &[&input, &a]).done();
    paths.push(b.clone());
    tool_on(&format!("run --device cpu {options} -o {{}}"), &paths).done();
    let [a, b] = [a, b].map(|path| File::load(&path));
    assert_eq!(a.tensors, b.tensors);
    assert_eq!(a.metadata, b.metadata);
}

#[test]
fn malformed_safetensors_files_are_refused() {
    let folder = folder();
    let whole = File::small().serialize();
    let header = |json: &str, body: usize| {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.resize(bytes.len() + body, 0);
        bytes
    };
    let entry =
        |shape: &str, end: u64| format!(r#"{{"input":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("short", whole[..5].to_vec()),
        ("no_header", u64::MAX.to_le_bytes().to_vec()),
        ("cut_header", whole[..100].to_vec()),
        ("cut_data", whole[..whole.len() - 1].to_vec()),
        ("longer", [&whole[..], &[0]].concat()),
        ("no_json", header("{{{{", 0)),
        ("deep_json", header(&"[".repeat(100_000), 0)),
        ("lying_shape", header(&entry("[9,9,9,9,9]", 8), 8)),
        ("lying_end", header(&entry("[2]", 1 << 40), 8)),
        ("overflow", header(&entry("[4294967296,4294967296,4294967296]", 8), 8)),
        ("text", b"this is no safetensors file at all".to_vec()),
    ] {
        let path = folder.path().join(format!("{name}.safetensors"));
        fs::write(&path, bytes).expect("a writable folder");
        tool_on("run --device cpu {}", &[&path]).refused(2, &format!("{name}.safetensors"));
    }
}

#[test]
fn files_that_are_no_files_are_refused() {
    let folder = folder();
    tool_on("run", &[folder.path()]).refused(2, "folder");
    tool_on("run", &[folder.path().join("none.safetensors")]).refused(2, "none.safetensors");
    if Path::new("/dev/zero").exists() {
        tool("run /dev/zero").refused(2, "not a regular file");
    }
}

/// Runs a change of the small file and asserts that it is refused with these words.
#[track_caller]
fn refuses(words: &str, more: &str, change: impl FnOnce(&mut File)) {
    let folder = folder();
    let mut file = File::small();
    change(&mut file);
    let path = file.save(folder.path(), "in.safetensors");
    let out = folder.path().join("out.safetensors");
    tool_on(&format!("run --device cpu {{}} -o {{}} {more}"), &[&path, &out]).refused(2, words);
    assert_eq!(names_in(folder.path()), ["in.safetensors"]);
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    refuses("no tensor named input", "", |f| _ = f.without("input"));
    refuses("no tensor named kernel", "", |f| _ = f.without("kernel"));
    refuses("input has 4", "", |f| _ = f.f32("input", &[3, 4, 5, 3]));
    refuses("kernel has 6", "", |f| _ = f.f32("kernel", &[4, 5, 2, 3, 2, 1]));
    refuses("input has 4 channels and kernel has 3", "", |f| _ = f.f32("kernel", &[3, 5, 2, 3, 2]));
    refuses("input's depth is 0; it must be at least 1", "", |f| _ = f.f32("input", &[3, 4, 0, 5, 3]));
    refuses("input's batch size is 0", "", |f| _ = f.f32("input", &[0, 4, 4, 5, 3]));
    refuses("kernel's output channels is 0", "", |f| _ = f.f32("kernel", &[4, 0, 2, 3, 2]));
    refuses("conv_bias has 4 elements; it must have one for each of the 5", "", |f| _ = f.f32("conv_bias", &[4]));
    refuses("bn_weight has shape [5, 1]", "", |f| _ = f.f32("bn_weight", &[5, 1]));
    refuses("bn_bias has 6 elements; it must have one for each of the 5", "", |f| _ = f.f32("bn_bias", &[6]));
    refuses("running_mean has 0 elements; it must have one for each of the 5", "", |f| _ = f.f32("running_mean", &[0]));
    refuses("running_var is given without running_mean", "", |f| _ = f.without("running_mean"));
    refuses("conv_bias has 5 elements; it must have one for each of the 10", "--groups 2", |_| {});
    refuses("running_var[1] is -1", "", |f| _ = f.set_f32("running_var", &[1.0, -1.0, 1.0, 1.0, 1.0]));
    refuses("train mode normalises by the batch's statistics here and needs more than 1 value per channel", "", |f| {
        f.f32("input", &[1, 4, 1, 1, 1]).f32("kernel", &[4, 5, 1, 1, 1]);
    });
    refuses("eval mode normalises by the batch's statistics here and needs more than 1 value", "--mode eval", |f| {
        f.f32("input", &[1, 4, 1, 1, 1]).f32("kernel", &[4, 5, 1, 1, 1]);
        f.without("running_mean").without("running_var");
    });
}

#[test]
fn types_that_do_not_fit_are_refused_by_name() {
    refuses("same type", "", |f| _ = f.f64("kernel", &[4, 5, 2, 3, 2]));
    refuses("bn_weight is f64", "", |f| _ = f.f64("bn_weight", &[5]));
    refuses("the input is f32 and the kernel f16", "", |f| {
        _ = f.bytes("kernel", Dtype::F16, &[4, 5, 2, 3, 2], vec![0; 480])
    });
    refuses("conv_bias is f32 beside an f16 input", "", |f| _ = f.narrow(Dtype::F16));
    refuses("conv_bias is f32 beside a bf16 input", "", |f| _ = f.narrow(Dtype::BF16));
    refuses("running_mean is f64", "", |f| _ = f.narrow(Dtype::F16).without("conv_bias").f64("running_mean", &[5]));
    refuses("input holds I32 values", "", |f| _ = f.bytes("input", Dtype::I32, &[2], vec![0; 8]));
}

#[test]
fn narrower_vectors_are_widened() {
    let folder = folder();
    let mut file = File::small();
    file.f64("input", &[3, 4, 4, 5, 3]).f64("kernel", &[4, 5, 2, 3, 2]);
    // One and a half, in half precision.
    file.bytes("bn_weight", Dtype::F16, &[5], [0x00, 0x3e].repeat(5));
    file.bytes("conv_bias", Dtype::BF16, &[5], [0xc0, 0x3f].repeat(5));
    let narrow = file.save(folder.path(), "narrow.safetensors");
    for name in ["bn_weight", "conv_bias"] {
        file.bytes(name, Dtype::F64, &[5], 1.5f64.to_le_bytes().repeat(5));
    }
    let wide = file.save(folder.path(), "wide.safetensors");
    let outputs = [narrow, wide].map(|path| {
        let out = folder.path().join("out.safetensors");
        tool_on("run --device cpu {} -o {}", &[&path, &out]).done();
        File::load(&out).numbers("output")
    });
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn sixteen_bits_come_out_in_their_type_or_in_f32() {
    let folder = folder();
    for dtype in [Dtype::F16, Dtype::BF16] {
        let mut file = File::small();
        file.narrow(dtype).without("conv_bias");
        let path = file.save(folder.path(), "in.safetensors");
        let out = folder.path().join("out.safetensors");
        for (asked, given) in [("input", dtype), ("f32", Dtype::F32)] {
            tool_on(&format!("run --device cpu --output-dtype {asked} {{}} -o {{}}"), &[&path, &out]).done();
            let written = File::load(&out);
            assert_eq!(written.tensors["output"].0, given);
            assert_eq!(written.tensors["running_var"].0, Dtype::F32);
            assert_eq!(written.tensors["batch_var"].0, Dtype::F64);
        }
    }
    let path = File::small()
        .f64("input", &[3, 4, 4, 5, 3])
        .f64("kernel", &[4, 5, 2, 3, 2])
        .save(folder.path(), "in.safetensors");
    let out = folder.path().join("out.safetensors");
    tool_on("run --device cpu --output-dtype f32 {} -o {}", &[&path, &out]).done();
    assert_eq!(File::load(&out).tensors["output"].0, Dtype::F32);
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    for (option, value, words) in [
        ("eps", "-1", "eps is -1; it must be finite and at least 0"),
        ("eps", "nan", "eps is NaN"),
        ("scale_factor", "inf", "scale_factor is inf; it must be finite"),
        ("momentum", "1.5", "momentum is 1.5; it must be from 0 to 1"),
        ("momentum", "NaN", "momentum is NaN"),
        ("stride", "0,1,1", "stride is 0"),
        ("padding", "-1,0,0", "padding is -1"),
        ("padding", "3,0,0", "depth -1"),
        ("output_padding", "1,0,0", "output_padding is 1 in depth"),
        ("output_padding", "-2,0,0", "output_padding is -2"),
        ("dilation", "1,0,1", "dilation is 0"),
        ("groups", "3", "groups is 3; it must divide the 4 input channels"),
        ("groups", "-1", "groups is -1"),
        ("groups", "0", "groups is 0; it must be at least 1"),
        ("padding", "9223372036854775807,0,0", "output would have depth -18446744073709551609"),
        ("stride", "9223372036854775807", "(27670116110564327423) is too large"),
    ] {
        // From the metadata and from the command line alike.
        refuses(words, "", |f| _ = f.option(option, value));
        refuses(words, &format!("--{} {value}", option.replace('_', "-")), |_| {});
    }
    for (option, value) in [("eps", "tiny"), ("mode", "test"), ("stride", "1,1"), ("groups", ""), ("momentum", "-")] {
        refuses(&format!("metadata's {option}"), "", |f| _ = f.option(option, value));
    }
}

/// An algorithm that was asked for is taken or refused, never replaced.
#[test]
fn algorithms_that_are_none_for_the_call_are_refused_by_name() {
    let not_possible = "algorithm = spectral is not possible for this problem: it ";
    refuses(&format!("{not_possible}does not take padding = 1,0,1"), "--algorithm spectral --padding 1,0,1", |_| {});
    let little = "--algorithm spectral --workspace-mib 1";
    refuses("bytes of workspace; at most 1048576 are allowed", little, |f| {
        f.f32("input", &[1, 256, 4, 4, 4]).f32("kernel", &[256, 256, 2, 2, 2]);
        for name in ["conv_bias", "bn_weight", "bn_bias", "running_mean", "running_var"] {
            f.f32(name, &[256]);
        }
    });
    let folder = folder();
    let small = File::small().save(folder.path(), "small.safetensors");
    for algorithm in ["spectral", "direct"] {
        let words = format!("algorithm = {algorithm} is not supported on the reference device; reference is");
        tool_on(&format!("run --device reference --algorithm {algorithm}"), &[&small]).refused(2, &words);
    }
}

#[test]
fn npy_files_that_cannot_be_read_are_refused_by_name() {
    let folder = folder();
    let kernel =
        npy(folder.path(), "w.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 1, 1, 1), }", &[0; 8]);
    for (header, body, words) in [
        ("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1, 1, 1, 1), }", 8, "Fortran"),
        ("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 1, 1, 1, 1), }", 8, "'<i4'"),
        (
            "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 1, 1, 1, 1), }",
            4,
            "the input is f16 and the kernel f32",
        ),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1, 1, 1, 1), }", 16, "same type"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 1, 1), }", 8, "input has 4"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1, 1, 1, 1), }", 8, "promises"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 1, 1, 1, 1), }", 8, "promises"),
        ("{'descr': '<f4', 'shape': (2, 1, 1, 1, 1), }", 8, "fortran_order"),
        ("((((((((((((((((((((((((((((((((", 0, "input.npy"),
    ] {
        let input = npy(folder.path(), "input.npy", header, &vec![0; body]);
        let said = tool_on("run --device cpu --input {} --kernel {}", &[&input, &kernel]);
        said.refused(2, words);
    }
    let usage = tool_on("run --kernel {}", &[&kernel]);
    assert_eq!(usage.code, Some(2));
}

/// The small file's input is 4×5×3, its kernel 2×3×2 with 5 channels a group.
#[test]
fn options_of_the_convolution_reach_the_result() {
    let folder = folder();
    let input = File::small().save(folder.path(), "in.safetensors");
    for (options, algorithm, out_channels) in [
        ("--stride 2,1,3", "direct", 5),
        ("--stride 2 --output-padding 1,0,1 --dilation 1,2,1", "spectral", 5),
        ("--padding 1,0,1", "direct", 5),
        ("--stride 3,1,2 --padding 1 --output-padding 2,0,1 --dilation 2 --groups 2", "direct", 10),
    ] {
        let [found, expected] = ["cpu", "reference"].map(|device| {
            let mut file = File::load(&input);
            for name in ["conv_bias", "bn_weight", "bn_bias", "running_mean", "running_var"] {
                file.f32(name, &[out_channels]);
            }
            let (path, out) = (file.save(folder.path(), "sized.safetensors"), folder.path().join("out.safetensors"));
            let algorithm = if device == "cpu" { algorithm } else { "reference" };
            let way = format!("run --device {device} --algorithm {algorithm} {options}");
            tool_on(&format!("{way} {{}} -o {{}}"), &[&path, &out]).done();
            File::load(&out)
        });
        assert_eq!(found.tensors["output"].1, [3, out_channels, 1, 1, 1]);
        for (tensor, tolerance) in [("output", 1e-5), ("batch_mean", 1e-12), ("batch_var", 1e-6)] {
            for (found, expected) in found.numbers(tensor).iter().zip(expected.numbers(tensor)) {
                assert!((found - expected).abs() <= tolerance * (1.0 + expected.abs()), "{options} {tensor}");
            }
        }
    }
}

#[test]
fn not_a_number_goes_through_as_in_pytorch() {
    let folder = folder();
    let mut file = File::small();
    let mut input = file.numbers("input");
    input[7] = f64::NAN;
    file.set_f32("input", &input);
    let path = file.save(folder.path(), "in.safetensors");
    let out = folder.path().join("out.safetensors");
    tool_on("run --device cpu {} -o {}", &[&path, &out]).done();
    assert!(File::load(&out).numbers("output").iter().all(|v| v.is_nan()));
}

#[test]
fn tensors_of_other_names_are_mentioned() {
    let folder = folder();
    let mut file = File::small();
    file.f32("weights_of_another_layer", &[3]);
    let path = file.save(folder.path(), "in.safetensors");
    let ended = tool_on("run --device cpu {}", &[&path]);
    assert!(ended.stderr.contains("weights_of_another_layer"), "{}", ended.stderr);
    assert!(ended.done().contains("cpu"));
}
