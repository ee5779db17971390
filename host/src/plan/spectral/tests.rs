use super::*;
use crate::plan::{Algorithm, AlgorithmChoice, Backend, CudaRecipe, Reuse};
use crate::problem::{KernelShape, Mode, ProblemBuilder, Shape5};
use kernel_gpu::volume_transform::{FORM_8, FORM_HELD_4, FORM_HELD_8};

fn facts() -> DeviceFacts {
    DeviceFacts {
        backend: Backend::Cuda,
        threads: 1,
        available_memory: None,
        multiprocessors: 132,
        shared_memory: 232_448,
        warpgroups: true,
    }
}

fn problem(x: [usize; 5], out_channels: usize, k: [usize; 3]) -> Problem {
    problem_builder(x, out_channels, k).build().unwrap()
}

fn problem_builder(x: [usize; 5], out_channels: usize, k: [usize; 3]) -> ProblemBuilder {
    let input = Shape5 { batch: x[0], channels: x[1], depth: x[2], height: x[3], width: x[4] };
    let kernel = KernelShape { in_channels: x[1], out_channels, depth: k[0], height: k[1], width: k[2] };
    Problem::builder(input, kernel)
}

fn design(problem: &Problem, options: PlanOptions) -> Result<CudaSpectral, Ineligible> {
    match CudaSpectral::design(problem, &facts(), DType::F32, options) {
        Ok(design) => Ok(design),
        Err(Error::Ineligible(why)) => Err(why),
        Err(error) => panic!("{error}"),
    }
}

fn usual(x: [usize; 5], out_channels: usize, k: [usize; 3]) -> CudaSpectral {
    design(&problem(x, out_channels, k), PlanOptions::default()).unwrap()
}

const STRICT: PlanOptions =
    PlanOptions { algorithm: AlgorithmChoice::Auto, precision: Precision::Strict, workspace_budget: None };

fn kernelbench_77(batch: usize) -> Problem {
    problem([batch, 64, 16, 32, 32], 128, [5, 5, 5])
}

#[test]
fn kernelbench_77_fits_in_128_mib() {
    let design = design(&kernelbench_77(16), PlanOptions::default()).unwrap();
    assert_eq!((design.images, design.cuts()), (16, 1));
    let Transform::Fft(fft) = design.transform else { panic!("{:?}", design.transform) };
    assert_eq!((fft.layout.volumes, fft.resident, fft.blocks(&design.cut(0))), (1, 2, 264));
    assert_eq!((design.gram.blocks, design.gram.lines, design.gram.grid_lines), (10, 200, 41));
    assert_eq!(design.gram.reuse, Reuse::Sums);
    assert_eq!(design.gram.chunks(&design.spectrum).collect::<Vec<_>>(), [(0, 200), (200, 180)]);
    assert_eq!(design.gram.joins(&design.spectrum).collect::<Vec<_>>(), [(0, 380)]);
    assert!(design.gram.holds_taps);
    assert!(design.workspace_bytes() <= 128 << 20, "{}", design.workspace_bytes());
    let lengths = design.lengths();
    assert_eq!((lengths.high, lengths.low), (1024 * 380 * 40, 1024 * 38 * 40));
    assert_eq!(lengths.twiddles, [4 * (20 + 36 + 36), 2 * 2 * 27]);
    // The sums of all lines end before the spectra of line 200 begin.
    assert_eq!((lengths.joined, lengths.sums), (0, 380 * 9 * 10 * 512 - 200 * 1024 * 40));
    assert_eq!(lengths.energy, 128 * design.energy_parts());
}

#[test]
fn x_is_transformed_in_shared_memory_where_it_fits() {
    let transform = |x| usual(x, 4, [3, 3, 3]).transform;
    let volume = |x| match transform(x) {
        Transform::Volume(volume) => volume,
        other => panic!("{other:?}"),
    };
    // Two blocks a multiprocessor, four small ones, and several for one volume.
    let whole = volume([2, 3, 16, 31, 31]);
    assert_eq!((whole.form, whole.resident, whole.layout.groups), (FORM_HELD_8, 2, 1));
    assert!(whole.layout.bytes <= 232_448 / 2, "{whole:?}");
    let small = volume([50, 3, 9, 9, 9]);
    assert_eq!((small.form, small.resident, small.layout.groups), (FORM_HELD_4, 4, 1));
    let flat = volume([50, 3, 1, 64, 64]);
    assert_eq!((flat.form, flat.layout.groups), (FORM_8, 1));
    let shared = volume([2, 3, 64, 64, 64]);
    assert!(shared.form == FORM_8 && shared.layout.groups > 1, "{shared:?}");
    let cut = usual([2, 3, 64, 64, 64], 4, [3, 3, 3]).cut(0);
    assert_eq!(shared.blocks(&cut), 6 * shared.layout.groups);
    assert_eq!(small.blocks(&usual([50, 3, 9, 9, 9], 4, [3, 3, 3]).cut(0)), 150);
    assert!(matches!(transform([2, 3, 4, 4, 300]), Transform::Axes { volumes: 6 }));
    // Scratch of 64 MiB holds one volume of this size, and of the next none.
    let large = usual([2, 1, 126, 126, 126], 4, [3, 3, 3]);
    assert_eq!(large.transform, Transform::Axes { volumes: 2 });
    let larger = usual([2, 2, 254, 254, 254], 4, [3, 3, 3]);
    assert_eq!((larger.transform, larger.images), (Transform::Axes { volumes: 1 }, 2));
    assert_eq!(larger.transform.passes(&larger.cut(0)).collect::<Vec<_>>(), [(0, 1), (1, 1), (2, 1), (3, 1)]);
}

/// Volumes of short lengths: a block each, several a block if they are small.
#[test]
fn x_is_transformed_in_registers_where_lengths_are_short() {
    let fft = |x, k| match usual(x, 4, k).transform {
        Transform::Fft(fft) => (fft.layout.threads, fft.layout.volumes, fft.resident),
        other => panic!("{other:?}"),
    };
    assert_eq!(fft([16, 64, 16, 32, 32], [5, 5, 5]), (256, 1, 2));
    assert_eq!(fft([128, 64, 16, 32, 32], [5, 5, 5]), (256, 1, 2));
    assert_eq!(fft([2, 3, 32, 32, 32], [3, 3, 3]), (512, 1, 1));
    assert_eq!(fft([50, 3, 8, 8, 8], [3, 3, 3]), (32, 4, 4));
    assert_eq!(fft([2, 3, 4, 4, 4], [1, 1, 1]), (32, 4, 4));
    let design = usual([50, 3, 8, 8, 8], 4, [3, 3, 3]);
    let Transform::Fft(fft) = design.transform else { panic!("{:?}", design.transform) };
    assert_eq!(fft.blocks(&design.cut(0)), 38);
    assert_eq!((fft.spec().threads, fft.spec().shared_bytes), (128, 4 * fft.layout.bytes));
}

/// Every line, every channel pair and every line of the grid comes once.
#[test]
fn few_lines_or_one_block_of_channel_pairs_are_shared() {
    let ways =
        |x, out_channels, k| design(&problem(x, out_channels, k), PlanOptions::default()).unwrap().gram.line_ways;
    assert_eq!(ways([16, 64, 16, 32, 32], 128, [5, 5, 5]), 1);
    assert_eq!(ways([16, 64, 1, 64, 64], 64, [1, 5, 5]), 2);
    // One tile of channels, however many lines.
    assert_eq!(ways([16, 16, 16, 32, 32], 128, [5, 5, 5]), 2);
}

#[test]
fn cuts_of_the_gram_matrices_hold() {
    let shapes = [
        ([16, 64, 16, 32, 32], 128, [5, 5, 5]),
        ([2, 3, 7, 11, 13], 5, [2, 3, 4]),
        ([3, 17, 5, 5, 5], 33, [1, 1, 1]),
        ([4, 512, 8, 8, 8], 64, [3, 3, 10]),
        ([40, 200, 4, 4, 4], 512, [5, 5, 5]),
        ([1, 1, 1, 1, 1], 1, [1, 1, 2]),
    ];
    for (x, out_channels, k) in shapes {
        for options in [PlanOptions::default(), STRICT] {
            let design = design(&problem(x, out_channels, k), options).unwrap();
            let (spectrum, grid, cuts) = (design.spectrum, design.grid, design.gram);
            let all = |pieces: Vec<(u32, u32)>, whole: u32| {
                let mut next = 0;
                for (first, count) in pieces {
                    assert!(first == next && count > 0);
                    next += count;
                }
                assert_eq!(next, whole);
            };
            all(cuts.chunks(&spectrum).collect(), spectrum.lines());
            all(cuts.joins(&spectrum).collect(), spectrum.lines());
            all(cuts.ranges(&grid).collect(), grid.blocks());
            all(cuts.grid_chunks(&grid).collect(), grid.grid_lines());
            let launches = cuts.ranges(&grid).count() * cuts.grid_chunks(&grid).count();
            assert_eq!(design.energy_parts(), launches as u64 * u64::from(cuts.shares) * u64::from(design.cuts()));
            assert!(design.workspace_bytes() <= WORKSPACE_BUDGET);
        }
    }
}

#[test]
fn few_frequencies_are_strict_and_so_is_strict_precision() {
    let all_strict = |batch, channels, x: [usize; 3], k, options| {
        design(&problem([batch, channels, x[0], x[1], x[2]], 8, k), options).unwrap().spectrum.all_strict
    };
    let usual = |batch, channels, x, k| all_strict(batch, channels, x, k, PlanOptions::default());
    // 32·32·16 = 16 384 positions a sample.
    assert_eq!(usual(1, 64, [30, 30, 15], [3, 3, 2]), 0);
    assert_eq!(usual(1, 63, [30, 30, 15], [3, 3, 2]), 1);
    assert_eq!(all_strict(8, 64, [30, 30, 15], [3, 3, 2], STRICT), 1);
    // Along an axis of one element all coefficients are the same.
    assert_eq!(usual(1, 64, [32, 32, 1], [3, 3, 16]), 1);
    assert_eq!(usual(16, 64, [32, 32, 1], [3, 3, 16]), 0);
    assert_eq!(usual(8, 64, [16, 32, 512], [1, 3, 3]), 0);
}

#[test]
fn the_batch_is_cut_to_hold_the_budget() {
    let problem = kernelbench_77(128);
    assert_eq!(design(&problem, PlanOptions::default()).unwrap().cuts(), 1);
    let with = |mib: u64| PlanOptions { workspace_budget: Some(mib << 20), ..PlanOptions::default() };
    for (mib, images) in [(400, 64), (324, 64), (280, 48), (144, 16)] {
        let design = design(&problem, with(mib)).unwrap();
        assert_eq!(design.images, images, "{mib} MiB");
        assert!(design.workspace_bytes() <= mib << 20);
        let cuts: Vec<u32> = (0..design.cuts()).map(|cut| design.cut(cut * images).shape.batch).collect();
        assert_eq!(cuts.iter().sum::<u32>(), 128);
    }
    // All lines are summed at once where there is room, and in two chunks where else there would be fewer images.
    let chunks = |mib| {
        let design = design(&problem, with(mib)).unwrap();
        design.gram.chunks(&design.cut(0)).map(|(_, lines)| lines).collect::<Vec<_>>()
    };
    assert_eq!((chunks(400), chunks(324)), (vec![380], vec![200, 180]));
    let refused = design(&problem, with(8)).unwrap_err();
    assert!(matches!(refused, Ineligible::Workspace { budget, .. } if budget == 8 << 20), "{refused:?}");
    // The memory there is bounds it too.
    let facts = DeviceFacts { available_memory: Some(280 << 20), ..facts() };
    let design = CudaSpectral::design(&problem, &facts, DType::F32, PlanOptions::default()).unwrap();
    assert_eq!(design.images, 48);
}

/// Sums and what is joined never lie on spectra or sums that are still to be read: in the largest cut of the batch and in the last.
#[test]
fn what_takes_the_spectra_s_place_does_so_behind_their_last_reader() {
    let mut seen = [0; 3];
    let shapes = [
        kernelbench_77(128),
        problem([70, 48, 16, 32, 40], 16, [5, 5, 7]),
        problem([30, 64, 16, 32, 32], 32, [3, 3, 3]),
        problem([19, 35, 8, 98, 40], 8, [5, 5, 3]),
        problem([16, 200, 4, 4, 4], 16, [5, 5, 5]),
    ];
    for problem in shapes {
        let whole = design(&problem, PlanOptions::default()).unwrap();
        let cases =
            (1..130).step_by(3).flat_map(|images| [0, 1, images / 4, images / 2, images - 1].map(|r| (images, r)));
        for ((images, rest), at_once) in cases.flat_map(|case| [true, false].map(|at_once| (case, at_once))) {
            let of = |batch| {
                let mut cut = whole.spectrum;
                cut.shape.batch = batch;
                cut
            };
            let cuts = GramCuts::design(&of(images), rest, (&whole.grid, 1), at_once, &facts());
            let on_grid = u64::from(whole.grid.grid_lines()) * cuts.line_sums;
            assert!(on_grid <= cuts.sums && cuts.sums.is_multiple_of(64), "{cuts:?}");
            for cut in [of(images), of(if rest > 0 { rest } else { images })] {
                let (words, chunks) = (cut.line_words(), cuts.chunks(&cut).collect::<Vec<_>>());
                let end = cuts.sums + u64::from(cut.lines()) * words;
                let several = usize::from(chunks.len() > 1);
                match cuts.reuse {
                    Reuse::None => assert!(u64::from(cuts.lines) * cuts.line_sums <= cuts.sums),
                    Reuse::Joined => {
                        assert!(u64::from(cuts.lines) * cuts.line_sums <= cuts.sums);
                        assert!(on_grid <= u64::from(chunks[0].1) * words, "{cuts:?}");
                        seen[0] += 1;
                    }
                    Reuse::Sums => {
                        for (first, count) in chunks {
                            let summed = u64::from(first + count) * cuts.line_sums;
                            assert!(summed <= cuts.sums + u64::from(first) * words, "{cuts:?} {first} {count}");
                        }
                        let joined = cuts.joined_behind(&cut);
                        let sums = u64::from(cut.lines()) * cuts.line_sums;
                        assert!(joined >= sums.max(cuts.sums) && joined + on_grid <= end, "{cuts:?}");
                        seen[1 + several] += 1;
                    }
                }
            }
        }
    }
    assert!(seen.iter().all(|&seen| seen > 20), "{seen:?}");
}

/// The last cut's spectra may be too small for the grid.
#[test]
fn the_grid_takes_the_place_of_spectra_that_are_larger_in_every_cut() {
    let whole = design(&kernelbench_77(32), PlanOptions::default()).unwrap();
    let reuse = |images, rest| {
        let mut cut = whole.spectrum;
        cut.shape.batch = images;
        GramCuts::design(&cut, rest, (&whole.grid, 1), true, &facts()).reuse
    };
    assert_eq!([reuse(32, 0), reuse(16, 0), reuse(32, 15)], [Reuse::Sums; 3]);
    assert_eq!([reuse(15, 0), reuse(17, 9), reuse(16, 4)], [Reuse::Joined; 3]);
    assert_eq!([reuse(1, 0), reuse(32, 1), reuse(16, 3)], [Reuse::None; 3]);
}

#[test]
fn cuts_grow_smaller_down_to_one_image() {
    assert_eq!(cuts(128).collect::<Vec<_>>(), [128, 64, 48, 32, 16, 11, 8, 6, 4, 3, 2, 1]);
    assert_eq!(cuts(5).collect::<Vec<_>>(), [5, 3, 2, 1]);
    assert_eq!(cuts(1).collect::<Vec<_>>(), [1]);
    assert_eq!(cuts(u32::MAX).last(), Some(1));
}

#[test]
fn what_is_not_eligible_says_why() {
    let refused = |x, cout, k| design(&problem(x, cout, k), PlanOptions::default()).unwrap_err();
    assert_eq!(refused([1, 1, 1, 1, 1 << 23], 1, [1, 1, 1]), Ineligible::Axis(1 << 23));
    assert_eq!(refused([1 << 16, 1 << 15, 1, 1, 1], 1, [1, 1, 2]), Ineligible::Count(1 << 31));
    // Tables too long to index in 32 bits.
    for (x, k) in [
        ([1, 1, 1, 1, 709_828], [1, 1, 6001]),
        ([1, 1, 262_302, 2, 2], [6001, 1, 1]),
        ([1, 1, 2, 590_026, 2], [1, 6001, 1]),
    ] {
        assert!(matches!(refused(x, 1, k), Ineligible::Count(count) if count >= 1 << 31), "{x:?} {k:?}");
    }
    let f64s = CudaSpectral::design(&kernelbench_77(2), &facts(), DType::F64, PlanOptions::default());
    assert_eq!(f64s.unwrap_err(), Error::Ineligible(Ineligible::Elements(DType::F64)));
}

#[test]
fn without_batch_statistics_there_are_no_energies() {
    let input = Shape5 { batch: 4, channels: 4, depth: 20, height: 20, width: 20 };
    let kernel = KernelShape { in_channels: 4, out_channels: 4, depth: 3, height: 3, width: 3 };
    let problem = Problem::builder(input, kernel).mode(Mode::Eval).running_statistics(true).build().unwrap();
    let design = design(&problem, PlanOptions::default()).unwrap();
    assert_eq!(
        (design.energies, design.energy_parts(), design.lengths().energy, design.lengths().sums),
        (false, 0, 0, 0)
    );
}

/// What is chosen, and why, on either side of each threshold.
#[test]
fn auto_takes_what_is_estimated_to_be_less() {
    let chosen = |problem: &Problem, dtype, options| {
        let (recipe, reason) = CudaRecipe::design(problem, &facts(), dtype, options).unwrap();
        assert!(reason == "forced" || reason.starts_with(&recipe.algorithm().to_string()), "{reason}");
        recipe.algorithm()
    };
    let auto = |x, cout, k| chosen(&problem(x, cout, k), DType::F32, PlanOptions::default());
    assert_eq!(auto([16, 64, 16, 32, 32], 128, [5, 5, 5]), Algorithm::Spectral);
    assert_eq!(auto([16, 64, 16, 32, 32], 32, [3, 3, 3]), Algorithm::Spectral);
    assert_eq!(auto([16, 2, 16, 32, 32], 8, [3, 3, 3]), Algorithm::Direct, "0.3 GFLOP");
    assert_eq!(auto([16, 8, 16, 32, 32], 16, [3, 3, 3]), Algorithm::Spectral, "2 GFLOP");
    assert_eq!(auto([2, 3, 4, 5, 6], 7, [3, 3, 3]), Algorithm::Direct);
    assert_eq!(auto([2, 64, 8, 8, 4096], 64, [3, 3, 90]), Algorithm::Direct, "a grid of many points");
    assert_eq!(auto([2, 64, 64, 64, 64], 64, [9, 9, 9]), Algorithm::Spectral, "many taps");
    // Products on the tensor cores.
    assert_eq!(auto([8, 512, 4, 8, 8], 512, [3, 3, 3]), Algorithm::Direct, "many channels");
    assert_eq!(auto([32, 64, 1, 1, 1000], 64, [1, 1, 9]), Algorithm::Direct, "a line");
    assert_eq!(auto([4, 32, 2, 4, 4096], 32, [2, 3, 9]), Algorithm::Direct, "a long axis");
    assert_eq!(
        auto([1, 64, 16, 32, 32], 128, [5; 3]),
        Algorithm::Spectral,
        "a few tiles more than there is room for at once"
    );
    assert_eq!(chosen(&kernelbench_77(16), DType::F64, PlanOptions::default()), Algorithm::Direct);
    let with = |x: [usize; 5], cout, k, change: fn(ProblemBuilder) -> ProblemBuilder| {
        let problem = change(problem_builder(x, cout, k)).build().unwrap();
        chosen(&problem, DType::F32, PlanOptions::default())
    };
    let decoder = [16, 64, 8, 16, 16];
    assert_eq!(with(decoder, 32, [4; 3], |b| b.stride([2; 3])), Algorithm::Spectral, "a stride");
    assert_eq!(with(decoder, 32, [4; 3], |b| b.stride([2; 3]).padding([1; 3])), Algorithm::Direct, "padding");
    assert_eq!(with([16, 64, 8, 32, 32], 64, [3; 3], |b| b.dilation([2; 3])), Algorithm::Spectral, "a dilation");
    assert_eq!(with([16, 64, 16, 32, 32], 1, [3; 3], |b| b.groups(64)), Algorithm::Spectral, "many groups");
    assert_eq!(with([2, 64, 2, 3, 4], 1, [3; 3], |b| b.groups(64)), Algorithm::Direct, "many groups of little");
    let force = |algorithm| PlanOptions { algorithm: AlgorithmChoice::Force(algorithm), ..PlanOptions::default() };
    let small = problem([2, 3, 4, 5, 6], 7, [3, 3, 3]);
    assert_eq!(chosen(&small, DType::F32, force(Algorithm::Spectral)), Algorithm::Spectral);
    assert_eq!(chosen(&kernelbench_77(16), DType::F32, force(Algorithm::Direct)), Algorithm::Direct);
    let refused = CudaRecipe::design(&small, &facts(), DType::F64, force(Algorithm::Spectral)).unwrap_err();
    let sentence =
        "algorithm = spectral is not possible for this problem: it computes in f32, and the elements are f64";
    assert_eq!(refused.to_string(), sentence);
}

/// Groups of few channels are taken together, as far as that is less work by the estimate.
#[test]
fn groups_of_few_channels_are_bundled() {
    let of = |x: [usize; 5], outs: usize, k: [usize; 3], groups: i64, options| {
        let input = Shape5 { batch: x[0], channels: x[1], depth: x[2], height: x[3], width: x[4] };
        let kernel = KernelShape { in_channels: x[1], out_channels: outs, depth: k[0], height: k[1], width: k[2] };
        design(&Problem::builder(input, kernel).groups(groups).build().unwrap(), options).unwrap()
    };
    let large = [16, 64, 16, 32, 32];
    for (x, outs, k, groups, bundle) in [
        (large, 1, [3; 3], 64, 64),
        // Many output channels: zeros are most of what would be multiplied.
        (large, 64, [3; 3], 64, 16),
        (large, 32, [5; 3], 4, 2),
        ([16, 96, 16, 32, 32], 1, [3; 3], 96, 48),
        ([4, 256, 8, 16, 16], 4, [3; 3], 64, 16),
        ([16, 6, 16, 32, 32], 2, [3; 3], 3, 3),
        // More channels than a bundle may have.
        ([16, 128, 16, 32, 32], 64, [3; 3], 2, 1),
        ([16, 66, 16, 32, 32], 1, [3; 3], 3, 1),
    ] {
        let chosen = of(x, outs, k, groups, PlanOptions::default());
        assert_eq!((chosen.parts.bundle, chosen.parts.bundles()), (bundle, groups as u32 / bundle), "{x:?} {groups}");
        // No other takes less.
        let possible: Vec<_> = chosen.parts.possible_bundles().collect();
        assert!(possible.contains(&bundle) && possible.iter().all(|&bundle| groups % i64::from(bundle) == 0));
        for bundle in possible {
            let parts = Parts { bundle, ..chosen.parts };
            let other = CudaSpectral::of_parts(parts, true, &facts(), DType::F32, PlanOptions::default()).unwrap();
            assert!(spectral_seconds(&other) >= spectral_seconds(&chosen), "{x:?} {groups}: {bundle}");
        }
    }
    // What a bundle takes more may be more than there is.
    let whole = of(large, 1, [3; 3], 64, PlanOptions::default());
    let budget = PlanOptions { workspace_budget: Some(whole.workspace_bytes() - 1), ..PlanOptions::default() };
    let cut = of(large, 1, [3; 3], 64, budget);
    assert!(cut.workspace_bytes() < whole.workspace_bytes() && spectral_seconds(&cut) >= spectral_seconds(&whole));
}
