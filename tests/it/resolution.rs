//! Points keep the resolution of their columns on every way through the program: files, texts, and what a command hands
//! to the next.
//!
//! The column of all these tests is a date: 2.46e6 with a deviation of 1e-3. In f32 its steps are 0.25, so that one
//! number that is f32 anywhere between the data and a file makes all dates equal.
#![cfg(feature = "cli")]

use std::collections::BTreeSet;
use std::path::Path;

use cnflow::continuous::End;
use cnflow::io::{self, Array, Dtype};
use cnflow::model::Model;
use cnflow::rng;
use cnflow::transform::StandardNormal;
use cnflow::velocity::Precision;

use crate::common::command::{folder, json};

/// Where the dates lie, and their deviation.
const DATE: f64 = 2_460_310.5;
const SPREAD: f64 = 1e-3;

/// Writes `n` rows of a date, and of a magnitude where `d` is 2.
fn dates(path: &Path, n: usize, d: usize) {
    let z = StandardNormal::new(d).draw(n, &mut rng::stream(7, d as u64));
    let row =
        |z: &[f64]| (0..d).map(|j| if j == 0 { DATE + SPREAD * z[0] } else { 15.0 + 0.3 * z[j] }).collect::<Vec<_>>();
    let rows = z.chunks_exact(d).flat_map(row).collect();
    io::write(path, &Array::table(rows, d, Dtype::F64).unwrap()).unwrap();
}

fn distinct(table: &Array, column: usize) -> usize {
    table.data.iter().skip(column).step_by(table.cols).map(|v| v.to_bits()).collect::<BTreeSet<_>>().len()
}

/// The file, of f64 numbers.
fn wide(at: &Path, name: &str) -> Array {
    let table = io::read(&at.join(name)).unwrap();
    assert_eq!(table.dtype, Dtype::F64, "{name}");
    table
}

#[test]
fn samples_of_every_family_keep_the_resolution_of_their_columns() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    dates(&at.join("two.npy"), 1000, 2);
    dates(&at.join("one.csv"), 1000, 1);
    let n = 2000;
    for (family, data) in [
        ("cnf", "two.npy"),
        ("cnf --base normal", "two.npy"),
        ("cnf --objective likelihood --rtol 1e-3 --atol 1e-3", "two.npy"),
        ("nice", "two.npy"),
        ("realnvp", "two.npy"),
        ("glow", "two.npy"),
        ("spline", "two.npy"),
        ("gaussian", "two.npy"),
        ("gaussian-fixed --sigma 0.001", "two.npy"),
        ("mixture", "two.npy"),
        ("histogram", "two.npy"),
        ("cnf", "one.csv"),
        ("spline", "one.csv"),
        ("histogram", "one.csv"),
    ] {
        let name = format!("{family} of {data}");
        let net = if ["gaussian", "mixture", "histogram"].iter().any(|fitted| family.starts_with(fitted)) {
            ""
        } else {
            "--hidden 8 --batch 64 --steps 20"
        };
        json(at, &format!("train --data {data} --model {family} {net} --out run --force --quiet"));
        json(at, &format!("sample run -n {n} -o s.npy --with-density carried.npy"));
        let samples = wide(at, "s.npy");
        // Two of 2000 normal draws are the same number in f32 in one of some 20 cases: a step of f32 is 6e-8 near 1,
        // and 2000² / 2 pairs each fall into one step with probability 0.28 · 6e-8 times the part of draws near 1.
        assert!(distinct(&samples, 0) >= n - 1, "{name}: {} dates of {n}", distinct(&samples, 0));
        // The text says the same bits.
        json(at, &format!("sample run -n {n} -o s.csv"));
        assert_eq!(wide(at, "s.csv").data, samples.data, "{name}");

        // A row's log-density is that which was carried along: one step of f32 would be 250 deviations.
        json(at, "density run s.npy -o lp.npy");
        let (there, back) = (wide(at, "carried.npy"), wide(at, "lp.npy"));
        let mut off: Vec<f64> = there.data.iter().zip(&back.data).map(|(a, b)| (a - b).abs()).collect();
        off.sort_by(f64::total_cmp);
        // Ninety-nine of a hundred rows: a table's edges and a net's kinks amplify round-off in the last.
        assert!(off[n * 99 / 100] < 1e-2, "{name}: {}", off[n * 99 / 100]);

        // Latents are those that the samples were made of, as far as the date itself has digits: 4.7e-10 / 1e-3.
        let facts = json(at, "invert s.npy --model run -o z.npy");
        assert!(distinct(&wide(at, "z.npy"), 0) >= n - 1, "{name}");
        // Two f32 solves at tolerances of 1e-5, with some fifty steps each.
        assert!(facts["round_trip_mean"].as_f64().unwrap() < 1e-3, "{name}: {facts}");
        json(at, "sample run --latent z.npy -o again.npy");
        let again = wide(at, "again.npy");
        let column = |t: &Array| t.data.iter().step_by(t.cols).copied().collect::<Vec<f64>>();
        let mut off: Vec<f64> = column(&again).iter().zip(column(&samples)).map(|(a, b)| (a - b).abs()).collect();
        off.sort_by(f64::total_cmp);
        assert!(off[n * 99 / 100] < 0.05 * SPREAD, "{name}: {}", off[n * 99 / 100]);
    }
}

#[test]
fn every_command_writes_f64() {
    let folder = folder();
    let at = folder.path();
    let writes: [(&str, &[&str]); 6] = [
        ("data moons -n 20 -o a.E --with-density b.E", &["a", "b"]),
        ("sample m.safetensors -n 20 -o a.E --with-density b.E", &["a", "b"]),
        ("sample m.safetensors --latent x.npy -o a.E", &["a"]),
        ("invert x.npy --model m.safetensors -o a.E", &["a"]),
        ("density m.safetensors x.npy -o a.E --error-bars b.E", &["a", "b"]),
        ("density m.safetensors --grid 8 -o a.E", &["a"]),
    ];
    for precision in ["f32", "f64"] {
        for (words, names) in &writes {
            let how = if words.starts_with("data") { String::new() } else { format!(" --precision {precision}") };
            json(at, &(words.replace(".E", ".npy") + &how));
            json(at, &(words.replace(".E", ".csv") + &how));
            for name in *names {
                let (binary, text) = (wide(at, &format!("{name}.npy")), wide(at, &format!("{name}.csv")));
                assert_eq!(binary.data, text.data, "{words}: {name}");
                // In f32 a net without preprocessing ends at numbers of f32. In f64 all of them are such by chance in
                // one case of 2^29 for each number.
                let rounded = binary.data.iter().all(|v| f64::from(*v as f32) == *v);
                assert!(!rounded || (precision == "f32" && !how.is_empty()), "{words}: {name} at {precision}");
            }
        }
    }
}

#[test]
fn a_log_density_beyond_f32_is_a_number_and_not_outside() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    json(at, "train --data moons --model gaussian --out run --quiet");
    // z² / 2 of 1e20 deviations and more; the greatest f32 is 3.4e38.
    let far = Array::table(vec![1e20, 0.0, -3e21, 2.0], 2, Dtype::F64).unwrap();
    io::write(&at.join("far.npy"), &far).unwrap();
    for name in ["lp.npy", "lp.csv"] {
        json(at, &format!("density run far.npy -o {name}"));
        let found = wide(at, name).data;
        assert!(found.iter().all(|l| l.is_finite() && *l < -3.5e38), "{name}: {found:?}");
    }
}

#[test]
fn what_is_handed_on_between_layers_and_to_pictures_is_f64() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    dates(&at.join("dates.npy"), 600, 2);
    // Distances of samples to the data are in deviations of the data; f32 would round a date by up to 125 of them.
    let facts = json(at, "compare --data dates.npy --models gaussian,realnvp --steps 50 --out c");
    for model in facts["models"].as_array().unwrap() {
        let number = |key: &str| model[key].as_f64().unwrap_or_else(|| panic!("no {key} in {model}"));
        assert!(number("sliced") < 1.0 && number("round_trip_mean") < 1e-2, "{model}");
    }
    // Particles of pictures and films: at every stage as many dates as particles.
    let n = 500;
    let z = StandardNormal::new(2).draw(n, &mut rng::stream(1, 1));
    json(at, "train --data dates.npy --base normal --hidden 8 --steps 20 --out flow --quiet");
    for run in ["flow", "c/realnvp"] {
        let model = Model::load(&at.join(run).join("model.safetensors")).unwrap();
        for (start, end) in [(&z, End::Latent), (&io::read(&at.join("dates.npy")).unwrap().data, End::Data)] {
            let start = &start[..2 * n];
            let stages = model.stages(Precision::F32, start, end, &[], &[0.0, 0.5, 1.0]).unwrap();
            for (k, points) in stages.points.chunks_exact(2 * n).enumerate() {
                let table = Array::table(points.to_vec(), 2, Dtype::F64).unwrap();
                assert!(distinct(&table, 0) >= n - 1, "{run}, {end:?}, stage {k}: {}", distinct(&table, 0));
            }
        }
    }
}
