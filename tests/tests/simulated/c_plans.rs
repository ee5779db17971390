//! Plans of the C ABI on a CUDA device: their buffers move once a run, in every format; what is not possible is refused by name.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use convt_bn_gap::capi::*;
use convt_bn_gap::draw::Draws;
use convt_bn_gap::{
    Device, Inputs, KernelShape, Mode, Momentum, Plan, PlanOptions, Problem, RunningStatistics, Shape5, Storage, bf16,
    check, f16,
};
use ndarray::{Array1, Array5};
use simulated_driver::Machine;
use simulated_driver::functions::*;

use crate::alone::alone;
use crate::caller::Caller;

const SHAPE: ConvtBnGapShape = ConvtBnGapShape {
    batch_size: 3,
    in_channels: 2,
    out_channels: 4,
    depth: 2,
    height: 3,
    width: 4,
    kernel_d: 1,
    kernel_h: 2,
    kernel_w: 3,
};

/// PyTorch's defaults, with running statistics and cumulative momentum.
fn options() -> ConvtBnGapOptions {
    let mut options = MaybeUninit::uninit();
    // SAFETY: valid for a write, which this call does.
    let options = unsafe {
        assert_eq!(convt_bn_gap_options_init(options.as_mut_ptr()), CONVT_BN_GAP_OK);
        options.assume_init()
    };
    ConvtBnGapOptions { running_statistics: 1, cumulative_momentum: 1, ..options }
}

fn create(options: &ConvtBnGapOptions) -> (i32, *mut ConvtBnGapPlan, String) {
    let mut plan = null_mut();
    // SAFETY: valid structs, and a place for the plan.
    let code = unsafe { convt_bn_gap_plan_create(&SHAPE, options, &mut plan) };
    (code, plan, last_error())
}

fn last_error() -> String {
    // SAFETY: a string of C, of this thread, read before the next call.
    unsafe { CStr::from_ptr(convt_bn_gap_last_error()) }.to_str().unwrap().to_owned()
}

#[test]
fn buffers_move_once_a_run() {
    alone(Machine::default(), || {
        let caller = Caller::new();
        let input = Shape5 { batch: 3, channels: 2, depth: 2, height: 3, width: 4 };
        let kernel = KernelShape { in_channels: 2, out_channels: 4, depth: 1, height: 2, width: 3 };
        let momentum = Momentum::Cumulative { num_batches_tracked: 0 };
        let builder = Problem::builder(input, kernel).running_statistics(true).mode(Mode::Train { momentum });
        let problem = builder.build().unwrap();
        let tensors = Draws::usual(&problem, 5).tensors::<f32>(&problem).unwrap();
        let mut running = RunningStatistics::<f64>::new(4);
        let mut reference = Plan::new(&problem, &Device::reference(), PlanOptions::default()).unwrap();
        let wide = tensors.as_inputs().to_f64().unwrap();
        let inputs = Inputs { running_mean: None, running_var: None, ..wide.as_inputs() };

        let vector = |values: &Option<ndarray::Array1<f32>>| caller.array(values.as_ref().unwrap().as_slice().unwrap());
        let x = caller.array(tensors.input.as_slice().unwrap());
        let w = caller.array(tensors.kernel.as_slice().unwrap());
        let vectors = [&tensors.conv_bias, &tensors.bn_weight, &tensors.bn_bias].map(vector);
        let (mean, var, out) = (caller.array(&[0.0; 4]), caller.array(&[1.0; 4]), caller.array(&[f32::NAN; 12]));
        let mut tracked = 0;
        let of = ConvtBnGapTensors {
            version: CONVT_BN_GAP_OPTIONS_VERSION,
            input: x.pointer().cast(),
            kernel: w.pointer().cast(),
            conv_bias: vectors[0].pointer().cast(),
            bn_weight: vectors[1].pointer().cast(),
            bn_bias: vectors[2].pointer().cast(),
            running_mean: mean.pointer().cast(),
            running_var: var.pointer().cast(),
            num_batches_tracked: &mut tracked,
            output: out.pointer().cast(),
            batch_mean: null_mut(),
            batch_var: null_mut(),
        };
        let (code, plan, sentence) = create(&options());
        assert_eq!((code, sentence), (CONVT_BN_GAP_OK, String::new()));
        for step in 1..=2 {
            // SAFETY: a plan, and tensors of its shape on the device; the default stream.
            let code = unsafe { convt_bn_gap_plan_run(plan, &of, null_mut()) };
            assert_eq!((code, last_error()), (CONVT_BN_GAP_OK, String::new()));
            // SAFETY: handle 0 is the default stream.
            assert_eq!(unsafe { cuStreamSynchronize(0) }, 0);
            let expected = reference.run_updating(&inputs, &mut running).unwrap();
            // SAFETY: written by the call above alone.
            assert_eq!(unsafe { of.num_batches_tracked.read() }, step);
            for (found, expected) in [
                (mean.read(), running.mean.to_vec()),
                (var.read(), running.var.to_vec()),
                (out.read(), expected.output.iter().copied().collect()),
            ] {
                for (found, expected) in found.iter().zip(expected) {
                    assert!(
                        (f64::from(*found) - expected).abs() < 1e-5 * expected.abs().max(0.1),
                        "{found} {expected}"
                    );
                }
            }
        }
        let before = mean.read();
        let mut host = [0.0f64; 100];
        for (refused, words) in [
            (ConvtBnGapTensors { input: host.as_mut_ptr().cast(), ..of }, "which the device cannot reach"),
            (ConvtBnGapTensors { output: null_mut(), ..of }, "output is a null pointer; it must be given"),
            (ConvtBnGapTensors { running_var: null_mut(), ..of }, "running_var is a null pointer; it must be given"),
            (ConvtBnGapTensors { bn_bias: of.bn_weight.wrapping_byte_add(2), ..of }, "; it must be at a multiple of 4"),
            (ConvtBnGapTensors { batch_var: host.as_mut_ptr().cast(), ..of }, "which the device cannot reach"),
        ] {
            // SAFETY: what is wrong of the tensors is refused before it is followed.
            let code = unsafe { convt_bn_gap_plan_run(plan, &refused, null_mut()) };
            assert_eq!(code, CONVT_BN_GAP_BAD_INPUT);
            assert!(last_error().contains(words), "{}", last_error());
        }
        // SAFETY: as above.
        assert_eq!((unsafe { of.num_batches_tracked.read() }, mean.read()), (2, before));
        // SAFETY: made above, destroyed once.
        unsafe { convt_bn_gap_plan_destroy(plan) };
    });
}

/// The shape's problem in training, without running statistics, from C; with the batch's statistics.
fn computes<T: Storage>(caller: &Caller, dtype: u32, algorithm: u32, in_f32: bool) {
    let input = Shape5 { batch: 3, channels: 2, depth: 2, height: 3, width: 4 };
    let kernel = KernelShape { in_channels: 2, out_channels: 4, depth: 1, height: 2, width: 3 };
    let problem = Problem::builder(input, kernel).build().unwrap();
    let tensors = Draws::usual(&problem, 9).tensors::<T>(&problem).unwrap();
    let wide = tensors.as_inputs().to_f64().unwrap();
    let expected = convt_bn_gap::reference::run(&problem, &wide.as_inputs(), None, None).unwrap();
    let output_dtype = if in_f32 { CONVT_BN_GAP_OUTPUT_F32 } else { CONVT_BN_GAP_OUTPUT_AS_INPUT };
    let with = ConvtBnGapOptions { dtype, algorithm, output_dtype, ..options() };
    let (code, plan, sentence) = create(&ConvtBnGapOptions { running_statistics: 0, cumulative_momentum: 0, ..with });
    assert_eq!((code, sentence), (CONVT_BN_GAP_OK, String::new()));

    let x = caller.array_of(tensors.input.as_slice().unwrap());
    let w = caller.array_of(tensors.kernel.as_slice().unwrap());
    let bias = caller.array_of(tensors.conv_bias.as_ref().unwrap().as_slice().unwrap());
    let vector =
        |values: &Option<ndarray::Array1<T::Wide>>| caller.array_of(values.as_ref().unwrap().as_slice().unwrap());
    let (weight, beta) = (vector(&tensors.bn_weight), vector(&tensors.bn_bias));
    let (own, single) = (caller.array_of(&[T::default(); 12]), caller.array_of(&[0f32; 12]));
    let statistics = [caller.array_of(&[f64::NAN; 4]), caller.array_of(&[f64::NAN; 4])];
    let of = ConvtBnGapTensors {
        version: CONVT_BN_GAP_OPTIONS_VERSION,
        input: x.pointer().cast(),
        kernel: w.pointer().cast(),
        conv_bias: bias.pointer().cast(),
        bn_weight: weight.pointer().cast(),
        bn_bias: beta.pointer().cast(),
        running_mean: null_mut(),
        running_var: null_mut(),
        num_batches_tracked: null_mut(),
        output: if in_f32 { single.pointer().cast() } else { own.pointer().cast() },
        batch_mean: statistics[0].pointer(),
        batch_var: statistics[1].pointer(),
    };
    // SAFETY: a plan, and tensors of its shape and types on the device; the default stream; the plan is destroyed once.
    unsafe {
        assert_eq!((convt_bn_gap_plan_run(plan, &of, null_mut()), last_error()), (CONVT_BN_GAP_OK, String::new()));
        assert_eq!(cuStreamSynchronize(0), 0);
        convt_bn_gap_plan_destroy(plan);
    }
    let shape = expected.output.raw_dim();
    let error = if in_f32 {
        let found = Array5::from_shape_vec(shape, single.read()).unwrap();
        let beta = tensors.bn_bias.as_ref().unwrap().mapv(|beta| Storage::to_f64(beta) as f32);
        check::output_error(found.view(), expected.output.view(), Some(beta.view())).unwrap()
    } else {
        let found = Array5::from_shape_vec(shape, own.read()).unwrap();
        check::output_error(found.view(), expected.output.view(), tensors.as_inputs().bn_bias).unwrap()
    };
    assert!(error.passes(1e-5), "{dtype} {algorithm} {in_f32}: {error:?}");
    for (found, expected) in statistics.iter().zip([expected.batch_mean.unwrap(), expected.batch_var.unwrap()]) {
        let error = check::statistic_error("a statistic", Array1::from(found.read()).view(), expected.view()).unwrap();
        assert!(error <= 1e-5, "{dtype} {algorithm}: {error:e}");
    }
}

#[test]
fn every_format_with_its_output_in_either() {
    alone(Machine::default(), || {
        let caller = Caller::new();
        let (direct, spectral) = (CONVT_BN_GAP_ALGORITHM_DIRECT, CONVT_BN_GAP_ALGORITHM_SPECTRAL);
        for in_f32 in [false, true] {
            for algorithm in [direct, spectral] {
                computes::<f16>(&caller, CONVT_BN_GAP_F16, algorithm, in_f32);
                computes::<bf16>(&caller, CONVT_BN_GAP_BF16, algorithm, in_f32);
                computes::<f32>(&caller, CONVT_BN_GAP_F32, algorithm, in_f32);
            }
            computes::<f64>(&caller, CONVT_BN_GAP_F64, direct, in_f32);
        }
    });
}

#[test]
fn what_is_not_possible_is_refused_by_name() {
    alone(Machine::default(), || {
        let plain = options();
        for (refused, words) in [
            (
                ConvtBnGapOptions { dtype: CONVT_BN_GAP_F64, algorithm: CONVT_BN_GAP_ALGORITHM_SPECTRAL, ..plain },
                "it computes in f32, and the elements are f64",
            ),
            (
                ConvtBnGapOptions { algorithm: CONVT_BN_GAP_ALGORITHM_REFERENCE, ..plain },
                "algorithm = reference is not supported on the cuda device",
            ),
        ] {
            let (code, plan, sentence) = create(&refused);
            assert_eq!((code, plan), (CONVT_BN_GAP_BAD_INPUT, null_mut()), "{sentence}");
            assert!(sentence.contains(words), "{sentence:?} does not say {words:?}");
        }
        let absent = ConvtBnGapOptions { device_ordinal: 7, ..plain };
        let (code, plan, sentence) = create(&absent);
        assert_eq!((code, plan), (CONVT_BN_GAP_DEVICE_FAILED, null_mut()), "{sentence}");
    });
}
