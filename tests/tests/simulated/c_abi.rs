//! The C functions on device pointers. Their plans are kept until the process ends, and the device with them.

use std::ffi::CStr;
use std::ptr::{null, null_mut, with_exposed_provenance_mut};

use convt_bn_gap::capi::{
    self, convt_bn_gap_bf16, convt_bn_gap_f16, convt_bn_gap_f32, convt_bn_gap_f32_on_stream, convt_bn_gap_last_error,
    solution,
};
use convt_bn_gap::draw::Draws;
use convt_bn_gap::{KernelShape, Outputs, Problem, Shape5, Storage, Tensors, bf16, check, f16, reference};
use simulated_driver::functions::*;
use simulated_driver::{Fault, Machine, with};

use crate::alone::{alone, alone_and_keeping};
use crate::caller::{Array, Caller};

const OK: i32 = capi::CONVT_BN_GAP_OK;
const BAD_INPUT: i32 = capi::CONVT_BN_GAP_BAD_INPUT;
const DEVICE_FAILED: i32 = capi::CONVT_BN_GAP_DEVICE_FAILED;

fn last_error() -> String {
    // SAFETY: a string of C, of this thread, read before the next call.
    unsafe { CStr::from_ptr(convt_bn_gap_last_error()) }.to_str().unwrap().to_owned()
}

/// A layer of that width, its tensors, and what the definition makes of them.
fn layer(width: usize) -> (Problem, Tensors<f32>, Outputs<f64>) {
    let input = Shape5 { batch: 3, channels: 2, depth: 2, height: 3, width };
    let kernel = KernelShape { in_channels: 2, out_channels: 5, depth: 1, height: 2, width: 3 };
    let problem = Problem::builder(input, kernel).scale_factor(2.0).build().unwrap();
    let tensors = Draws::usual(&problem, width as u64).tensors::<f32>(&problem).unwrap();
    let wide = tensors.as_inputs().to_f64().unwrap();
    let expected = reference::run(&problem, &wide.as_inputs(), None, None).unwrap();
    (problem, tensors, expected)
}

/// The functions for tensors in `T`.
type Function<T> = unsafe extern "C" fn(
    *const T,
    *const T,
    *const T,
    *const f32,
    *const f32,
    *mut T,
    f64,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
) -> i32;

/// The arguments of a call, in order: input, kernel, conv_bias, bn_weight, bn_bias, output.
fn call(function: Function<f32>, width: usize, arguments: [*mut f32; 6]) -> i32 {
    let [x, w, bias, gamma, beta, out] = arguments;
    // SAFETY: arrays of the layer's lengths; those that are not are refused before they are followed.
    unsafe { function(x, w, bias, gamma, beta, out, 2.0, 3, 2, 5, 2, 3, width, 1, 2, 3) }
}

/// The same on a stream.
fn call_on(stream: usize, width: usize, arrays: &[Array<'_>; 6]) -> i32 {
    let [x, w, bias, gamma, beta, out] = [0, 1, 2, 3, 4, 5].map(|i| arrays[i].pointer());
    let stream = with_exposed_provenance_mut(stream);
    // SAFETY: arrays of the layer's lengths, and a stream of the caller's or none.
    unsafe { convt_bn_gap_f32_on_stream(x, w, bias, gamma, beta, out, 2.0, 3, 2, 5, 2, 3, width, 1, 2, 3, stream) }
}

fn arrays<'a>(caller: &'a Caller, tensors: &Tensors<f32>) -> [Array<'a>; 6] {
    let vector = |values: &Option<ndarray::Array1<f32>>| caller.array(values.as_ref().unwrap().as_slice().unwrap());
    [
        caller.array(tensors.input.as_slice().unwrap()),
        caller.array(tensors.kernel.as_slice().unwrap()),
        vector(&tensors.conv_bias),
        vector(&tensors.bn_weight),
        vector(&tensors.bn_bias),
        caller.array(&[f32::NAN; 15]),
    ]
}

#[track_caller]
fn agrees(arrays: &[Array<'_>; 6], expected: &Outputs<f64>, tensors: &Tensors<f32>) {
    // SAFETY: handle 0 is the default stream.
    assert_eq!(unsafe { cuStreamSynchronize(0) }, 0);
    let out = ndarray::Array5::from_shape_vec(expected.output.dim(), arrays[5].read()).unwrap();
    let error = check::output_error(out.view(), expected.output.view(), tensors.as_inputs().bn_bias).unwrap();
    assert!(error.passes(1e-5), "{error:?}");
}

#[test]
fn results_are_the_definitions_and_plans_are_kept() {
    alone_and_keeping(Machine::default(), || {
        let caller = Caller::new();
        let (_, tensors, expected) = layer(4);
        let arrays = arrays(&caller, &tensors);
        let pointers = [0, 1, 2, 3, 4, 5].map(|i| arrays[i].pointer());
        assert_eq!((call(convt_bn_gap_f32, 4, pointers), last_error()), (OK, String::new()));
        agrees(&arrays, &expected, &tensors);

        arrays[5].write(&[f32::NAN; 15]);
        let held = with(|state| (std::mem::take(&mut state.calls), state.usage())).1;
        assert_eq!(call(solution, 4, pointers), OK);
        agrees(&arrays, &expected, &tensors);
        let (calls, now) = with(|state| (state.calls.clone(), state.usage()));
        assert!(
            now == held && !calls.contains(&"cuModuleLoadDataEx") && !calls.contains(&"cuMemAlloc_v2"),
            "{calls:?}"
        );

        // The optional vectors left out.
        let plain = Tensors { conv_bias: None, bn_weight: None, bn_bias: None, ..tensors };
        let (problem, ..) = layer(4);
        let wide = plain.as_inputs().to_f64().unwrap();
        let expected = reference::run(&problem, &wide.as_inputs(), None, None).unwrap();
        let [x, w, .., out] = pointers;
        let none = null::<f32>().cast_mut();
        assert_eq!(call(convt_bn_gap_f32, 4, [x, w, none, none, none, out]), OK);
        agrees(&arrays, &expected, &plain);
    });
}

/// The functions of the 16-bit formats: `x` and `w` in them, the output too.
#[test]
fn sixteen_bits_have_functions_of_their_own() {
    fn of<T: Storage<Wide = f32>>(caller: &Caller, function: Function<u16>) {
        let (problem, ..) = layer(4);
        let tensors = Draws::usual(&problem, 6).tensors::<T>(&problem).unwrap();
        let wide = tensors.as_inputs().to_f64().unwrap();
        let expected = reference::run(&problem, &wide.as_inputs(), None, None).unwrap();
        let x = caller.array_of(tensors.input.as_slice().unwrap());
        let w = caller.array_of(tensors.kernel.as_slice().unwrap());
        let bias = caller.array_of(tensors.conv_bias.as_ref().unwrap().as_slice().unwrap());
        let vector = |values: &Option<ndarray::Array1<f32>>| caller.array(values.as_ref().unwrap().as_slice().unwrap());
        let (gamma, beta) = (vector(&tensors.bn_weight), vector(&tensors.bn_bias));
        let out = caller.array_of(&[T::default(); 15]);
        let narrow = [&x, &w, &bias, &out].map(|array| array.pointer().cast::<u16>());
        // SAFETY: arrays of the layer's lengths and types.
        let code = unsafe {
            let [x, w, bias, out] = narrow;
            function(x, w, bias, gamma.pointer(), beta.pointer(), out, 2.0, 3, 2, 5, 2, 3, 4, 1, 2, 3)
        };
        assert_eq!((code, last_error()), (OK, String::new()));
        // SAFETY: handle 0 is the default stream.
        assert_eq!(unsafe { cuStreamSynchronize(0) }, 0);
        let out = ndarray::Array5::from_shape_vec(expected.output.dim(), out.read()).unwrap();
        let error = check::output_error(out.view(), expected.output.view(), tensors.as_inputs().bn_bias).unwrap();
        assert!(error.passes(1e-5), "{} {error:?}", T::DTYPE);
    }
    alone_and_keeping(Machine::default(), || {
        let caller = Caller::new();
        of::<f16>(&caller, convt_bn_gap_f16);
        of::<bf16>(&caller, convt_bn_gap_bf16);
    });
}

#[test]
fn the_last_eight_plans_are_kept() {
    alone_and_keeping(Machine::default(), || {
        let caller = Caller::new();
        let mut held = Vec::new();
        for width in 1..=10 {
            let (_, tensors, expected) = layer(width);
            let arrays = arrays(&caller, &tensors);
            assert_eq!(call(convt_bn_gap_f32, width, [0, 1, 2, 3, 4, 5].map(|i| arrays[i].pointer())), OK);
            agrees(&arrays, &expected, &tensors);
            held.push(with(|state| state.usage()));
        }
        assert!(held[6].streams == 7 && held[7].streams == 8, "{held:#?}");
        assert_eq!((held[8], held[9]), (held[7], held[7]));
    });
}

#[test]
fn pointers_that_cannot_be_followed_are_refused_and_the_next_call_is_well() {
    alone_and_keeping(Machine::default(), || {
        let caller = Caller::new();
        let (_, tensors, expected) = layer(4);
        let arrays = arrays(&caller, &tensors);
        let pointers = [0, 1, 2, 3, 4, 5].map(|i| arrays[i].pointer());
        let mut host = vec![0.0f32; 1000];
        for (i, name) in ["input", "kernel", "conv_bias", "bn_weight", "bn_bias", "output"].into_iter().enumerate() {
            let with_pointer = |pointer| {
                let mut pointers = pointers;
                pointers[i] = pointer;
                (call(convt_bn_gap_f32, 4, pointers), last_error())
            };
            let (code, sentence) = with_pointer(host.as_mut_ptr());
            assert!(code == BAD_INPUT && sentence.starts_with(name) && sentence.contains("cannot reach"), "{sentence}");
            let (code, sentence) = with_pointer(pointers[i].wrapping_byte_add(1));
            assert!(code == BAD_INPUT && sentence.contains("a multiple of 4"), "{sentence}");
        }
        assert!(arrays[5].read().iter().all(|y| y.is_nan()), "nothing was launched");
        assert_eq!(call(convt_bn_gap_f32, 4, pointers), OK);
        agrees(&arrays, &expected, &tensors);
    });
}

#[test]
fn failures_of_the_device_are_told_and_the_next_call_is_well() {
    alone_and_keeping(Machine::default(), || {
        let caller = Caller::new();
        let (_, tensors, expected) = layer(4);
        let arrays = arrays(&caller, &tensors);
        let pointers = [0, 1, 2, 3, 4, 5].map(|i| arrays[i].pointer());
        let before = with(|state| state.usage());
        let faults = [
            ("cuDevicePrimaryCtxRetain", 1, 917, DEVICE_FAILED, "917"),
            ("cuModuleLoadDataEx", 1, 218, DEVICE_FAILED, "CUDA_ERROR_INVALID_PTX"),
            ("cuMemAlloc_v2", 3, 2, BAD_INPUT, "are available"),
            ("cuStreamCreateWithPriority", 1, 304, DEVICE_FAILED, "CUDA_ERROR_OPERATING_SYSTEM"),
        ];
        for (function, n, code, expected, words) in faults {
            with(|state| state.inject(Fault::of(function, n, code)));
            let found = call(convt_bn_gap_f32, 4, pointers);
            assert!(found == expected && last_error().contains(words), "{function}: {found} {}", last_error());
            assert_eq!(with(|state| state.usage()), before, "{function}");
        }
        for n in 1..=3 {
            with(|state| state.inject(Fault::of("cuLaunchKernelEx", n, 701)));
            assert_eq!(call(convt_bn_gap_f32, 4, pointers), DEVICE_FAILED);
            assert!(
                last_error().contains("cuLaunchKernelEx returned CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"),
                "{}",
                last_error()
            );
            assert_eq!(call(convt_bn_gap_f32, 4, pointers), OK);
            agrees(&arrays, &expected, &tensors);
        }
        with(|state| state.inject(Fault::of("cuLaunchKernelEx", 2, 719).sticky()));
        for _ in 0..3 {
            assert_eq!(call(convt_bn_gap_f32, 4, pointers), DEVICE_FAILED);
        }
        // The context is lost, and the arrays go with it.
        drop(arrays);
    });
}

#[test]
fn each_stream_has_its_own_plan() {
    alone_and_keeping(Machine::default(), || {
        let caller = Caller::new();
        let (_, tensors, expected) = layer(4);
        let arrays = arrays(&caller, &tensors);
        let (first, second) = (caller.stream(), caller.stream());
        // A plan has a stream of its own beside: the plans are counted by those.
        let plans = || with(|state| state.usage().streams) - 2;
        for (stream, held) in [(0, 1), (first, 2), (second, 3), (first, 3), (0, 3)] {
            arrays[5].write(&[f32::NAN; 15]);
            assert_eq!((call_on(stream, 4, &arrays), last_error()), (OK, String::new()));
            agrees(&arrays, &expected, &tensors);
            assert_eq!(plans(), held);
        }
        // SAFETY: made above; its work is done.
        unsafe { assert_eq!((cuStreamDestroy_v2(first), cuStreamDestroy_v2(second)), (0, 0)) };
    });
}

#[test]
fn a_call_is_captured_once_its_plan_is_there_and_the_plan_stays() {
    alone_and_keeping(Machine::default(), || {
        let caller = Caller::new();
        let (_, tensors, expected) = layer(4);
        let layer_arrays = arrays(&caller, &tensors);
        let (stream, mut graph, mut executable) = (caller.stream(), 0, 0);
        // SAFETY: handles of this driver, valid for the writes; the arrays outlive the graph.
        unsafe {
            assert_eq!(cuStreamBeginCapture_v2(stream, 0), 0);
            assert_eq!(call_on(stream, 4, &layer_arrays), BAD_INPUT);
            assert!(last_error().contains("call once on it first"), "{}", last_error());
            assert_eq!(cuStreamEndCapture(stream, &mut graph), 0, "the capture is whole");
            assert_eq!(cuGraphDestroy(graph), 0);

            assert_eq!(call_on(stream, 4, &layer_arrays), OK);
            layer_arrays[5].write(&[f32::NAN; 15]);
            assert_eq!(cuStreamBeginCapture_v2(stream, 0), 0);
            assert_eq!((call_on(stream, 4, &layer_arrays), last_error()), (OK, String::new()));
            assert!(layer_arrays[5].read().iter().all(|y| y.is_nan()), "nothing has run");
            assert_eq!(cuStreamEndCapture(stream, &mut graph), 0);
            assert_eq!(cuGraphInstantiate_v2(&mut executable, graph, null_mut(), null_mut(), 0), 0);
        }
        // Other sizes push out what no graph holds.
        for width in 5..=16 {
            let (_, tensors, expected) = layer(width);
            let others = arrays(&caller, &tensors);
            assert_eq!(call_on(stream, width, &others), OK);
            agrees(&others, &expected, &tensors);
        }
        assert_eq!(with(|state| state.usage().streams), 1 + 1 + 8);
        // SAFETY: as above.
        unsafe {
            assert_eq!((cuGraphLaunch(executable, stream), cuStreamSynchronize(stream)), (0, 0));
            agrees(&layer_arrays, &expected, &tensors);
            assert_eq!((cuGraphExecDestroy(executable), cuGraphDestroy(graph), cuStreamDestroy_v2(stream)), (0, 0, 0));
        }
    });
}

/// Without a current context the device is the first, as it is for the CUDA runtime.
#[test]
fn a_thread_without_a_context_computes_on_the_first_device() {
    alone_and_keeping(Machine::default(), || {
        let caller = Caller::new();
        let (_, tensors, expected) = layer(3);
        let arrays = arrays(&caller, &tensors);
        let pointers = [0, 1, 2, 3, 4, 5].map(|i| arrays[i].pointer().expose_provenance());
        let code = std::thread::spawn(move || {
            let code = call(convt_bn_gap_f32, 3, pointers.map(with_exposed_provenance_mut));
            let mut address = 0;
            // SAFETY: valid for a write.
            assert_eq!(unsafe { cuMemAlloc_v2(&mut address, 4) }, 201, "no context is left current");
            code
        });
        assert_eq!(code.join().unwrap(), OK);
        agrees(&arrays, &expected, &tensors);
        with(|state| state.misuses.clear());
    });
}

#[test]
fn without_a_device_it_says_so() {
    alone(Machine { devices: 0, ..Machine::default() }, || {
        let address = with_exposed_provenance_mut(4096);
        assert_eq!(call(convt_bn_gap_f32, 3, [address; 6]), DEVICE_FAILED);
        assert!(last_error().starts_with("no CUDA device can be used: "), "{}", last_error());
    });
}
