//! Everything that the host does with a device, on one small problem: what the faults are tried on.

use convt_bn_gap::cuda::{CudaDevice, DeviceTensors, RawStream, devices};
use convt_bn_gap::draw::Draws;
use convt_bn_gap::{
    Algorithm, AlgorithmChoice, Device, Error, InputError, Outputs, Plan, PlanOptions, Problem, Tensors,
};
use convt_bn_gap_tests::agreement::{problem, train};

/// The handle of the thread's own default stream.
const PER_THREAD: usize = 2;

/// A problem of one tile, and its tensors.
pub fn smallest() -> (Problem, Tensors<f32>) {
    let problem = problem((2, 1, 2, [1, 2, 3], [1, 2, 1]), train());
    let tensors = Draws::usual(&problem, 3).tensors(&problem).unwrap();
    (problem, tensors)
}

/// Lists the devices, opens one, makes a plan, runs it twice, asks about addresses and a stream, and drops
/// all of it.
pub fn whole(problem: &Problem, tensors: &Tensors<f32>, options: PlanOptions) -> Result<Outputs<f32>, Error> {
    devices()?;
    CudaDevice::current_ordinal()?;
    let device = Device::cuda(0)?;
    let mut plan = Plan::new(problem, &device, options)?;
    plan.run(&tensors.as_inputs())?;
    let gpu = device.gpu().expect("a CUDA device");
    let raw = convt_bn_gap::cuda::CudaPlan::<f32>::new(problem, options, gpu)?;
    match raw.check_reachable(&everywhere(tensors.input.as_ptr().expose_provenance() as u64)) {
        // Host memory is refused, which ends the question at the first address.
        Err(Error::Input(InputError::Unreachable { tensor: "input", .. })) => {}
        Err(error) => return Err(error),
        Ok(()) => panic!("host memory is not the device's"),
    }
    // SAFETY: every context has that stream.
    assert!(!unsafe { RawStream::from_handle(PER_THREAD).is_captured(gpu) }?);
    plan.run(&tensors.as_inputs())
}

/// The direct way, which is what so small a problem gets, and the spectral one.
pub fn both_ways() -> [PlanOptions; 2] {
    [Algorithm::Direct, Algorithm::Spectral]
        .map(|way| PlanOptions { algorithm: AlgorithmChoice::Force(way), ..PlanOptions::default() })
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
        output_dtype: None,
        batch_mean: address,
        batch_var: address,
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
