//! The cases: a call's extents and options, and the values it is given.

use cuda_std::float::Float;
use kernel_gpu::conv_shape::{ConvOptions, ConvShape};
use kernel_gpu::element::ElementType;
use kernel_gpu::tile::POSITIONS;
use kernel_gpu::work::Work;

use crate::tensors;

/// Which of the optional tensors and modes a call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalize {
    /// Training, with γ, β and running statistics.
    Train,
    /// Training without γ and β.
    NoAffine,
    /// Training without running statistics.
    NoRunning,
    /// By the running statistics.
    Eval,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: &'static str,
    pub shape: ConvShape,
    pub options: ConvOptions,
    /// The range that x is drawn from.
    pub values: (f64, f64),
    pub scale: f64,
    pub eps: f64,
    pub factor: f64,
    pub normalize: Normalize,
    /// See [`Work::split`].
    pub max_items: u64,
    /// Blocks of every launch, at most; the kernels deal their items round robin.
    pub blocks: u32,
    pub seed: u64,
    /// What x, w, conv_bias and the output are stored in; as they are computed in where none is said.
    pub element: Option<ElementType>,
}

impl Case {
    /// Scale 2, x in [−1, 1), training, one tile a slice, a block an item.
    pub const fn new(name: &'static str, extents: [u32; 3], input: [u32; 3], kernel: [u32; 3]) -> Self {
        let [batch, in_channels, out_channels] = extents;
        let shape = ConvShape { batch, in_channels, out_channels, input, kernel };
        let (values, max_items, blocks) = ((-1.0, 1.0), 16_384, u32::MAX);
        let (scale, eps, factor, normalize) = (2.0, 1e-5, 0.1, Normalize::Train);
        let options = ConvOptions::none(&shape);
        Self { name, shape, options, values, scale, eps, factor, normalize, max_items, blocks, seed: 1, element: None }
    }

    /// With these options of each axis, and groups; the output as long as the last tap of the last element reaches, less the
    /// padding in front and `cut` positions behind.
    pub fn with(self, stride: [u32; 3], padding: [u32; 3], dilation: [u32; 3], cut: [i32; 3], groups: u32) -> Self {
        let ConvShape { input, kernel, .. } = self.shape;
        let reach = |a: usize| (input[a] - 1) * stride[a] + (kernel[a] - 1) * dilation[a] + 1;
        let output = [0, 1, 2].map(|a| (reach(a) - padding[a]).checked_add_signed(-cut[a]).unwrap());
        Self { options: ConvOptions { stride, padding, dilation, output, groups }, ..self }
    }

    /// How `channels` channels a tile divide the work.
    pub fn work(&self, channels: u32) -> Work {
        let (shape, groups) = (&self.shape, self.options.groups);
        let tiles = (shape.out_channels / groups).div_ceil(channels) * groups;
        Work::split(self.options.positions(), u64::from(POSITIONS), tiles, shape.batch, self.max_items)
    }

    /// B·Cout.
    pub fn rows(&self) -> usize {
        self.shape.batch as usize * self.shape.out_channels as usize
    }

    /// `count` values of stream `stream` of the case, uniform in [lo, hi): SplitMix64.
    pub fn draw<T: Float>(&self, stream: u64, count: usize, (lo, hi): (f64, f64)) -> Vec<T> {
        let seed = self.seed.wrapping_mul(0xD1B5_4A32_D192_ED03).wrapping_add(stream << 40);
        let value = |i: u64| {
            let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            T::from_f64(lo + (hi - lo) * (z >> 11) as f64 * f64::powi(2.0, -53))
        };
        (0..count as u64).map(value).collect()
    }

    /// What values computed in `T` are stored in.
    pub fn element<T: Float>(&self) -> ElementType {
        self.element.unwrap_or(tensors::own::<T>())
    }

    /// [`Self::draw`], rounded to what they are stored in.
    pub fn draw_stored<T: Float>(&self, stream: u64, count: usize, range: (f64, f64)) -> Vec<T> {
        let drawn = self.draw::<f64>(stream, count, range);
        drawn.into_iter().map(|value| tensors::rounded(value, self.element::<T>())).collect()
    }

    pub fn input<T: Float>(&self) -> Vec<T> {
        let shape = &self.shape;
        let count = u64::from(shape.batch) * u64::from(shape.in_channels) * shape.volume();
        self.draw_stored(0, count as usize, self.values)
    }

    pub fn kernel<T: Float>(&self) -> Vec<T> {
        self.draw_stored(
            1,
            (self.shape.out_channels / self.options.groups) as usize * self.shape.depth() as usize,
            (-0.5, 0.5),
        )
    }
}

/// The golden cases of `tests/golden` that use no option the kernels lack, by their extents and options; the values are
/// drawn here. Of two, too large for the executor, a smaller one of the same kind: `many_channels` has 24 input channels
/// (of 96), `kernel7` 1 (of 4) and half the input. The cases that ship a recipe instead of data are left out.
pub fn golden() -> Vec<Case> {
    let small = |name| Case::new(name, [3, 5, 7], [4, 6, 5], [3; 3]);
    let cube = |name| Case::new(name, [3, 4, 6], [8; 3], [3; 3]);
    vec![
        Case::new("smallest", [2, 1, 1], [1; 3], [1; 3]),
        Case { values: (1.5, 1.5), ..cube("constant_input") },
        Case { values: (99.0, 101.0), ..cube("large_mean") },
        Case { values: (-1e-4, 1e-4), ..cube("tiny_values") },
        Case { normalize: Normalize::Eval, ..small("eval") },
        Case { eps: 1e-3, factor: 0.3, ..small("momentum_eps") },
        Case { scale: -0.37, ..small("negative_scale") },
        Case { scale: 0.0, ..small("zero_scale") },
        Case { normalize: Normalize::NoAffine, ..small("no_affine") },
        Case { normalize: Normalize::NoRunning, ..small("no_running_stats") },
        Case::new("f64", [3, 5, 7], [6, 6, 8], [3; 3]),
        Case::new("flat_depth", [4, 6, 5], [1, 9, 11], [1, 3, 3]),
        Case::new("kernel1", [3, 5, 7], [4, 5, 6], [1; 3]),
        Case::new("kernel7", [2, 1, 4], [4; 3], [7; 3]),
        Case::new("kernel_larger_than_input", [2, 2, 3], [2, 3, 2], [5, 4, 6]),
        Case::new("line", [4, 6, 5], [1, 1, 37], [1, 1, 5]),
        Case::new("many_channels", [2, 24, 80], [4; 3], [3; 3]),
        Case::new("one_sample", [1, 4, 6], [6; 3], [3; 3]),
        Case::new("primes", [3, 7, 13], [5, 7, 11], [3; 3]),
        Case::new("rectangular_kernel", [2, 3, 4], [5, 7, 6], [2, 3, 4]),
        Case { values: (0.0, 1.0), ..Case::new("relu_input", [2, 8, 8], [8; 3], [3; 3]) },
        Case::new("sinusoid_input", [2, 4, 6], [8, 16, 16], [3; 3]),
    ]
}

/// Options one by one and together.
pub fn options() -> Vec<Case> {
    let case = |groups: u32| Case::new("options", [2, 2 * groups, 3 * groups], [3, 2, 4], [3, 2, 3]);
    let cube = |cin, cout| Case::new("options", [1, cin, cout], [2; 3], [3; 3]);
    vec![
        case(1).with([2; 3], [0; 3], [1; 3], [0; 3], 1),
        case(1).with([1; 3], [1, 0, 2], [1; 3], [1, 0, 2], 1),
        case(1).with([1; 3], [0; 3], [2, 1, 3], [0; 3], 1),
        case(3).with([1; 3], [0; 3], [1; 3], [0; 3], 3),
        case(2).with([3, 1, 2], [1, 1, 2], [1, 2, 1], [1, 1, 2], 2),
        // With output_padding: positions that no tap comes to.
        case(1).with([3, 2, 2], [0; 3], [1; 3], [-2, -1, -1], 1),
        case(1).with([5; 3], [2, 0, 1], [1, 1, 4], [2, -4, -2], 1),
        cube(4, 140).with([2; 3], [1; 3], [1; 3], [0; 3], 2),
        cube(20, 20).with([1; 3], [1; 3], [2; 3], [1; 3], 20),
        Case { max_items: 3, blocks: 2, ..cube(2, 4).with([4; 3], [1; 3], [3; 3], [1; 3], 2) },
    ]
}

/// Golden shapes, options and edges in this format of 16 bits.
pub fn narrow(element: ElementType) -> Vec<Case> {
    let names = ["large_mean", "tiny_values", "eval", "flat_depth", "kernel_larger_than_input"];
    let golden = golden().into_iter().filter(|case| names.contains(&case.name));
    let edges = edges().into_iter().step_by(5);
    golden.chain(edges).map(|case| Case { element: Some(element), ..case }).collect()
}

/// Options in this format of 16 bits.
pub fn narrow_options(element: ElementType) -> Vec<Case> {
    options().into_iter().step_by(3).map(|case| Case { element: Some(element), ..case }).collect()
}

/// One case an edge of the tiles: channels, positions and depths about a tile's, and slices of several tiles.
pub fn edges() -> Vec<Case> {
    let line = |name, cout, positions: u32| Case::new(name, [2, 5, cout], [1, 1, positions - 1], [1, 1, 2]);
    let mut cases = Vec::new();
    for cout in [15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129] {
        cases.push(line("channels about a tile's", cout, 129));
    }
    for positions in [2, 127, 128, 129, 255, 256, 257] {
        cases.push(line("positions about a tile's", 9, positions));
    }
    for depth in [1, 7, 8, 9, 15, 16, 17] {
        cases.push(Case::new("depths about a step's", [1, depth, 9], [2, 5, 7], [1; 3]));
    }
    for (tiles, max_items) in [(3u32, 1), (5, 4), (7, 6)] {
        cases.push(Case { max_items, ..line("several tiles a slice", 6, tiles * 128 - 5) });
    }
    cases.push(Case { blocks: 2, ..line("more items than blocks", 40, 300) });
    cases
}
