//! Laws over every toy, and the ways a table can be split.

use std::path::Path;
use std::sync::LazyLock;

use cnflow::io::{self, Array, Dtype};
use cnflow::rows::{DataOptions, Mixture, SplitRule, Table, TableOptions, Toy, ring, toys};
use cnflow::{Error, rng, rows};
use rayon::prelude::*;

const STEP: f64 = 0.04;

/// The middles of the cells of a grid over the toy's extent, and the volume of a cell.
fn grid(toy: &Toy) -> (Vec<f64>, f64) {
    let cells = (2.0 * toy.extent / STEP).round() as usize;
    let at = |i: usize| -toy.extent + (i as f64 + 0.5) * STEP;
    match toy.dim {
        1 => ((0..cells).map(at).collect(), STEP),
        _ => ((0..cells * cells).flat_map(|i| [at(i / cells), at(i % cells)]).collect(), STEP * STEP),
    }
}

fn log_probs(toy: &Toy, x: &[f64]) -> Vec<f64> {
    x.par_chunks_exact(toy.dim).map(toy.log_prob).collect()
}

/// log p of each toy on its grid.
static ON_GRID: LazyLock<Vec<Vec<f64>>> =
    LazyLock::new(|| toys::ALL.iter().map(|toy| log_probs(toy, &grid(toy).0)).collect());

#[test]
fn densities_integrate_to_one_and_to_their_entropies() {
    for (toy, log_p) in toys::ALL.iter().zip(&*ON_GRID) {
        let (_, volume) = grid(toy);
        let mass: f64 = log_p.iter().map(|l| l.exp() * volume).sum();
        let entropy: f64 = log_p.iter().filter(|l| l.is_finite()).map(|l| -l.exp() * l * volume).sum();
        // Ahead of the checks, so that a failure shows what came before it.
        println!("{:14} mass - 1 = {:9.1e}  entropy {entropy:.7}", toy.name, mass - 1.0);
        // The trapezoidal rule errs by e^(−2π²σ²/h²), at most e^(−79) (σ = 0.08); the rest is the mass outside.
        assert!((mass - 1.0).abs() < 1e-7, "{}: mass {mass}", toy.name);
        assert!((entropy - toy.entropy).abs() <= toy.entropy_se.max(1e-12), "{}: entropy {entropy}", toy.name);
    }
}

#[test]
fn entropies_agree_with_the_table_of_the_notes() {
    // `../shared/NUMERICS.md`, section 9: figures of three decimals; the ± are standard errors of an estimate from
    // samples.
    let table = [
        ("checkerboard", 3.4657, 5e-5),
        ("circles", 3.268, 5e-4),
        ("8gaussians", 2.831, 6e-4),
        ("swissroll", 2.671, 0.004),
        ("2spirals", 2.651, 0.005),
        ("rings", 2.623, 5e-4),
        ("moons", 2.401, 0.004),
        ("pinwheel", 2.317, 0.003),
    ];
    for (name, entropy, error) in table {
        let exact = toys::find(name).unwrap().entropy;
        // Exact figures are rounded ones; of the estimates, five lie within 2 standard errors by rights.
        assert!((exact - entropy).abs() <= 2.0 * error, "{name}: {exact} beside {entropy}");
    }
}

#[test]
fn samples_follow_their_densities() {
    const N: usize = 200_000;
    for (k, toy) in toys::ALL.iter().enumerate() {
        let x = (toy.sample)(N, &mut rng::stream(11, k as u64));
        assert_eq!(x.len(), N * toy.dim);
        let log_p = log_probs(toy, &x);
        assert!(log_p.iter().all(|l| l.is_finite()), "{}: a sample outside the support", toy.name);
        // The mean of −log p is the entropy, within 4 of its own standard errors.
        let mean = -log_p.iter().sum::<f64>() / N as f64;
        let variance = log_p.iter().map(|l| (l + mean).powi(2)).sum::<f64>() / N as f64;
        let bound = 4.0 * (variance / N as f64).sqrt() + 1e-9;
        println!("{:14} -mean log p - entropy = {:9.2e}, bound {bound:.2e}", toy.name, mean - toy.entropy);
        assert!((mean - toy.entropy).abs() <= bound, "{}: {mean} for {}", toy.name, toy.entropy);

        // First and second moments of each column against the integrals of the density.
        let (points, volume) = grid(toy);
        let weights: Vec<f64> = ON_GRID[k].iter().map(|l| l.exp() * volume).collect();
        for j in 0..toy.dim {
            for power in [1, 2] {
                let moment = |x: &[f64]| x[j].powi(power);
                let values = x.chunks_exact(toy.dim).map(moment);
                let sampled = values.clone().sum::<f64>() / N as f64;
                let spread = values.map(|v| (v - sampled).powi(2)).sum::<f64>() / N as f64;
                let exact: f64 = points.chunks_exact(toy.dim).map(moment).zip(&weights).map(|(m, w)| m * w).sum();
                // 4 standard errors; the middle rule errs by h²/12 of a second moment where p has edges.
                let bound = 4.0 * (spread / N as f64).sqrt() + STEP * STEP / 12.0;
                assert!((sampled - exact).abs() <= bound, "{} x{j}^{power}: {sampled} for {exact}", toy.name);
            }
        }
    }
}

#[test]
fn samples_fill_a_coarse_grid_as_the_density_does() {
    // Moments and entropy do not see everything: cells of 1 × 1, each against its own binomial error.
    const N: usize = 100_000;
    for (k, toy) in toys::ALL.iter().enumerate().filter(|(_, toy)| toy.dim == 2) {
        let bin = |x: &[f64]| ((x[0].floor() + 8.0) * 16.0 + x[1].floor() + 8.0) as usize;
        let mut expected = vec![0.0; 256];
        let (points, volume) = grid(toy);
        for (x, l) in points.chunks_exact(2).zip(&ON_GRID[k]) {
            expected[bin(x)] += l.exp() * volume;
        }
        let mut found = vec![0usize; 256];
        for x in (toy.sample)(N, &mut rng::stream(12, k as u64)).chunks_exact(2) {
            found[bin(x)] += 1;
        }
        for (cell, (&p, &n)) in expected.iter().zip(&found).enumerate() {
            let n_expected = p * N as f64;
            // 5 σ leaves one false alarm in 1000 runs over all cells. Cells of the grid end where bins end; the
            // middle rule errs there by h²/24 · p′, below 1e-3 of the bin at σ = 0.08.
            let bound = 5.0 * n_expected.max(1.0).sqrt() + 1e-3 * n_expected;
            assert!((n as f64 - n_expected).abs() <= bound, "{} cell {cell}: {n} for {n_expected}", toy.name);
        }
    }
}

#[test]
fn densities_far_out_are_numbers_and_fall() {
    for toy in toys::ALL {
        for reach in [10.0, 13.9, 14.1, 30.0, 1e3, 1e6] {
            let x = vec![reach; toy.dim];
            let log_p = (toy.log_prob)(&x);
            assert!(!log_p.is_nan() && log_p < -50.0, "{} at {reach}: {log_p}", toy.name);
        }
        assert!(!(toy.log_prob)(&vec![0.0; toy.dim]).is_nan(), "{} at 0", toy.name);
    }
}

#[test]
fn a_seed_fixes_every_toy_and_streams_differ() {
    for toy in toys::ALL {
        let draw = |seed, stream| (toy.sample)(100, &mut rng::stream(seed, stream));
        assert_eq!(draw(1, 2), draw(1, 2), "{}", toy.name);
        assert_ne!(draw(1, 2), draw(1, 3), "{}", toy.name);
        assert_ne!(draw(1, 2), draw(2, 2), "{}", toy.name);
        // A long draw begins with the short one: batches may be cut anywhere.
        assert_eq!((toy.sample)(200, &mut rng::stream(1, 2))[..100 * toy.dim], draw(1, 2)[..], "{}", toy.name);
    }
}

#[test]
fn the_scaled_bessel_function_is_right_on_both_sides_of_its_seam() {
    // e⁻ᵘ I₀(u) = (1/π) ∫₀^π e^(u (cos a − 1)) da, by the trapezoidal rule: spectral for a periodic integrand.
    for u in [0.0, 1e-3, 0.5, 1.0, 3.75, 10.0, 24.999, 25.0, 25.001, 40.0, 300.0, 700.0] {
        let n = 2000;
        let at = |k: i32| (u * ((std::f64::consts::PI * f64::from(k) / f64::from(n)).cos() - 1.0)).exp();
        let integral = ((1..n).map(at).sum::<f64>() + 0.5 * (at(0) + at(n))) / f64::from(n);
        let value = ring::scaled_i0(u);
        // 2000 terms add up with a relative error of a few ulp; e⁻ᵘ at u = 25 costs 25 ulp/2.
        assert!((value / integral - 1.0).abs() < 1e-13, "u = {u}: {value} for {integral}");
    }
}

#[test]
fn a_mixture_of_one_is_the_gaussian_and_bad_mixtures_are_refused() {
    let one = Mixture::new(2, vec![3.0], vec![1.0, -1.0], vec![2.0, 0.5]).unwrap();
    let by_hand = -(std::f64::consts::TAU).ln() - 0.5 * (1.0 + 4.0);
    assert!((one.log_prob(&[3.0, -2.0]) - by_hand).abs() < 1e-14);
    let two = Mixture::isotropic(1, vec![1.0, 3.0], vec![-5.0, 5.0], vec![1.0, 1.0]).unwrap();
    assert!((two.log_prob(&[5.0]) - two.log_prob(&[-5.0]) - 3f64.ln()).abs() < 1e-12);
    let right = two.sample(40_000, &mut rng::stream(3, 0)).iter().filter(|x| **x > 0.0).count();
    // ¾ of 40 000, within 5 of √(n·¾·¼) = 87.
    assert!((right as f64 - 30_000.0).abs() < 435.0, "{right}");
    assert!(Mixture::isotropic(1, vec![1.0], vec![0.0, 1.0], vec![1.0]).is_err());
    assert!(Mixture::isotropic(1, vec![1.0], vec![0.0], vec![0.0]).is_err());
    assert!(Mixture::isotropic(1, vec![-1.0], vec![0.0], vec![1.0]).is_err());
}

#[test]
fn held_out_sets_of_a_toy_are_fixed_by_the_seed_and_differ() {
    let options = DataOptions { held_out: 500, ..DataOptions::default() };
    let one = rows::resolve("moons", &options, 7).unwrap();
    let two = rows::resolve("moons", &options, 7).unwrap();
    assert_eq!((one.dim, one.n_train(), one.valid.x.len(), one.test.x.len()), (2, None, 1000, 1000));
    assert_eq!(one.valid, two.valid);
    assert_eq!(one.test, two.test);
    assert_ne!(one.valid, one.test);
    assert_eq!(one.toy().map(|t| t.name), Some("moons"));
    assert_eq!(one.draw(3, &mut rng::stream(7, 0)).len(), 6);
}

/// A table of n rows whose first column is the row's number.
fn numbered(n: usize) -> Array {
    Array::table((0..n).flat_map(|i| [i as f64, -(i as f64)]).collect(), 2, Dtype::F64).unwrap()
}

fn options(split: SplitRule) -> TableOptions {
    TableOptions { split, ..TableOptions::default() }
}

#[test]
fn a_random_split_is_a_partition_fixed_by_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.npy");
    for n in [3, 10, 1001] {
        io::write(&file, &numbered(n)).unwrap();
        let table = Table::read(&file, &TableOptions::default(), 5).unwrap();
        let split = &table.split;
        let mut all: Vec<usize> = [&split.train[..], &split.valid, &split.test].concat();
        all.sort_unstable();
        assert_eq!(all, (0..n).collect::<Vec<_>>());
        assert_eq!(split.valid.len(), (n as f64 / 10.0).round().max(1.0) as usize);
        assert_eq!(split, &Table::read(&file, &TableOptions::default(), 5).unwrap().split);
        if n > 100 {
            assert_ne!(split, &Table::read(&file, &TableOptions::default(), 6).unwrap().split);
        }
    }
    let set = rows::resolve(file.to_str().unwrap(), &DataOptions::default(), 5).unwrap();
    assert_eq!(set.n_train(), Some(801));
    let drawn = set.draw(50, &mut rng::stream(1, 1));
    assert!(drawn.chunks_exact(2).all(|row| row[0] == -row[1]));
}

#[test]
fn the_split_of_rows_without_copies_has_the_bits_it_always_had() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.npy");
    io::write(&file, &numbered(12)).unwrap();
    let split = Table::read(&file, &TableOptions::default(), 5).unwrap().split;
    // As drawn when copies were not looked for.
    assert_eq!((split.valid, split.test), (vec![11], vec![5]));
}

#[test]
fn copies_never_sit_on_two_sides_of_a_random_split() {
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = (folder.path().join("x.npy"), folder.path().join("y.npy"));
    // How often each different row comes.
    let tables: [(&str, Vec<usize>); 7] = [
        ("pairs", vec![2; 200]),
        ("a few copies", (0..300).map(|i| 1 + usize::from(i % 50 == 0)).collect()),
        ("one row most of the time", [vec![900], vec![1; 100]].concat()),
        ("few different rows", vec![50; 36]),
        ("three different rows", vec![18, 1, 1]),
        ("three different rows, all many", vec![70, 80, 90]),
        ("rising", (1..40).collect()),
    ];
    for (name, times) in tables {
        let n: usize = times.iter().sum();
        // Copies far apart in the file, and 0 beside −0.
        let mut rows: Vec<f64> = Vec::new();
        for turn in 0..*times.iter().max().unwrap() {
            for (k, _) in times.iter().enumerate().filter(|(_, times)| turn < **times) {
                rows.extend([k as f64, if turn % 2 == 0 { 0.0 } else { -0.0 }]);
            }
        }
        io::write(&file, &Array::table(rows, 2, Dtype::F64).unwrap()).unwrap();
        for seed in 0..20 {
            let table = Table::read(&file, &TableOptions::default(), seed).unwrap();
            let sets = [&table.split.train, &table.split.valid, &table.split.test];
            let mut all: Vec<usize> = sets.into_iter().flatten().copied().collect();
            all.sort_unstable();
            assert_eq!(all, (0..n).collect::<Vec<_>>(), "{name}");
            let mut side = vec![None; times.len()];
            for (k, set) in sets.iter().enumerate() {
                assert!(!set.is_empty() && set.is_sorted(), "{name}, set {k}");
                for row in *set {
                    let of = &mut side[table.x.at(2 * row) as usize];
                    assert!(of.is_none_or(|known| known == k), "{name}: copies in two sets");
                    *of = Some(k);
                }
            }
            // Runs of before are read with the split that they had: that of the same number of different rows.
            let before = TableOptions { copies_together: false, ..TableOptions::default() };
            let before = Table::read(&file, &before, seed).unwrap().split;
            io::write(&other, &numbered(n)).unwrap();
            assert_eq!(before, Table::read(&other, &TableOptions::default(), seed).unwrap().split, "{name}");
            // A held-out set misses its size by at most half of the smallest group that could have been added or left,
            // or it is a single group.
            let most = *times.iter().max().unwrap();
            for set in &sets[1..] {
                let groups = side
                    .iter()
                    .zip(&times)
                    .filter(|(s, _)| **s == Some(if std::ptr::eq(*set, sets[1]) { 1 } else { 2 }))
                    .count();
                let off = set.len().abs_diff((n as f64 / 10.0).round() as usize);
                assert!(groups == 1 || 2 * off <= most, "{name}: {} of {n} rows held out", set.len());
            }
        }
    }
    io::write(&file, &Array::table([1.0, 2.0].repeat(50), 1, Dtype::F64).unwrap()).unwrap();
    let error = Table::read(&file, &TableOptions::default(), 0).unwrap_err();
    assert!(error.to_string().contains("its 100 rows have 2 different values"), "{error}");
    assert!(error.hint().unwrap().contains("noise"));
}

#[test]
fn columns_are_dropped_by_name_and_by_number_from_every_kind_of_file() {
    let folder = tempfile::tempdir().unwrap();
    let (npy, csv) = (folder.path().join("x.npy"), folder.path().join("x.csv"));
    io::write(&npy, &Array::table(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 3, Dtype::F64).unwrap()).unwrap();
    std::fs::write(&csv, "a,b,c\n1,2,3\n4,5,6\n7,8,9\n").unwrap();
    let read = |file: &Path, drop: &[&str]| {
        let drop = drop.iter().map(|name| (*name).to_owned()).collect();
        Table::read(file, &TableOptions { drop, ..TableOptions::default() }, 0)
    };
    for (file, drop, left) in [
        (&npy, &["1"][..], [1.0, 3.0]),
        (&npy, &["0"], [2.0, 3.0]),
        (&csv, &["a"], [2.0, 3.0]),
        (&csv, &["1"], [1.0, 3.0]),
    ] {
        let table = read(file, drop).unwrap();
        assert_eq!((table.d, &table.x.part(0..2)[..]), (2, &left[..]), "{drop:?}");
    }
    assert_eq!(read(&csv, &["a", "c"]).unwrap().columns.unwrap(), ["b"]);
    assert_eq!(read(&npy, &["0", "2"]).unwrap().x.all()[..], [2.0, 5.0, 8.0]);
    for (file, drop, part) in [(&npy, "3", "unknown column `3`"), (&npy, "a", "unknown column `a`"), (&csv, "x", "`x`")]
    {
        assert!(read(file, &[drop]).unwrap_err().to_string().contains(part), "{drop}");
    }
    assert!(read(&npy, &["0", "1", "2"]).unwrap_err().to_string().contains("no column is left: 3 columns dropped"));
}

#[test]
fn a_column_that_is_dropped_may_hold_anything() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.npy");
    let data = (0..12).map(|i| if i == 4 { f64::NAN } else { f64::from(i) }).collect();
    io::write(&file, &Array::table(data, 3, Dtype::F64).unwrap()).unwrap();
    let missing = rows::MissingRows::Refuse;
    let options = |drop: &str| TableOptions { drop: vec![drop.into()], missing, ..TableOptions::default() };
    let read = |drop: &str| Table::read(&file, &options(drop), 0);
    let table = read("1").unwrap();
    assert_eq!((&table.numbers[..], &table.x.part(0..4)[..]), (&[0, 2][..], &[0.0, 2.0, 3.0, 5.0][..]));
    // The column is named by its number in the file.
    let error = read("0").unwrap_err().to_string();
    assert!(error.contains("1 of its 8 numbers is not finite; the first is NaN in row 1, column 1"), "{error}");
}

#[test]
fn numbers_of_conditions_count_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    // The column j holds numbers from 10 j to 10 j + 10.
    let number = |k: usize| 10.0 * (k % 5) as f64 + ((7 * k) % 100) as f64 / 10.0 + 0.05;
    let whole = Array::table((0..200).map(number).collect(), 5, Dtype::F64).unwrap();
    for file in ["x.npy", "x.csv"] {
        let path = folder.path().join(file);
        io::write(&path, &whole).unwrap();
        let read = |drop: &[&str], condition: &[&str]| {
            let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            let table = TableOptions { drop: own(drop), ..TableOptions::default() };
            let options = DataOptions { table, condition: own(condition), ..DataOptions::default() };
            rows::resolve(path.to_str().unwrap(), &options, 0)
        };
        for (drop, condition, left) in [
            (&[][..], &["2"][..], &[0usize, 1, 3, 4][..]),
            (&["1"], &["2"], &[0, 3, 4]),
            (&["0", "1"], &["4", "2"], &[3]),
            (&["4"], &["0", "3"], &[1, 2]),
        ] {
            let found = read(drop, condition).unwrap();
            let context = found.context.unwrap();
            let of = |rows: &[f64], d: usize| rows[..d].iter().map(|x| (x / 10.0) as usize).collect::<Vec<_>>();
            let wanted: Vec<usize> = condition.iter().map(|name| name.parse().unwrap()).collect();
            assert_eq!(
                (of(&found.test.points(), left.len()), found.dim),
                (left.to_vec(), left.len()),
                "{file}, {drop:?}"
            );
            assert_eq!(
                (of(&found.test.context, wanted.len()), context.dim),
                (wanted.clone(), wanted.len()),
                "{file}, {drop:?}"
            );
            assert_eq!(context.columns, condition, "{file}, {drop:?}");
        }
        // What is left out is no condition.
        let error = read(&["1"], &["1"]).unwrap_err();
        assert!(error.to_string().contains("unknown column `1`"), "{error}");
        assert!(error.hint().unwrap().contains("`0`, `2`, `3`, `4`"), "{:?}", error.hint());
    }
}

#[test]
fn a_split_is_found_beside_in_a_file_or_in_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let (x, codes) = (folder.path().join("x.npy"), folder.path().join("x_split.npy"));
    io::write(&x, &numbered(4)).unwrap();
    io::write(&codes, &Array::vector(vec![2.0, 0.0, 1.0, 0.0], Dtype::F64)).unwrap();
    let beside = Table::read(&x, &TableOptions::default(), 0).unwrap();
    assert_eq!(
        (&beside.split.train[..], &beside.split.valid[..], &beside.split.test[..]),
        (&[1, 3][..], &[2][..], &[0][..])
    );
    assert_eq!(beside.rows(&beside.split.train), [1.0, -1.0, 3.0, -3.0]);
    let named = Table::read(&x, &options(SplitRule::File(codes)), 0).unwrap();
    assert_eq!(named.split, beside.split);
    let text = folder.path().join("x.csv");
    std::fs::write(&text, "a,set,note,b\n1,test,x,2\n3,train,y,4\n5,1,z,6\n").unwrap();
    let drop = vec!["note".to_owned()];
    let table = Table::read(
        &text,
        &TableOptions { split: SplitRule::Column("set".into()), drop, ..TableOptions::default() },
        0,
    )
    .unwrap();
    assert_eq!(table.columns.unwrap(), ["a", "b"]);
    assert_eq!(table.x.all()[..], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(table.split.train, [1]);
    assert_eq!(table.split.valid, [2]);
}

#[test]
fn wrong_splits_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let x = folder.path().join("x.npy");
    io::write(&x, &numbered(4)).unwrap();
    let text = folder.path().join("x.csv");
    std::fs::write(&text, "a,set\n1,0\n2,holdout\n").unwrap();
    let with_codes = |codes: Vec<f64>| {
        let file = folder.path().join("codes.npy");
        io::write(&file, &Array::vector(codes, Dtype::F64)).unwrap();
        Table::read(&x, &options(SplitRule::File(file)), 0)
    };
    let column = |name: &str| Table::read(&text, &options(SplitRule::Column(name.into())), 0);
    let shares = |train, valid| Table::read(&x, &options(SplitRule::Fractions { train, valid }), 0);
    let cases = [
        (with_codes(vec![0.0, 1.0]), "it holds 2 codes, but"),
        (with_codes(vec![0.0, 1.0, 3.0, 0.0]), "unknown code `3` in row 2"),
        (with_codes(vec![1.0, 1.0, 2.0, 2.0]), "leaves no row for training"),
        (Table::read(&x, &options(SplitRule::File("no.npy".into())), 0), "the file does not exist"),
        (column("set"), "unknown code `holdout` in line 3"),
        (column("split"), "it has no column `split`"),
        (
            Table::read(&x, &options(SplitRule::Column("set".into())), 0),
            "of a split is read from texts and Parquet, and this is an array",
        ),
        (shares(0.0, 0.5), "are not a split"),
        (shares(0.9, 0.2), "are not a split"),
        (shares(f64::NAN, 0.2), "are not a split"),
    ];
    for (result, sentence) in cases {
        let error = result.map(|t| t.split).unwrap_err().to_string();
        assert!(error.contains(sentence), "`{error}` lacks `{sentence}`");
    }
    io::write(&x, &numbered(2)).unwrap();
    assert!(Table::read(&x, &TableOptions::default(), 0).unwrap_err().to_string().contains("2 rows cannot be split"));
}

#[test]
fn an_unknown_name_lists_the_toys_and_a_path_is_read() {
    let unknown = rows::resolve("9gaussians", &DataOptions::default(), 0).unwrap_err();
    assert!(matches!(unknown, Error::Unknown { .. }), "{unknown}");
    let hint = unknown.hint().unwrap();
    assert!(toys::ALL.iter().all(|toy| hint.contains(toy.name)) && hint.contains(".npz"), "{hint}");
    for missing in ["gone.npy", "gone.npz:x", "some/folder/of/no/one"] {
        let error = rows::resolve(missing, &DataOptions::default(), 0).unwrap_err();
        assert!(!error.to_string().contains("unknown data set"), "{error}");
    }
}

#[test]
fn the_example_table_is_read_with_its_split() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/hr_diagram_2d.npy");
    let table = Table::read(&file, &TableOptions::default(), 0).unwrap();
    assert_eq!((table.n, table.d), (37_817, 2));
    let split = &table.split;
    let sizes = [split.train.len(), split.valid.len(), split.test.len()];
    assert_eq!(sizes.iter().sum::<usize>(), table.n);
    // 80/10/10 of 37 817, to one row.
    assert!(sizes[1].abs_diff(3782) <= 1 && sizes[2].abs_diff(3782) <= 1, "{sizes:?}");
}
