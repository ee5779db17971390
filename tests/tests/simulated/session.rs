//! Everything that the host does with a device, on one small problem: what the faults are tried on.

use convt_bn_gap::cuda::{CudaDevice, DeviceTensors, devices};
use convt_bn_gap::draw::Draws;
use convt_bn_gap::{Device, Error, Outputs, Plan, PlanOptions, Precision, Problem, Tensors};
use convt_bn_gap_tests::agreement::{problem, train};

/// A problem of one tile, and its tensors.
pub fn smallest() -> (Problem, Tensors<f32>) {
    let problem = problem((2, 1, 2, [1, 2, 3], [1, 2, 1]), train());
    let tensors = Draws::usual(&problem, 3).tensors(&problem).unwrap();
    (problem, tensors)
}

/// Lists the devices, opens one, makes a plan, runs it twice, asks about addresses, and drops all of it.
pub fn whole(problem: &Problem, tensors: &Tensors<f32>) -> Result<Outputs<f32>, Error> {
    devices()?;
    CudaDevice::current_ordinal()?;
    let device = Device::cuda(0)?;
    let mut plan = Plan::new(problem, &device, PlanOptions::default())?;
    plan.run(&tensors.as_inputs())?;
    let gpu = device.gpu().expect("a CUDA device");
    let raw = convt_bn_gap::cuda::CudaPlan::<f32>::new(problem, Precision::Default, gpu)?;
    match raw.check_reachable(&everywhere(tensors.input.as_ptr().expose_provenance() as u64)) {
        // Host memory is refused, which ends the question at the first address.
        Err(Error::Cuda(convt_bn_gap::cuda::CudaError::Argument { what: "input", .. })) => {}
        Err(error) => return Err(error),
        Ok(()) => panic!("host memory is not the device's"),
    }
    plan.run(&tensors.as_inputs())
}

/// The same address for every tensor.
pub fn everywhere(address: u64) -> DeviceTensors {
    DeviceTensors {
        input: address,
        kernel: address,
        conv_bias: address,
        bn_weight: address,
        bn_bias: address,
        running_mean: address,
        running_var: address,
        output: address,
    }
}

/// The code of the driver that an error holds.
pub fn code_of(error: &Error) -> Option<u32> {
    use convt_bn_gap::cuda::CudaError;
    match error {
        Error::Cuda(CudaError::Call { code, .. } | CudaError::Module { code, .. }) => Some(*code),
        _ => None,
    }
}
