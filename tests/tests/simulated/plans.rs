//! Plans: from host arrays of any strides, on device memory, captured in a graph, timed, of many threads.

use std::ptr::null_mut;
use std::thread;

use convt_bn_gap::cuda::{CudaPlan, DeviceTensors, RawStream};
use convt_bn_gap::draw::Draws;
use convt_bn_gap::{
    Algorithm, AlgorithmChoice, DType, Device, Error, InputError, Mode, Outputs, Plan, PlanOptions, Problem, Tensors,
    f16,
};
use convt_bn_gap_tests::agreement::{agrees, narrow, on_tensor_cores, problem, run, strict, train, with_options};
use simulated_driver::functions::*;
use simulated_driver::{Machine, Usage, with};

use crate::alone::alone;
use crate::caller::{Array, Caller};
use crate::session::{everywhere, smallest};

#[test]
fn tensors_of_any_strides_and_plans_of_many_threads() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        let problem = problem((4, 3, 7, [2, 3, 4], [3, 2, 2]), train());
        let tensors = Draws::usual(&problem, 6).tensors::<f32>(&problem).unwrap();
        let expected = run(&device, &problem, PlanOptions::default(), &tensors);
        let mut inputs = tensors.as_inputs();
        let turned = tensors.input.view().reversed_axes().as_standard_layout().into_owned();
        inputs.input = turned.view().reversed_axes();
        let doubled: Vec<f32> = tensors.bn_weight.iter().flatten().flat_map(|&v| [v, f32::NAN]).collect();
        inputs.bn_weight = Some(ndarray::ArrayView1::from(&doubled).slice_move(ndarray::s![..;2]));
        let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
        assert_eq!(plan.run(&inputs).unwrap(), expected);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
                    for _ in 0..2 {
                        assert_eq!(plan.run(&tensors.as_inputs()).unwrap(), expected);
                    }
                });
            }
        });
    });
}

#[test]
fn the_direct_way_takes_every_option_and_the_spectral_one_all_but_padding() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        for (seed, problem) in with_options(train()).into_iter().take(5).enumerate() {
            let tensors = Draws::usual(&problem, seed as u64).tensors::<f32>(&problem).unwrap();
            agrees(&device, &problem, strict(), &tensors, 1e-6);
            narrow(&device, &problem, PlanOptions::default(), seed as u64, 1e-5);
            let spectral =
                PlanOptions { algorithm: AlgorithmChoice::Force(Algorithm::Spectral), ..PlanOptions::default() };
            match Plan::<f32>::new(&problem, &device, spectral) {
                Ok(_) => assert_eq!(problem.convolution().padding, [0; 3]),
                Err(refused) => assert!(refused.to_string().contains("it does not take padding = 1,0,2"), "{refused}"),
            }
        }
    });
}

/// Strides that the CUDA cores would multiply zeros for.
#[test]
fn what_is_less_work_on_tensor_cores_goes_there() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        let direct = PlanOptions { algorithm: AlgorithmChoice::Force(Algorithm::Direct), ..PlanOptions::default() };
        for (seed, problem) in [on_tensor_cores(1, train()), on_tensor_cores(3, train())].into_iter().enumerate() {
            let plan = Plan::<f32>::new(&problem, &device, direct).unwrap();
            let bundle = plan.recipe().cuda.unwrap().tensor().map(|tensor| tensor.conv.bundle);
            assert_eq!(bundle, Some([1, 3][seed]), "{problem:?}");
            let tensors = Draws::usual(&problem, seed as u64).tensors::<f32>(&problem).unwrap();
            agrees(&device, &problem, direct, &tensors, 1e-6);
            narrow(&device, &problem, direct, seed as u64, 1e-5);
        }
    });
}

#[test]
fn refusals_leave_the_plan_usable() {
    alone(Machine::default(), || {
        let (small, tensors) = smallest();
        let device = Device::cuda(0).unwrap();
        let mut plan = Plan::new(&small, &device, PlanOptions::default()).unwrap();
        let expected = plan.run(&tensors.as_inputs()).unwrap();
        let mut wrong = tensors.as_inputs();
        wrong.running_mean = None;
        assert!(matches!(plan.run(&wrong), Err(Error::Input(_))));
        let huge = problem((1 << 20, 1, 1 << 6, [1, 1, 1], [1, 1, 1]), train());
        let refused = Plan::<f32>::new(&huge, &device, PlanOptions::default()).unwrap_err();
        assert!(matches!(refused, Error::Memory { available: Some(_), .. }), "{refused}");
        // Past the recipe, which asks first: a plan made from its parts.
        let refused = CudaPlan::<f32>::new(&huge, PlanOptions::default(), device.gpu().unwrap()).unwrap_err();
        assert!(matches!(refused, Error::Memory { available: Some(_), .. }), "{refused}");
        let reference =
            PlanOptions { algorithm: AlgorithmChoice::Force(Algorithm::Reference), ..PlanOptions::default() };
        assert!(matches!(Plan::<f32>::new(&small, &device, reference), Err(Error::Unsupported { .. })));
        assert_eq!(plan.run(&tensors.as_inputs()).unwrap(), expected);
    });
}

/// The workspace fits and the tensors do not: the first run says so with both numbers.
#[test]
fn tensors_past_the_memory_are_refused_at_the_first_run() {
    alone(Machine { memory: 100_000, ..Machine::default() }, || {
        let problem = problem((2, 300, 1, [1, 1, 64], [1, 1, 1]), train());
        let tensors = Draws::usual(&problem, 1).tensors::<f32>(&problem).unwrap();
        let device = Device::cuda(0).unwrap();
        let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
        let held = with(|state| state.usage());
        for _ in 0..2 {
            let refused = plan.run(&tensors.as_inputs()).unwrap_err();
            let Error::Memory { needed, available: Some(available), .. } = refused else { panic!("{refused}") };
            assert!(needed > available && available < 100_000, "{needed} {available}");
            assert_eq!(with(|state| state.usage()), held);
        }
    });
}

/// A plan on the caller's memory and stream.
pub struct OnDevice<'a> {
    pub plan: Plan<f32>,
    /// In the order of the first of [`DeviceTensors`]' fields.
    pub arrays: [Array<'a>; 8],
    tensors: DeviceTensors,
}

impl<'a> OnDevice<'a> {
    pub fn new(caller: &'a Caller, plan: Plan<f32>, problem: &Problem, tensors: &Tensors<f32>) -> Self {
        let vector = |values: &Option<ndarray::Array1<f32>>| caller.array(values.as_ref().unwrap().as_slice().unwrap());
        let arrays = [
            caller.array(tensors.input.as_slice().unwrap()),
            caller.array(tensors.kernel.as_slice().unwrap()),
            vector(&tensors.conv_bias),
            vector(&tensors.bn_weight),
            vector(&tensors.bn_bias),
            vector(&tensors.running_mean),
            vector(&tensors.running_var),
            caller.array(&vec![f32::NAN; problem.output_elements()]),
        ];
        let [input, kernel, conv_bias, bn_weight, bn_bias, running_mean, running_var, output] =
            std::array::from_fn(|i| arrays[i].address);
        let tensors = DeviceTensors { input, kernel, conv_bias, bn_weight, bn_bias, ..DeviceTensors::default() };
        Self { plan, arrays, tensors: DeviceTensors { running_mean, running_var, output, ..tensors } }
    }

    pub fn run(&mut self, stream: usize) -> Result<(), Error> {
        // SAFETY: arrays of the problem's lengths, which outlive the plan; one stream.
        unsafe { self.plan.run_device(RawStream::from_handle(stream), &self.tensors) }
    }

    pub fn agrees(&self, expected: &Outputs<f32>) {
        assert_eq!(self.arrays[7].read(), expected.output.iter().copied().collect::<Vec<_>>());
        let running = expected.running_var.as_ref().unwrap().iter().map(|&v| v as f32).collect::<Vec<_>>();
        assert_eq!(self.arrays[6].read(), running);
    }
}

#[test]
fn device_memory_is_computed_on_without_allocating_or_waiting() {
    alone(Machine::default(), || {
        let (problem, tensors) = smallest();
        let device = Device::cuda(0).unwrap();
        let expected = run(&device, &problem, PlanOptions::default(), &tensors);
        let caller = Caller::new();
        let plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
        let mut there = OnDevice::new(&caller, plan, &problem, &tensors);
        let before = with(|state| (state.usage(), state.calls.len()));
        there.run(RawStream::DEFAULT.handle()).unwrap();
        let (held, mut calls) = with(|state| (state.usage(), state.calls[before.1..].to_vec()));
        calls.retain(|call| !call.starts_with("cuCtx"));
        assert_eq!((held, calls), (before.0, vec!["cuLaunchKernelEx"; 3]));
        there.agrees(&expected);
        there.tensors.running_var = 0;
        let refused = there.run(0).unwrap_err();
        assert_eq!(refused, Error::Input(InputError::Null { tensor: "running_var" }));
        let mut host = Plan::<f32>::new(&problem, &Device::cpu(), PlanOptions::default()).unwrap();
        // SAFETY: refused before anything is followed.
        let refused = unsafe { host.run_device(RawStream::DEFAULT, &there.tensors) };
        assert!(matches!(refused, Err(Error::Unsupported { option: "tensors", .. })));
    });
}

#[test]
fn a_run_is_captured_in_a_graph_and_replayed_on_other_values() {
    alone(Machine::default(), || {
        let problem = problem((2, 2, 3, [2, 2, 3], [2, 2, 1]), Mode::Eval);
        let tensors = Draws::usual(&problem, 4).tensors::<f32>(&problem).unwrap();
        let device = Device::cuda(0).unwrap();
        let caller = Caller::new();
        let plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
        let mut there = OnDevice::new(&caller, plan, &problem, &tensors);
        let (stream, mut graph, mut executable) = (caller.stream(), 0, 0);
        // SAFETY: handles of this driver; valid for the writes; nothing captured goes before the graph.
        unsafe {
            assert_eq!(cuStreamBeginCapture_v2(stream, 0), 0);
            there.run(stream).unwrap();
            assert!(there.arrays[7].read().iter().all(|y| y.is_nan()), "nothing has run");
            assert_eq!(cuStreamEndCapture(stream, &mut graph), 0);
            assert_eq!(cuGraphInstantiate_v2(&mut executable, graph, null_mut(), null_mut(), 0), 0);
            for factor in [1.0, -3.0] {
                let mut given = tensors.clone();
                given.input.mapv_inplace(|x| factor * x + 0.5);
                there.arrays[0].write(given.input.as_slice().unwrap());
                assert_eq!(cuGraphLaunch(executable, stream), 0);
                assert_eq!(cuStreamSynchronize(stream), 0);
                there.agrees(&run(&device, &problem, PlanOptions::default(), &given));
            }
            assert_eq!((cuGraphExecDestroy(executable), cuGraphDestroy(graph), cuStreamDestroy_v2(stream)), (0, 0, 0));
        }
    });
}

#[test]
fn addresses_that_the_device_cannot_reach_are_named() {
    alone(Machine::default(), || {
        let (problem, tensors) = smallest();
        let device = Device::cuda(0).unwrap();
        let plan = CudaPlan::<f32>::new(&problem, PlanOptions::default(), device.gpu().unwrap()).unwrap();
        assert_eq!(plan.staging_bytes(), 4 * (12 + 4 + 5 * 2) + 8 * 4);
        let caller = Caller::new();
        let array = caller.array(&[0.0; 64]);
        let reachable = everywhere(array.address);
        plan.check_reachable(&reachable).unwrap();
        plan.check_reachable(&DeviceTensors { bn_bias: 0, ..reachable }).unwrap();
        let host = tensors.input.as_ptr().expose_provenance() as u64;
        let refused = [
            ("bn_weight", DeviceTensors { bn_weight: host, ..reachable }, "cannot reach"),
            ("kernel", DeviceTensors { kernel: array.address + 2, ..reachable }, "a multiple of 4"),
            ("batch_var", DeviceTensors { batch_var: array.address + 4, ..reachable }, "a multiple of 8"),
            ("output", DeviceTensors { output: 0, ..reachable }, "a null pointer"),
            ("running_mean", DeviceTensors { running_mean: 0, ..reachable }, "a null pointer"),
        ];
        for (name, tensors, words) in refused {
            let refused = plan.check_reachable(&tensors).unwrap_err();
            assert!(matches!(refused, Error::Input(_)) && refused.to_string().starts_with(name), "{refused}");
            assert!(refused.to_string().contains(words), "{refused}");
        }
        let plan = CudaPlan::<f16>::new(&problem, PlanOptions::default(), device.gpu().unwrap()).unwrap();
        assert_eq!(plan.staging_bytes(), 2 * (12 + 4 + 2) + 4 * (4 * 2) + 8 * 4);
        let halfway = array.address + 2;
        plan.check_reachable(&DeviceTensors { input: halfway, kernel: halfway, output: halfway, ..reachable }).unwrap();
        for (name, tensors, words) in [
            ("conv_bias", DeviceTensors { conv_bias: array.address + 1, ..reachable }, "a multiple of 2"),
            ("bn_weight", DeviceTensors { bn_weight: halfway, ..reachable }, "a multiple of 4"),
            (
                "output",
                DeviceTensors { output: halfway, output_dtype: Some(DType::F32), ..reachable },
                "a multiple of 4",
            ),
        ] {
            let refused = plan.check_reachable(&tensors).unwrap_err();
            assert!(matches!(refused, Error::Input(_)) && refused.to_string().starts_with(name), "{refused}");
            assert!(refused.to_string().contains(words), "{refused}");
        }
    });
}

#[test]
fn a_plan_is_timed_stage_by_stage() {
    alone(Machine { memory: 1 << 20, ..Machine::default() }, || {
        let (problem, tensors) = smallest();
        let device = Device::cuda(0).unwrap();
        let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
        let measured = plan.measure_on_device(&tensors.as_inputs(), 3).unwrap().unwrap();
        let names: Vec<_> = measured.stages.iter().map(|stage| stage.name).collect();
        assert_eq!(names, ["conv_transpose_moments", "batch_norm_reduce", "pool_finish"]);
        assert!(measured.bandwidth > 0.0 && measured.bandwidth.is_finite());
        assert_eq!(measured.runs_ms.len(), 3);
        for run in 0..3 {
            let stages: f64 = measured.stages.iter().map(|stage| stage.runs_ms[run]).sum();
            assert!(stages > 0.0 && stages <= measured.runs_ms[run] * 1.001, "{measured:?}");
        }
        drop((plan, device));
        assert_eq!(with(|state| state.usage()), Usage::NOTHING);
    });
}
