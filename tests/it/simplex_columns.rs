//! Laws of columns that are the parts of a whole: log p is that of their log-ratios plus ln T − Σ ln x − ½ ln k; samples sum
//! to the total; rounded rows are closed, others are outside the support.

use crate::common::columns::{self, trained};
#[cfg(feature = "cli")]
use crate::common::command::{cnf, json};
use crate::common::velocity::bits;
use crate::common::watch::First;
use cnflow::continuous::End;
use cnflow::rng::stream;
use cnflow::rows::{Memory, diagnose};
use cnflow::train::{Family, Job, findings, fit, resume, score};
use cnflow::transform::{Closing, StandardNormal};
use cnflow::velocity::Precision;
use cnflow::{Error, Model};
use rand_distr::{Distribution, Gamma};

/// The parts of a Dirichlet distribution with these exponents, `[n, k]`, which sum to `total`.
fn dirichlet(alpha: &[f64], total: f64, n: usize, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, 0);
    let laws: Vec<Gamma<f64>> = alpha.iter().map(|a| Gamma::new(*a, 1.0).unwrap()).collect();
    let one = |_| {
        let row: Vec<f64> = laws.iter().map(|law| law.sample(&mut rng)).collect();
        let sum: f64 = row.iter().sum();
        row.into_iter().map(move |x| total * x / sum)
    };
    (0..n).flat_map(one).collect()
}

/// Three parts of 100, and between the first two a column that depends on them.
fn rows(n: usize, seed: u64) -> Vec<f64> {
    let parts = dirichlet(&[3.0, 4.0, 5.0], 100.0, n, seed);
    let z = StandardNormal::new(1).draw(n, &mut stream(seed, 1));
    parts.chunks_exact(3).zip(z).flat_map(|(p, z)| [p[0], z + (p[0] / p[1]).ln(), p[1], p[2]]).collect()
}

fn table(x: Vec<f64>, names: Option<&[&str]>, dim: usize) -> Memory {
    let columns = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Memory { name: "the rows".into(), x: x.into(), dim, columns, ..Memory::default() }
}

const NAMES: [&str; 4] = ["sand", "x", "silt", "clay"];
const RULE: &str = "sand,silt,clay:simplex";

/// As [`columns::job`]; a velocity alone, for a mixture beside it might be the model.
fn job(family: &str, rules: &[&str], steps: usize) -> Job {
    columns::job(family, rules, steps).with(|job| {
        if job.model.family == Family::Cnf {
            job.model.base = "normal".into();
        }
    })
}

#[test]
fn every_family_has_the_flow_of_the_log_ratios_times_their_determinant() {
    for family in Family::ALL.into_iter().filter(|family| *family != Family::Histogram) {
        let name = family.name();
        let job = job(name, &[RULE], 10);
        let data = job.dataset_in_memory(table(rows(900, 1), Some(&NAMES), 4), None).unwrap();
        let model = trained(&job, &data);
        let spec = &model.spec;
        assert_eq!((spec.dim(), spec.architecture.dim(), &spec.apart()[..]), (4, 3, &[3][..]), "{name}");
        assert_eq!((&spec.names[..], spec.simplexes[0].total), (&NAMES.map(str::to_owned)[..], 100.0), "{name}");
        assert_eq!(spec.simplexes[0].places, [0, 2, 3], "{name}");
        let bound = model.bind(Precision::F64).unwrap();
        let x = rows(50, 2);
        let scored = bound.log_prob(&x, &[]).unwrap().log_prob;
        // The flow of the log-ratios, and ln|det| by its formula.
        let parts = spec.parts().unwrap().unwrap();
        let inner = bound.of_log_ratios().unwrap();
        assert_eq!(inner.spec().names, ["log-ratio to silt", "x", "log-ratio to clay"], "{name}");
        let under = inner.log_prob(&parts.inward(&x).0, &[]).unwrap().log_prob;
        for (i, (all, under)) in scored.iter().zip(&under).enumerate() {
            let [a, _, b, c] = x[4 * i..4 * i + 4] else { panic!() };
            let sum = under + 100f64.ln() - (a * b * c).ln() - 0.5 * 3f64.ln();
            assert!((all - sum).abs() < 1e-9 * sum.abs().max(1.0), "{name}, row {i}: {all} or {sum}");
        }
        // There and back; the last part has no latent, and what is in its place changes nothing.
        let z = bound.latents(&x, &[]).unwrap().y;
        let back = bound.decode(&z, &[]).unwrap();
        assert!(z.chunks_exact(4).all(|z| z[3] == 0.0), "{name}");
        assert!(back.y.iter().zip(&x).all(|(a, b)| (a - b).abs() < 2e-3 * b.abs().max(1.0)), "{name}");
        assert!(back.log_prob.iter().zip(&scored).all(|(a, b)| (a - b).abs() < 1e-2), "{name}");
        let other: Vec<f64> = z.iter().enumerate().map(|(i, z)| if i % 4 == 3 { 1e3 - i as f64 } else { *z }).collect();
        let same = bound.decode(&other, &[]).unwrap();
        assert_eq!((bits(&same.y), bits(&same.log_prob)), (bits(&back.y), bits(&back.log_prob)), "{name}");
        // Samples are parts of the whole.
        let samples = bound.sample_rows(3, 0, 2000, &[]).unwrap().y;
        for row in samples.chunks_exact(4) {
            assert!((row[0] + row[2] + row[3] - 100.0).abs() < 1e-10 && row[0].min(row[2]).min(row[3]) > 0.0, "{name}");
        }
        // A row's bits are its own: alone, on one thread, as a part of a sample, after a file.
        let alone: Vec<f64> = x.chunks_exact(4).flat_map(|row| bound.log_prob(row, &[]).unwrap().log_prob).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let single = pool.install(|| bound.log_prob(&x, &[]).unwrap().log_prob);
        assert_eq!((bits(&alone), bits(&single)), (bits(&scored), bits(&scored)), "{name}");
        let part = bound.sample_rows(3, 100, 50, &[]).unwrap().y;
        assert_eq!(bits(&part), bits(&samples[400..600]), "{name}");
        let other = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
        assert_eq!(other.spec, model.spec, "{name}");
        assert_eq!(bits(&other.bind(Precision::F64).unwrap().log_prob(&x, &[]).unwrap().log_prob), bits(&scored));
        // Outside are rows without a part and those of another total; a rounded row is that of the closed one.
        let scaled = |by: f64| [x[0] * by, x[1], x[2] * by, x[3] * by];
        let no_part = [0.0, 1.0, 60.0, 40.0];
        let strange = [&no_part[..], &x[..4], &[1.0, f64::NAN, 60.0, 39.0], &scaled(1.01), &scaled(1.004)].concat();
        let found = bound.log_prob(&strange, &[]).unwrap();
        assert_eq!((found.log_prob[0], &found.cost.outside[..]), (f64::NEG_INFINITY, &[0, 3][..]), "{name}");
        assert_eq!(found.log_prob[1].to_bits(), scored[0].to_bits(), "{name}");
        assert!(found.log_prob[2].is_nan() && found.cost.failures.len() == 1, "{name}");
        assert!((found.log_prob[4] - scored[0]).abs() < 1e-6, "{name}: {:?}", found.log_prob);
        // The gradient of the function that closes rows.
        let grad = bound.log_prob_and_grad(&strange, &[]).unwrap();
        assert!(grad.gradient[..4].iter().chain(&grad.gradient[8..16]).all(|g| g.is_nan()), "{name}");
        assert_eq!(bits(&grad.scored.log_prob[..2]), bits(&found.log_prob[..2]), "{name}");
        for row in [1, 4] {
            let at = |j: usize, step: f64| {
                let mut moved = strange[4 * row..4 * row + 4].to_vec();
                moved[j] += step;
                bound.log_prob(&moved, &[]).unwrap().log_prob[0]
            };
            for j in 0..4 {
                let h = 1e-5 * strange[4 * row + j].abs();
                let (slope, own) = ((at(j, h) - at(j, -h)) / (2.0 * h), grad.gradient[4 * row + j]);
                assert!((own - slope).abs() < 2e-2 * slope.abs().max(1.0), "{name} {j}: {own} or {slope}");
            }
        }
        if spec.stages().is_ok() {
            for end in [End::Data, End::Latent] {
                let start = if end == End::Data { &x[..40] } else { &z[..40] };
                let stages = bound.stages(start, end, &[], &[0.0, 0.5, 1.0]).unwrap();
                let last = &stages.points[80..];
                assert!(last.iter().zip(&x).all(|(a, b)| (a - b).abs() < 2e-3 * b.abs().max(1.0)), "{name}");
                let mut rows = stages.points.chunks_exact(4);
                assert!(rows.all(|row| (row[0] + row[2] + row[3] - 100.0).abs() < 1e-10), "{name}");
                for (k, t) in [0.0, 0.5, 1.0].into_iter().enumerate() {
                    let own = bound.until(t).unwrap().log_prob(&stages.points[40 * k..40 * k + 40], &[]).unwrap();
                    let stage = &stages.log_prob[10 * k..10 * k + 10];
                    assert!(own.log_prob.iter().zip(stage).all(|(a, b)| (a - b).abs() < 2e-2), "{name} {t}");
                }
            }
        }
    }
}

#[test]
fn the_density_of_every_family_integrates_to_one_over_the_triangle() {
    for family in Family::ALL {
        let name = family.name();
        let job = job(name, &["2,0,1:simplex"], 30);
        let data = job.dataset_in_memory(table(dirichlet(&[3.0, 2.0, 4.0], 1.0, 1500, 3), None, 3), None).unwrap();
        let model = trained(&job, &data);
        assert_eq!((model.spec.architecture.dim(), model.spec.names.len()), (2, 0), "{name}");
        let bound = model.bind(Precision::F32).unwrap();
        // Over the first two parts, the last being what is left; what rounding takes from it is closed.
        let n = 160;
        let at = |i: usize| (i as f64 + 0.5) / n as f64;
        let cells: Vec<f64> = (0..n * n)
            .map(|c| (at(c / n), at(c % n)))
            .filter(|(a, b)| a + b < 1.0 - 1e-9)
            .flat_map(|(a, b)| [a, b, 1.0 - a - b])
            .collect();
        let logs = bound.log_prob(&cells, &[]).unwrap().log_prob;
        // Cells on the edge of the triangle count half: there the density is nearly 0.
        let mass: f64 = logs.iter().map(|log| log.exp()).sum::<f64>() / (n * n) as f64;
        assert!((mass - 1.0).abs() < 0.02, "{name}: {mass}");
    }
}

#[test]
fn a_training_goes_on_to_the_same_bits_and_scores_the_whole() {
    let words = |x: Vec<f64>| -> Vec<f64> {
        x.chunks_exact(4).enumerate().flat_map(|(i, row)| [row, &[(i % 3) as f64]].concat()).collect()
    };
    let names = ["sand", "x", "silt", "clay", "kind"];
    for (family, named, rules, condition) in [
        ("cnf", true, vec![RULE], vec![]),
        ("spline", false, vec!["0,2,3:simplex", "1:heavy"], vec![]),
        ("mixture", true, vec![RULE], vec![]),
        ("realnvp", true, vec![RULE], vec!["kind".to_owned()]),
        ("cnf", true, vec![RULE, "kind:class"], vec![]),
        ("nice", false, vec!["3,0,2:simplex", "4:class", "1:heavy"], vec![]),
    ] {
        let more = !condition.is_empty() || rules.iter().any(|rule| rule.ends_with("class"));
        let (x, dim) = if more { (words(rows(700, 3)), 5) } else { (rows(700, 3), 4) };
        let job = job(family, &rules, 12).with(|job| job.data.condition = condition.clone());
        let data = job.dataset_in_memory(table(x, named.then_some(&names[..dim]), dim), None).unwrap();
        let mut first = First(None);
        let whole = fit(&job.clone().resolve_for(&data).unwrap(), &data, &mut first).unwrap();
        assert_eq!(whole.job.data.columns, rules, "{family}");
        let bound = whole.model.bind(Precision::F32).unwrap();
        // Scores on the way are those of the whole model.
        let best = whole.history.validations.iter().map(|v| v.nll).fold(f64::INFINITY, f64::min);
        let found = score(&bound, &data.valid, None).unwrap();
        assert!((best - found.nll).abs() < 1e-3, "{family}: {best} or {}", found.nll);
        let samples = bound.sample(50, &vec![1.0; 50 * condition.len()], &mut stream(1, 0)).unwrap().y;
        let at = whole.model.dim();
        assert!(samples.chunks_exact(at).all(|row| (row[0] + row[2] + row[3] - 100.0).abs() < 1e-10), "{family}");
        if family == "mixture" {
            continue;
        }
        let checkpoint = first.0.unwrap();
        assert_eq!(checkpoint.job().data.columns, rules, "{family}");
        assert_eq!((checkpoint.spec().dim(), checkpoint.spec().simplexes.len()), (whole.model.dim(), 1), "{family}");
        let again = resume(checkpoint, &data, &mut ()).unwrap();
        assert_eq!((&whole.model.theta, &whole.model.spec), (&again.model.theta, &again.model.spec), "{family}");
        assert_eq!(whole.history.validations.len(), again.history.validations.len(), "{family}");
    }
}

#[test]
fn several_wholes_stand_beside_columns_of_every_kind() {
    let first = dirichlet(&[3.0, 4.0], 1.0, 800, 4);
    let second = dirichlet(&[2.0, 2.0, 3.0], 24.0, 800, 5);
    let z = StandardNormal::new(2).draw(800, &mut stream(6, 0));
    let row = |i: usize| {
        let (a, b, z) = (&first[2 * i..], &second[3 * i..], &z[2 * i..]);
        [b[0], a[0], (i % 7) as f64, z[0].exp(), b[1], a[1], 180.0 * z[1], b[2]]
    };
    let x: Vec<f64> = (0..800).flat_map(row).collect();
    let weight: Vec<f64> = (0..800).map(|i| 1.0 + f64::from(i % 3)).collect();
    let rules = ["1,5:simplex", "7,0,4:simplex", "2:integer", "3:positive", "6:angle"];
    for family in ["cnf", "spline", "gaussian", "mixture"] {
        let job = job(family, &rules, 8);
        let memory = Memory { weight: Some(weight.clone()), ..table(x.clone(), None, 8) };
        let data = job.dataset_in_memory(memory, None).unwrap();
        let result = fit(&job.clone().resolve_for(&data).unwrap(), &data, &mut ()).unwrap();
        let model = result.model;
        assert_eq!((model.spec.architecture.dim(), &model.spec.apart()[..]), (6, &[4, 5][..]), "{family}");
        let totals: Vec<f64> = model.spec.simplexes.iter().map(|one| one.total).collect();
        assert_eq!(totals, [1.0, 24.0], "{family}");
        let bound = model.bind(Precision::F64).unwrap();
        let samples = bound.sample_rows(1, 0, 300, &[]).unwrap().y;
        for row in samples.chunks_exact(8) {
            assert!(
                (row[1] + row[5] - 1.0).abs() < 1e-12 && (row[7] + row[0] + row[4] - 24.0).abs() < 1e-11,
                "{family}"
            );
            assert!(row[2].fract() == 0.0 && row[3] > 0.0, "{family}: {row:?}");
        }
        let encoded = bound.encode(&samples, &[]).unwrap();
        let back = bound.decode(&encoded.y, &[]).unwrap();
        assert!(encoded.log_prob.iter().all(|log| log.is_finite()), "{family}");
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-2 * b.abs().max(1.0) || (a - b).abs() > 359.0;
        assert!(back.y.iter().zip(&samples).all(near), "{family}");
        // Weighted scores count the determinants by the weights of their rows.
        let best = result.history.validations.iter().map(|v| v.nll).fold(f64::INFINITY, f64::min);
        let found = score(&model.bind(Precision::F32).unwrap(), &data.valid, None).unwrap();
        assert!((best - found.nll).abs() < 2e-3, "{family}: {best} or {}", found.nll);
    }
}

#[test]
fn parts_of_no_whole_are_refused_with_the_way_out() {
    let tried = |job: &Job, memory: Memory| -> Error {
        let data = job.dataset_in_memory(memory, None).unwrap();
        match job.clone().resolve_for(&data) {
            Ok(job) => fit(&job, &data, &mut ()).unwrap_err(),
            Err(error) => error,
        }
    };
    let with = |at: usize, value: f64| {
        let mut x = rows(300, 5);
        x[at] = value;
        x
    };
    let constant: Vec<f64> =
        rows(300, 5).chunks_exact(4).flat_map(|r| [25.0, r[1], 75.0 - r[3] / 2.0, r[3] / 2.0]).collect();
    let tied: Vec<f64> = rows(300, 5)
        .chunks_exact(4)
        .flat_map(|r| [(100.0 - r[3]) / 4.0, r[1], 3.0 * (100.0 - r[3]) / 4.0, r[3]])
        .collect();
    for (rules, x, part) in [
        (vec![RULE], with(40, 0.0), "have a part that is 0 or less"),
        (vec![RULE], with(40, 300.0), "do not sum to the total within 0.5 %"),
        (vec![RULE], constant, "column `sand` is constant"),
        (vec![RULE], tied, "the same in all training rows"),
        (vec!["sand:simplex"], rows(300, 5), "a simplex of 1 part"),
        (vec![":simplex"], rows(300, 5), "expected NAME:KIND"),
        (vec!["sand,:simplex"], rows(300, 5), "a simplex of 1 part"),
        (vec!["sand,silt,sand:simplex"], rows(300, 5), "`sand` is a part twice"),
        (vec!["sand,0,silt:simplex"], rows(300, 5), "column `sand` is a part twice"),
        (vec!["sand,silt:simplex", "clay,sand:simplex"], rows(300, 5), "column `sand` is a part twice"),
        (vec!["sand,silt,rock:simplex"], rows(300, 5), "unknown column `rock`"),
        (vec![RULE, "clay:positive"], rows(300, 5), "clay:positive: the column is a part of a simplex too"),
        (vec![RULE, "clay:class"], rows(300, 5), "column `clay` is a class and a part of a simplex"),
    ] {
        let job = job("realnvp", &rules, 3);
        let error = tried(&job, table(x, Some(&NAMES), 4));
        let way_out = error.hint().is_some() || matches!(error, Error::Unknown { .. });
        assert!(error.to_string().contains(part) && way_out, "{part}: {error}");
    }
    let two = ["a", "b", "a", "c"];
    let error = tried(&job("nice", &["a,b,c:simplex"], 3), table(rows(300, 5), Some(&two), 4));
    assert!(error.to_string().contains("two columns are called `a`"), "{error}");
    let toy = job("realnvp", &["0,1:simplex"], 3);
    let data = toy.dataset(Some("moons")).unwrap();
    let error = fit(&toy.clone().resolve_for(&data).unwrap(), &data, &mut ()).unwrap_err();
    assert!(error.to_string().contains("no parts of a whole") && error.hint().is_some(), "{error}");
}

#[test]
fn rows_that_sum_to_a_constant_are_recognised_and_as_a_simplex_have_a_density() {
    let plain = job("cnf", &[], 3);
    let data = plain.dataset_in_memory(table(rows(600, 7), Some(&NAMES), 4), None).unwrap();
    let found = diagnose::dataset(&data, true);
    let hint = &found.iter().find(|one| one.kind == "linear relation").unwrap().hint;
    assert!(hint.contains("`data.columns` sand,silt,clay:simplex"), "{hint}");
    assert!(!findings(&plain, &data, true).is_empty());
    let called = job("cnf", &[RULE], 3);
    assert_eq!(findings(&called, &data, true), []);
    // With negative numbers there are no parts.
    let moved: Vec<f64> =
        rows(600, 7).chunks_exact(4).flat_map(|row| [row[0] - 50.0, row[1], row[2], row[3]]).collect();
    let data = plain.dataset_in_memory(table(moved, Some(&NAMES), 4), None).unwrap();
    let found = diagnose::dataset(&data, true);
    assert!(found.iter().any(|one| one.kind == "linear relation" && !one.hint.contains("simplex")), "{found:?}");
}

#[test]
fn rounded_percentages_are_closed_with_a_note() {
    #[derive(Default)]
    struct Notes(Vec<String>);
    impl cnflow::train::Watch for Notes {
        fn see(&mut self, _: &cnflow::train::Progress<'_>) -> std::ops::ControlFlow<()> {
            std::ops::ControlFlow::Continue(())
        }
        fn note(&mut self, words: &str) {
            self.0.push(words.into());
        }
    }
    let round = |x: Vec<f64>, digits: f64| -> Vec<f64> {
        let one = |(i, v): (usize, f64)| if i % 4 == 1 { v } else { (v * digits).round().max(1.0) / digits };
        x.into_iter().enumerate().map(one).collect()
    };
    let job = job("realnvp", &[RULE], 5);
    let data = job.dataset_in_memory(table(round(rows(900, 8), 10.0), Some(&NAMES), 4), None).unwrap();
    let mut notes = Notes::default();
    let model = fit(&job.clone().resolve_for(&data).unwrap(), &data, &mut notes).unwrap().model;
    assert_eq!(model.spec.simplexes[0].total, 100.0);
    let scaled: Vec<&String> = notes.0.iter().filter(|note| note.contains("scaled to the total")).collect();
    assert!(scaled.len() == 1 && scaled[0].contains("for 100, in row"), "{:?}", notes.0);
    // Numbers of 32 bits are closed without a word.
    let narrow: Vec<f64> = rows(900, 8).into_iter().map(|v| f64::from(v as f32)).collect();
    let data = job.dataset_in_memory(table(narrow.clone(), Some(&NAMES), 4), None).unwrap();
    let mut notes = Notes::default();
    let model = fit(&job.clone().resolve_for(&data).unwrap(), &data, &mut notes).unwrap().model;
    assert!(!notes.0.iter().any(|note| note.contains("scaled")), "{:?}", notes.0);
    let mut closing = Closing::default();
    closing.see(&model.spec.parts().unwrap().unwrap(), 0, &narrow);
    assert_eq!((closing.n, closing.closed.rows, closing.beyond.rows), (900, 0, 0));
}

#[cfg(feature = "cli")]
#[test]
fn every_command_takes_a_model_with_a_simplex() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let text = |rows: &[f64], names: &str, d: usize| {
        rows.chunks_exact(d).fold(names.to_owned() + "\n", |text, row| {
            text + &row.iter().map(|v| format!("{v}")).collect::<Vec<_>>().join(",") + "\n"
        })
    };
    std::fs::write(at.join("t.csv"), text(&rows(900, 9), "sand,x,silt,clay", 4)).unwrap();
    std::fs::write(at.join("two.csv"), text(&dirichlet(&[3.0, 2.0], 1.0, 600, 1), "p,q", 2)).unwrap();
    for (model, more) in
        [("cnf", "--hidden 16,16 --base normal"), ("spline", "--hidden 16,16"), ("gaussian", ""), ("mixture", "")]
    {
        let facts =
            json(at, &format!("train --data t.csv --column {RULE} --model {model} --steps 40 {more} --out {model}"));
        assert!(facts["nll"].as_f64().unwrap().is_finite());
        json(at, &format!("check {model} -n 200"));
    }
    let info = json(at, "info cnf");
    assert_eq!(info["simplexes"], serde_json::json!([{"places": [0, 2, 3], "total": 100.0}]));
    let words = String::from_utf8(cnf(at, "info cnf").stdout).unwrap();
    assert!(words.contains("sand, silt, clay sum to 100"), "{words}");
    json(at, "sample cnf -n 300 -o s.csv --plot s.png");
    json(at, "density cnf s.csv -o l.npy --error-bars bars.npy");
    json(at, "density cnf t.csv -o l.npy");
    json(at, "invert t.csv --model cnf -o z.csv --plot z.png");
    json(at, "sample cnf --latent z.csv -o back.csv");
    let read = |file: &str| cnflow::io::read(&at.join(file)).unwrap().data;
    assert!(read("back.csv").iter().zip(&read("t.csv")).all(|(a, b)| (a - b).abs() < 1e-2 * b.abs().max(1.0)));
    // The columns are found by name.
    let turned: Vec<f64> = rows(900, 9).chunks_exact(4).flat_map(|r| [r[3], 7.0, r[1], r[0], r[2]]).collect();
    std::fs::write(at.join("turned.csv"), text(&turned, "clay,id,x,sand,silt", 5)).unwrap();
    json(at, "density cnf turned.csv -o turned.npy");
    assert_eq!(bits(&read("turned.npy")), bits(&read("l.npy")));
    json(at, "compare cnf spline gaussian --out compared");
    json(at, "trajectory cnf -o way.png");
    json(at, "trajectory spline t.csv -o way.png");
    json(at, "plot cnf --out drawn");
    json(at, "train --data t.csv --init spline --model spline --steps 3 --out on");
    let specs = ["spline", "on"].map(|run| Model::load(&at.join(run).join("model.safetensors")).unwrap().spec);
    assert_eq!(specs[0].simplexes, specs[1].simplexes);
    let config = std::fs::read_to_string(at.join("cnf/config.toml")).unwrap();
    assert!(config.contains("sand,silt,clay:simplex"), "{config}");
    json(at, "train --config cnf/config.toml --out again");
    let file = |run: &str| Model::load(&at.join(run).join("model.safetensors")).unwrap();
    assert_eq!((file("cnf").theta, file("cnf").spec), (file("again").theta, file("again").spec));
    // Two parts of one whole lie on a line in the plane.
    json(at, "train --data two.csv --column p,q:simplex --model cnf --base normal --steps 20 --hidden 8 --out line");
    json(at, "trajectory line -o way.png");
    json(at, "compare line --out line-compared");
    let facts: serde_json::Value = serde_json::from_slice(&cnf(at, "check line -n 100 --json").stdout).unwrap();
    let mass = facts["checks"].as_array().unwrap().iter().find(|line| line["name"] == "mass").unwrap();
    assert_eq!(mass["verdict"], "pass", "{facts}");
    // Rows outside, and rounded ones, are counted.
    let strange = "sand,x,silt,clay\n0,1,60,40\n20,1,40,40.1\n20,1,40,30\n20,1,40,40\n";
    std::fs::write(at.join("strange.csv"), strange).unwrap();
    let out = cnf(at, "density cnf strange.csv -o strange-logp.csv");
    let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert!(said.contains("1 row of 4 scaled to the total") && said.contains("2 outside the support"), "{said}");
    let logs = std::fs::read_to_string(at.join("strange-logp.csv")).unwrap();
    let logs: Vec<f64> = logs.lines().skip(1).map(|cell| cell.parse().unwrap()).collect();
    assert!(logs[0] == f64::NEG_INFINITY && logs[2] == f64::NEG_INFINITY && logs[1].is_finite() && logs[3].is_finite());
    for (words, part, code) in [
        ("density line --grid 20 -o g.npy", "the model has a simplex", 1),
        ("export cnf -o e.safetensors", "parts of a whole", 1),
        (
            "train --data t.csv --column sand:simplex --steps 3 --out no",
            "--column sand:simplex: a simplex of 1 part",
            1,
        ),
        ("train --data t.csv --column sand,rock:simplex --steps 3 --out no", "unknown column `rock`", 1),
        ("train --data t.csv --column x,sand:simplex --steps 3 --out no", "that is 0 or less", 1),
        ("train --data t.csv --init spline --column x:positive --out no", "--init", 2),
        ("train --data digits --column 0,1:simplex --steps 3 --out no", "pixels", 1),
    ] {
        let out = cnf(at, words);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(code) && said.contains(part), "{words}: {said}");
        assert!(!at.join("no/model.safetensors").exists(), "{words}");
    }
    let plain = cnf(at, "train --data t.csv --model gaussian --out plain");
    let said = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(said.contains("--column sand,silt,clay:simplex"), "{said}");
}
