//! What keeps a driver from being bound at all, and what does not.

use convt_bn_gap::{Backend, Device, Error, Plan, PlanOptions, Unavailable};
use cuda_loader::Unavailable as Reason;
use simulated_driver::{Fault, Machine, with};

use crate::alone::alone;
use crate::session::smallest;

/// Why `auto` computes on the CPU and `cuda` refuses; the CPU then works.
#[track_caller]
fn reason() -> Reason {
    let auto = Device::auto().expect("the CPU is always there");
    assert_eq!(auto.backend(), Backend::Cpu);
    let (problem, tensors) = smallest();
    Plan::new(&problem, &auto, PlanOptions::default()).unwrap().run(&tensors.as_inputs()).unwrap();
    let Error::Unavailable(Unavailable::Driver(reason)) = Device::cuda(0).unwrap_err() else { panic!("{auto:?}") };
    assert_eq!(auto.fallback(), Some(&Unavailable::Driver(reason.clone())));
    reason
}

#[test]
fn no_device() {
    alone(Machine { devices: 0, ..Machine::default() }, || assert_eq!(reason(), Reason::NoDevice));
}

#[test]
fn a_driver_too_old() {
    alone(Machine { driver: (11, 3), ..Machine::default() }, || {
        let Reason::DriverTooOld { found, needed, .. } = reason() else { panic!("{}", reason()) };
        assert_eq!((found, needed), ((11, 3), (11, 4)));
    });
}

#[test]
fn an_essential_function_that_is_missing() {
    alone(Machine { missing: vec!["cuLaunchKernel", "cuMemAlloc_v2"], ..Machine::default() }, || {
        let Reason::MissingSymbol { mut names, .. } = reason() else { panic!("{}", reason()) };
        names.sort_unstable();
        assert_eq!(names, ["cuLaunchKernel", "cuMemAlloc_v2"]);
    });
}

/// The driver is bound; the call that needs the function says that it is not there, and the device is given back.
#[test]
fn another_function_that_is_missing() {
    let missing = vec!["cuStreamCreateWithPriority", "cuEventCreate"];
    alone(Machine { missing, ..Machine::default() }, || {
        let lacks = cuda_loader::load().unwrap().missing_symbols();
        assert!(lacks.contains(&"cuEventCreate") && lacks.contains(&"cuStreamCreateWithPriority"));
        let (problem, _) = smallest();
        let device = Device::cuda(0).unwrap();
        let refused = Plan::<f32>::new(&problem, &device, PlanOptions::default()).unwrap_err();
        let words = "creating a stream failed: cuStreamCreateWithPriority returned CUDA_ERROR_NOT_FOUND (500)";
        assert_eq!(refused.to_string(), words);
    });
}

#[test]
fn a_driver_that_does_not_start() {
    alone(Machine { faults: vec![Fault::of("cuInit", 1, 999)], ..Machine::default() }, || {
        let reason = reason();
        assert!(matches!(reason, Reason::InitFailed { entry: "cuInit", code: 999, .. }), "{reason}");
    });
}

#[test]
fn a_library_that_does_not_fit_the_kernels_driver() {
    alone(Machine { faults: vec![Fault::of("cuInit", 1, 803)], ..Machine::default() }, || {
        let reason = reason();
        assert!(matches!(reason, Reason::DriverMismatch { code: 803, .. }), "{reason}");
    });
}

#[test]
fn a_driver_that_cannot_count_its_devices() {
    alone(Machine { faults: vec![Fault::of("cuDeviceGetCount", 1, 46)], ..Machine::default() }, || {
        let reason = reason();
        assert!(matches!(reason, Reason::InitFailed { entry: "cuDeviceGetCount", code: 46, .. }), "{reason}");
        assert_eq!(with(|state| state.calls.clone()), ["cuInit", "cuDriverGetVersion", "cuDeviceGetCount"]);
    });
}
