//! How a problem is cut: what is held at once, in what order it is multiplied, and how much memory that takes.
//!
//! Spectra are held of some samples, and of some planes of the outer axis: where those are not all, transforms are done again
//! for each share of them. What cannot be cut is the least that a budget must hold: Ĝ, the taps, a plane of one sample's
//! spectra, and one thread's scratch. Ĝ is the largest of them where channels are many; the other order does without it.
//!
//! Cuts follow from the shape, the precision, the width of vectors and the budget, never from the number of threads. What the
//! budget leaves over is for threads' scratch; where it does not hold that of all threads, fewer work.

mod shares;

use std::ops::Range;

use super::geometry::{Axis, Geometry, saturating};
use super::taps::{Phases, Turns};
use super::{energy, gram, product, taps, transform};
use crate::cpu::simd::{Real, Width};
use crate::cpu::tasks::Workers;
use crate::problem::Problem;

/// Bytes of spectra that are worth holding at once, unless one sample has more: products cost the same in cuts, but each cut
/// goes onto the grid by itself.
const SPECTRA_BYTES: usize = 64 << 20;
/// Bytes of planes on the grid that are worth holding at once, unless those of one tile are more.
const PLANES_BYTES: usize = 8 << 20;
/// Planes at once at most.
const PLANES: usize = 64;

/// In what order the factors of Σ |X·W|² are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The spectra of x with each other first: `gram` and `energy`.
    Gram,
    /// The spectra of x with those of the taps first: `product`.
    Product,
}

/// Which spectra are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub samples: Range<usize>,
    /// Of the outer axis.
    pub planes: Range<usize>,
}

impl Held {
    /// Complex vectors of a block of channels of one sample. Not for inner loops: it is no function of vectors, and a call from
    /// those costs all registers.
    pub fn volume(&self, geometry: &Geometry) -> usize {
        self.planes.len() * geometry.plane()
    }

    /// Where the line at outer and middle frequencies `at` begins in them.
    pub fn line(&self, geometry: &Geometry, [outer, middle]: [usize; 2]) -> usize {
        (outer - self.planes.start) * geometry.plane() + middle * geometry.stored()
    }
}

/// How a problem is cut.
#[derive(Debug, Clone)]
pub struct Cut {
    pub geometry: Geometry,
    pub width: Width,
    pub lanes: usize,
    /// Blocks of input channels.
    pub blocks: usize,
    /// Pairs of blocks.
    pub tiles: usize,
    pub order: Order,
    /// Samples whose spectra are held at once.
    pub samples: usize,
    /// Planes of the outer axis whose spectra are held at once.
    pub frequencies: usize,
    /// Planes on the grid at once, and tiles that have them.
    pub planes: usize,
    pub tiles_at_once: usize,
    /// Lines whose energies are summed by one task, and the vectors of output channels of which they are.
    pub lines_at_once: usize,
    pub vectors_at_once: usize,
    /// Threads that have scratch at most.
    pub threads: usize,
    batch: usize,
    in_channels: usize,
    out_channels: usize,
    /// Bytes of a value.
    size: usize,
}

impl Cut {
    /// The order with less to do of those whose least fits in `budget` bytes.
    ///
    /// # Errors
    /// The bytes that would do, where neither fits.
    pub fn of<R: Real>(problem: &Problem, budget: u64) -> Result<Cut, u64> {
        let in_order = |order| Cut::whole::<R>(problem, order).within(budget);
        match (in_order(Order::Gram), in_order(Order::Product)) {
            (Ok(gram), Ok(product)) => Ok(if product.operations() < gram.operations() { product } else { gram }),
            (Ok(cut), Err(_)) | (Err(_), Ok(cut)) => Ok(cut),
            (Err(gram), Err(product)) => Err(gram.min(product)),
        }
    }

    /// As much at once as is worth holding.
    fn whole<R: Real>(problem: &Problem, order: Order) -> Cut {
        let geometry = Geometry::of(problem);
        let width = Width::fitting::<R>(problem.in_channels());
        let lanes = width.lanes::<R>();
        let blocks = problem.in_channels().div_ceil(lanes);
        let tiles = gram::tile_count(blocks);
        let mut cut = Cut {
            samples: 1,
            frequencies: geometry.outer.n,
            planes: gram::part_len(geometry.outer.n, PLANES),
            tiles_at_once: 1,
            lines_at_once: 1,
            vectors_at_once: 1,
            threads: 1,
            batch: problem.batch(),
            in_channels: problem.in_channels(),
            out_channels: problem.out_channels(),
            size: size_of::<R>(),
            geometry,
            width,
            lanes,
            blocks,
            tiles,
            order,
        };
        let of_sample = cut.spectra().saturating_mul(cut.size);
        cut.samples = gram::part_len(cut.batch, (SPECTRA_BYTES / of_sample).max(1));
        let of_tile = cut.planes_on_grid().saturating_mul(cut.size).max(1);
        cut.tiles_at_once = (PLANES_BYTES / of_tile).clamp(1, tiles);
        (cut.lines_at_once, cut.vectors_at_once) = cut.share();
        cut
    }

    /// Less at once, until it fits.
    fn within(mut self, budget: u64) -> Result<Cut, u64> {
        loop {
            let (shared, scratch) = (self.shared_bytes(), self.scratch_bytes());
            let least = shared.saturating_add(scratch);
            if least <= budget {
                self.threads = usize::try_from((budget - shared) / scratch).unwrap_or(usize::MAX);
                return Ok(self);
            }
            if !self.shrink() {
                return Err(least);
            }
        }
    }

    /// Halves the larger of the two buffers, or the other; false where neither can be.
    fn shrink(&mut self) -> bool {
        let halved = |count: &mut usize| {
            let can = *count > 1;
            *count = count.div_ceil(2);
            can
        };
        match self.planes_on_grid() > self.spectra() {
            true => {
                halved(&mut self.tiles_at_once)
                    || halved(&mut self.planes)
                    || halved(&mut self.samples)
                    || halved(&mut self.frequencies)
            }
            false => {
                halved(&mut self.samples)
                    || halved(&mut self.lines_at_once)
                    || halved(&mut self.vectors_at_once)
                    || halved(&mut self.frequencies)
                    || halved(&mut self.tiles_at_once)
                    || halved(&mut self.planes)
            }
        }
    }

    /// What is held, one after the other.
    pub fn cuts(&self) -> impl Iterator<Item = Held> {
        let parts = |len: usize, step: usize| (0..len).step_by(step).map(move |first| first..len.min(first + step));
        let (planes, frequencies) = (self.geometry.outer.n, self.frequencies);
        parts(self.batch, self.samples).flat_map(move |samples| {
            parts(planes, frequencies).map(move |planes| Held { samples: samples.clone(), planes })
        })
    }

    /// Bytes of workspace with so many threads.
    pub fn bytes(&self, threads: usize) -> u64 {
        let threads = threads.min(self.threads) as u64;
        self.shared_bytes().saturating_add(threads.saturating_mul(self.scratch_bytes()))
    }

    /// Bytes of what all threads share: spectra, Ĝ and its planes, tables, taps, and energies in `f64`.
    fn shared_bytes(&self) -> u64 {
        let of_order = match self.order {
            Order::Gram => [self.grams(), self.planes_on_grid(), self.geometry.tables(), saturating(&[4, self.tiles])],
            Order::Product => [0; 4],
        };
        let tables = saturating(&[2, transform::tables_len(&self.geometry)]);
        let values = [self.spectra(), self.taps(), tables].into_iter().chain(of_order);
        let values = values.fold(0u64, |sum, values| sum.saturating_add(values as u64));
        let of_channels = 2 * (self.padded_outputs() + self.in_channels);
        let sums = [self.tasks(), self.of_task_len()];
        let sums = saturating(&sums).saturating_add(of_channels).saturating_add(Phases::<f64>::len(self.points()));
        let readers = taps::readers_bytes(&self.geometry, self.in_channels, self.padded_outputs() / self.lanes);
        let bytes = values.saturating_mul(self.size as u64).saturating_add((sums as u64).saturating_mul(8));
        bytes.saturating_add(readers as u64)
    }

    /// Bytes of one thread's scratch: that of the largest task.
    fn scratch_bytes(&self) -> u64 {
        let tasks = [self.readers(), self.transforms(), self.products(), self.onto(), self.energies()];
        let largest = tasks.iter().map(|workers| workers.scratch).max().unwrap_or(0);
        let turns = saturating(&[self.lines_at_once, Turns::<f64>::len(&self.geometry), 8]);
        // To begin at a cache line takes one more at most.
        (largest as u64).saturating_mul(self.size as u64).saturating_add(turns as u64).saturating_add(64)
    }

    /// Who reads the taps.
    pub fn readers(&self) -> Workers {
        Workers { threads: self.threads, scratch: taps::reader_scratch(&self.geometry, self.lanes) }
    }

    /// Who transforms a block of channels of a sample.
    pub fn transforms(&self) -> Workers {
        let scratch = saturating(&[transform::scratch_len(&self.geometry), 2, self.lanes]);
        Workers { threads: self.threads, scratch }
    }

    /// Who multiplies a plane's spectra with each other.
    pub fn products(&self) -> Workers {
        let scratch = match self.order {
            Order::Gram => gram::plane_scratch(&self.geometry, self.lanes, self.size),
            Order::Product => 0,
        };
        Workers { threads: self.threads, scratch }
    }

    /// Who carries planes onto the outer grid.
    pub fn onto(&self) -> Workers {
        let scratch = match self.order {
            Order::Gram => gram::onto_scratch(&self.geometry, self.lanes),
            Order::Product => 0,
        };
        Workers { threads: self.threads, scratch }
    }

    /// Who sums the energies of lines.
    pub fn energies(&self) -> Workers {
        let (lines, vectors) = (self.lines_at_once, self.vectors_at_once);
        let scratch = match self.order {
            Order::Gram => energy::line_scratch(&self.geometry, self.in_channels, self.lanes),
            Order::Product => product::lines_scratch(&self.geometry, self.samples, lines, vectors, self.lanes),
        };
        Workers { threads: self.threads, scratch }
    }

    /// Multiplications and additions of vectors, of the whole run.
    pub fn operations(&self) -> f64 {
        // Reading and storing count as much as the arithmetic of a transform.
        2.0 * self.transform_operations() + self.product_operations().iter().sum::<f64>()
    }

    /// Those of the transforms, all cuts together: by custom, 5·n·log2 n flops each, two of them in one operation.
    pub fn transform_operations(&self) -> f64 {
        let Geometry { outer, middle, inner } = self.geometry;
        let of_line =
            |axis: &Axis| axis.n as f64 * if axis.is_transformed() { 2.5 * (axis.n as f64).log2() } else { 1.0 };
        let stored = self.geometry.stored() as f64;
        let lines = (outer.extent * middle.extent) as f64 / 2.0 * of_line(&inner)
            + outer.extent as f64 * stored * of_line(&middle)
            + middle.n as f64 * stored * of_line(&outer);
        let again = outer.n.div_ceil(self.frequencies) as f64;
        self.batch as f64 * self.blocks as f64 * lines * again
    }

    /// Those after the transforms: while the spectra are there, all cuts together, and at the end.
    pub fn product_operations(&self) -> [f64; 2] {
        let Geometry { outer, middle, inner } = self.geometry;
        let [n, m] = [[outer.n, middle.n, self.geometry.stored()], [outer.grid(), middle.grid(), inner.grid()]]
            .map(|axes| axes.map(|length| length as f64));
        let batch = self.batch as f64;
        let cuts = self.batch.div_ceil(self.samples) as f64;
        let pairs = self.tiles as f64 * self.lanes as f64;
        let vectors = self.out_channels.div_ceil(self.lanes) as f64;
        let channels = self.in_channels as f64;
        // The spectra of the taps at `frequencies` of a line.
        let taps = self.geometry.taps() as f64;
        let of_taps = |frequencies: f64| vectors * channels * (taps + 2.0 * inner.taps as f64 * frequencies);
        match self.order {
            Order::Gram => {
                let products = n[0] * n[1] * n[2] * 4.0 * batch;
                let onto =
                    cuts * n[0] * (2.0 * n[1] * n[2] * m[2] + 2.0 * n[1] * m[1] * m[2] + 2.0 * m[0] * m[1] * m[2]);
                let half = inner.taps as f64;
                let form = vectors * half * 4.0 * pairs * self.lanes as f64;
                [pairs * (products + onto), m[0] * m[1] * (of_taps(half) + form)]
            }
            Order::Product => [n[0] * n[1] * (cuts * of_taps(n[2]) + vectors * channels * n[2] * 4.0 * batch), 0.0],
        }
    }

    /// Values of the spectra that are held.
    pub fn spectra(&self) -> usize {
        saturating(&[self.samples, self.blocks, self.frequencies, self.geometry.plane(), 2, self.lanes])
    }

    /// Values of one plane of a tile on the grid.
    pub fn plane(&self) -> usize {
        saturating(&[self.geometry.middle.grid(), self.geometry.inner.grid(), self.lanes, 2, self.lanes])
    }

    /// Values of those at once.
    pub fn planes_on_grid(&self) -> usize {
        match self.order {
            Order::Gram => saturating(&[self.tiles_at_once, self.planes.min(self.frequencies), self.plane()]),
            Order::Product => 0,
        }
    }

    /// Values of a tile's Ĝ.
    pub fn gram(&self) -> usize {
        saturating(&[self.geometry.half_grid(), self.lanes, 2, self.lanes])
    }

    /// Values of Ĝ.
    pub fn grams(&self) -> usize {
        match self.order {
            Order::Gram => saturating(&[self.tiles, self.gram()]),
            Order::Product => 0,
        }
    }

    /// Values of the taps.
    pub fn taps(&self) -> usize {
        saturating(&[self.padded_outputs(), self.in_channels, self.geometry.taps()])
    }

    /// Output channels, in whole vectors.
    pub fn padded_outputs(&self) -> usize {
        self.out_channels.next_multiple_of(self.lanes)
    }

    /// Tasks of a run, for progress.
    pub fn steps(&self) -> u64 {
        let (cuts, outer) = (self.batch.div_ceil(self.samples), self.geometry.outer.n);
        let energies = match self.order {
            Order::Gram => saturating(&[cuts, self.tiles, outer]).saturating_add(self.tasks()),
            Order::Product => saturating(&[cuts, outer.div_ceil(self.frequencies), self.tasks()]),
        };
        energies.saturating_add(saturating(&[self.batch, self.blocks, outer.div_ceil(self.frequencies)])) as u64
    }
}
