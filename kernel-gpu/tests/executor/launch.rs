//! Each kernel launched by its entry, under a schedule, over outputs that hold NaN: what it leaves is what it wrote.

use cuda_std::float::Float;
use cuda_std::global::{Global, GlobalMut};
use cuda_std::simt::{Grid, Memory, Schedule};
use kernel_gpu::batch_norm_reduce::{self, BatchNormReduce, ROWS_A_BLOCK};
use kernel_gpu::conv_transpose_moments::{ConvTransposeMoments, Form};
use kernel_gpu::element::{ElementType, Tensor, Value};
use kernel_gpu::entries;
use kernel_gpu::infinities::Operands;
use kernel_gpu::pool_finish::{self, PoolFinish};
use kernel_gpu::tile::POSITIONS;
use kernel_gpu::work::Work;

use crate::case::{Case, Normalize};
use crate::tensors::{Output, tensor};

/// Mean and M2, of slices or rows.
pub type Moments = (Vec<f64>, Vec<f64>);

/// The tensors of Cout elements.
pub struct Channels<T> {
    pub conv_bias: Vec<T>,
    pub gamma: Vec<T>,
    pub beta: Vec<T>,
    pub running_mean: Vec<T>,
    pub running_var: Vec<T>,
}

impl<T: Float> Channels<T> {
    pub fn of(case: &Case) -> Self {
        let draw = |stream, range| case.draw(stream, case.shape.out_channels as usize, range);
        Self {
            conv_bias: case.draw_stored(2, case.shape.out_channels as usize, (-1.0, 1.0)),
            gamma: draw(3, (0.5, 1.5)),
            beta: draw(4, (-1.0, 1.0)),
            running_mean: draw(5, (-1.0, 1.0)),
            running_var: draw(6, (0.5, 2.0)),
        }
    }

    pub fn wide(&self) -> Channels<f64> {
        let wide = |values: &[T]| values.iter().map(|value| value.to_f64()).collect();
        Channels {
            conv_bias: wide(&self.conv_bias),
            gamma: wide(&self.gamma),
            beta: wide(&self.beta),
            running_mean: wide(&self.running_mean),
            running_var: wide(&self.running_var),
        }
    }
}

/// Launches the entry of that name; it must run clean.
pub fn launch<P>(name: &str, blocks: u64, schedule: Schedule, case: &Case, memory: &Memory, parameters: &P) {
    launch_on(|grid| grid, name, blocks, schedule, case, memory, parameters);
}

/// The same on a device that the grid is told of.
pub fn launch_on<P>(
    device: impl Fn(Grid) -> Grid,
    name: &str,
    blocks: u64,
    schedule: Schedule,
    case: &Case,
    memory: &Memory,
    parameters: &P,
) {
    let entry = entries::find(name).unwrap_or_else(|| panic!("no entry {name}"));
    assert_eq!(entry.parameter_bytes, size_of::<P>());
    let blocks = blocks.min(u64::from(case.blocks)) as u32;
    // SAFETY: the parameters are of the entry's type: their sizes agree, and each caller below names the right one. What
    // they point at is checked access by access.
    let kernel = || unsafe { (entry.run)(std::ptr::from_ref(parameters).cast()) };
    let report = device(Grid::of(entry.spec, blocks)).schedule(schedule).run(memory, kernel);
    assert!(report.is_clean(), "{name} on {}, {schedule:?}, {case:?}:\n{report}", case.name);
}

/// `conv_transpose_moments` in this form: the moments of each (b, c, slice).
pub fn conv_transpose_moments<T: Value>(form: Form, schedule: Schedule, case: &Case, x: &[T], w: &[T]) -> Moments {
    conv_transpose_moments_said(form, schedule, case, (x, w), case.element::<T>())
}

/// The same, where the tensors are said to be of that format.
pub fn conv_transpose_moments_said<T: Value>(
    form: Form,
    schedule: Schedule,
    case: &Case,
    (x, w): (&[T], &[T]),
    said: ElementType,
) -> Moments {
    let work = case.work(form.tile.channels());
    let empty = vec![f64::NAN; case.rows() * work.slices as usize];
    let mut memory = Memory::new();
    let element = case.element::<T>();
    let [input, kernel] =
        [("input", x), ("kernel", w)].map(|(name, values)| tensor(&mut memory, name, values, element));
    let (mean, m2) = (memory.buffer("mean", &empty), memory.buffer("m2", &empty));
    let parameters = ConvTransposeMoments::<T> {
        input: Tensor::new(input.address(), said),
        kernel: Tensor::new(kernel.address(), said),
        mean: mean.global_mut(),
        m2: m2.global_mut(),
        scale: case.scale,
        shape: case.shape,
        work,
        options: case.options,
    };
    launch(form.spec.name, work.items(), schedule, case, &memory, &parameters);
    (memory.read(&mean), memory.read(&m2))
}

/// `batch_norm_reduce`: the moments of each (b, c) from those of its slices.
pub fn batch_norm_reduce(work: Work, schedule: Schedule, case: &Case, slices: &Moments) -> Moments {
    let empty = vec![f64::NAN; case.rows()];
    let mut memory = Memory::new();
    let (slice_mean, slice_m2) = (memory.buffer("slice_mean", &slices.0), memory.buffer("slice_m2", &slices.1));
    let (mean, m2) = (memory.buffer("mean", &empty), memory.buffer("m2", &empty));
    let rows = case.rows() as u64;
    let parameters = BatchNormReduce {
        slice_mean: slice_mean.global(),
        slice_m2: slice_m2.global(),
        mean: mean.global_mut(),
        m2: m2.global_mut(),
        rows,
        positions: case.options.positions(),
        tile_positions: u64::from(POSITIONS),
        work,
    };
    launch(batch_norm_reduce::SPEC.name, rows.div_ceil(ROWS_A_BLOCK), schedule, case, &memory, &parameters);
    (memory.read(&mean), memory.read(&m2))
}

/// What `pool_finish` writes, widened.
#[derive(Debug)]
pub struct Finished {
    pub output: Vec<f64>,
    pub batch_mean: Vec<f64>,
    pub batch_var: Vec<f64>,
    pub running_mean: Vec<f64>,
    pub running_var: Vec<f64>,
}

/// `pool_finish` for `T`, with an output in that format.
pub fn pool_finish<T: Value>(
    schedule: Schedule,
    case: &Case,
    rows: &Moments,
    channels: &Channels<T>,
    stored: ElementType,
) -> Finished {
    let cout = case.shape.out_channels as usize;
    let mut memory = Memory::new();
    let (mean, m2) = (memory.buffer("mean", &rows.0), memory.buffer("m2", &rows.1));
    let conv_bias = tensor(&mut memory, "conv_bias", &channels.conv_bias, case.element::<T>());
    let [gamma, beta, running_mean, running_var] = [
        ("bn_weight", &channels.gamma),
        ("bn_bias", &channels.beta),
        ("running_mean", &channels.running_mean),
        ("running_var", &channels.running_var),
    ]
    .map(|(name, values)| memory.buffer(name, values));
    let (output, to) = Output::new(&mut memory, case.rows(), stored);
    let batch_mean = memory.buffer("batch_mean", &vec![f64::NAN; cout]);
    let batch_var = memory.buffer("batch_var", &vec![f64::NAN; cout]);
    // Read only where a mean is not finite.
    let nothing = Tensor::new(0, case.element::<T>());
    let affine = case.normalize != Normalize::NoAffine;
    let running = case.normalize != Normalize::NoRunning;
    let parameters = PoolFinish::<T> {
        mean: mean.global_mut(),
        m2: m2.global(),
        operands: Operands { input: nothing, kernel: nothing, shape: case.shape, options: case.options },
        conv_bias,
        bn_weight: if affine { gamma.global() } else { Global::null() },
        bn_bias: if affine { beta.global() } else { Global::null() },
        running_mean: if running { running_mean.global_mut() } else { GlobalMut::null() },
        running_var: if running { running_var.global_mut() } else { GlobalMut::null() },
        output: to,
        batch_mean: batch_mean.global_mut(),
        batch_var: batch_var.global_mut(),
        positions: case.options.positions(),
        scale: case.scale,
        eps: case.eps,
        factor: case.factor,
        batch: case.shape.batch,
        channels: case.shape.out_channels,
        normalize_by_running: u32::from(case.normalize == Normalize::Eval),
        update_running: u32::from(matches!(case.normalize, Normalize::Train | Normalize::NoAffine)),
    };
    let spec = if T::BYTES == 4 { pool_finish::SPEC_F32 } else { pool_finish::SPEC_F64 };
    launch(spec.name, cout as u64, schedule, case, &memory, &parameters);
    let wide = |values: Vec<T>| values.into_iter().map(Float::to_f64).collect();
    Finished {
        output: output.read(&memory, stored),
        batch_mean: memory.read(&batch_mean),
        batch_var: memory.read(&batch_var),
        running_mean: wide(memory.read(&running_mean)),
        running_var: wide(memory.read(&running_var)),
    }
}
