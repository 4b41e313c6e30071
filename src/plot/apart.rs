//! A law of layout: no two texts of a picture overlap, and none leaves the page; a note lists what is left out.

use std::cell::RefCell;
use std::path::Path;

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::scene::{Mark, Rect, Scene, words_box};
use super::*;

/// The texts of a picture and their boxes.
type Words = Vec<(String, Rect)>;

thread_local! {
    /// Of the last picture that this thread saved.
    static LAST: RefCell<(Words, (u32, u32))> = const { RefCell::new((Vec::new(), (0, 0))) };
}

/// Remembers a page that is written.
pub(super) fn record(scene: &Scene) {
    let words = scene.marks.iter().filter_map(|mark| match mark {
        Mark::Words { text, at, size, anchor, up, .. } => {
            Some((text.clone(), words_box(text, *at, *size, *anchor, *up)))
        }
        _ => None,
    });
    LAST.with(|last| *last.borrow_mut() = (words.collect(), scene.size));
}

/// The texts of the last picture, all of them a pixel or more apart, and none of which leaves the page.
fn apart(what: &str) -> Vec<String> {
    let (words, size) = LAST.with(|last| last.borrow().clone());
    assert!(!words.is_empty(), "{what}: no words");
    for (i, (text, r)) in words.iter().enumerate() {
        let (wide, high) = (f64::from(size.0), f64::from(size.1));
        assert!(
            r.x >= -1.0 && r.y >= -1.0 && r.right() <= wide + 1.0 && r.bottom() <= high + 1.0,
            "{what}: `{text}` at {r:?} leaves the page of {size:?}"
        );
        for (other, s) in &words[..i] {
            let near = r.meets(s, 1.0, 0.0) || r.meets(s, 0.0, 1.0);
            assert!(!near, "{what}: `{text}` at {r:?} touches `{other}` at {s:?}");
        }
    }
    words.into_iter().map(|w| w.0).collect()
}

/// `[n, d]` rows, each column a map of a normal number.
fn rows(n: usize, columns: &[fn(f64) -> f64], seed: u64) -> Vec<f64> {
    let mut rng = crate::rng::stream(seed, 9);
    (0..n).flat_map(|_| columns.iter().map(|f| f(rng.sample(StandardNormal))).collect::<Vec<_>>()).collect()
}

/// Columns of all kinds: tight, wide, negative with long labels, heavy tails, skewed, whole, nearly constant.
const KINDS: [fn(f64) -> f64; 9] = [
    |z| z,
    |z| -12_345.678 + 0.01 * z,
    |z| 1e6 * z,
    |z| 1e-7 * z - 3e-6,
    |z| (2.0 * z).exp(),
    // Nearly Cauchy.
    |z| z / (1.0 - 0.9999 * (-z * z).exp()).max(1e-9),
    |z| z.round(),
    |z| if z > 1.0 { z } else { 0.0 },
    |z| -0.000_123_4 - 1e-5 * z,
];

#[test]
fn no_text_of_any_picture_touches_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    let drawn = |what: &str, result: Result<Vec<usize>>| {
        result.unwrap();
        apart(what)
    };
    let names = |d: usize| (0..d).map(|j| format!("a long name of column {j}")).collect::<Vec<_>>();
    for d in [1, 2, 3, 5, 7, 8, 9, 43] {
        for turn in 0..3 {
            let columns: Vec<_> = (0..d).map(|j| KINDS[(j + 4 * turn) % KINDS.len()]).collect();
            let (data, samples) = (rows(400, &columns, 1), rows(400, &columns, 2));
            for size in [None, Some((500, 400)), Some((1200, 500))] {
                let long = if turn == 1 { names(d) } else { Vec::new() };
                let options = Options { size, names: long, ..Options::default() };
                let what = format!("{d} columns, turn {turn}, {size:?}");
                drawn(&what, samples_of(&path, &data, &samples, d, &options));
                drawn(&format!("alone, {what}"), samples_of(&path, &data, &[], d, &options));
                drawn(&format!("latents, {what}"), latents(&path, &rows(400, &vec![KINDS[0]; d], 3), d, &options));
            }
        }
    }
    // Densities of two columns, and of one, in proportion and by the logarithm.
    for (k, f) in KINDS.iter().enumerate() {
        let data = rows(400, &[*f, KINDS[(k + 3) % KINDS.len()]], 4);
        let (x, y) = (extent(&data, 2, 0), extent(&data, 2, 1));
        let values = (0..400).map(|i| (-0.05 * f64::from(i)).exp()).collect();
        let plane = Grid { x, y, nx: 20, ny: 20, values };
        let line = Grid { x, y: (0.0, 1.0), nx: 20, ny: 1, values: plane.values[..20].to_vec() };
        let ones: Vec<f64> = data.iter().step_by(2).copied().collect();
        for scale in [Scale::Linear, Scale::Log(6.0), Scale::Log(30.0)] {
            let options = Options { scale, ..Options::default() };
            density_and_data(&path, &data, &plane, &options).unwrap();
            let words = apart(&format!("density, kind {k}, {scale:?}"));
            assert!(
                words.iter().any(|w| w == if scale == Scale::Linear { "density" } else { "log p (nats)" }),
                "{words:?}"
            );
            density_and_data(&path, &ones, &line, &options).unwrap();
            apart(&format!("density of one column, kind {k}, {scale:?}"));
        }
    }
}

fn samples_of(path: &Path, data: &[f64], samples: &[f64], d: usize, options: &Options) -> Result<Vec<usize>> {
    super::samples(path, data, samples, d, options)
}

#[test]
fn what_a_picture_leaves_out_is_said_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    let columns = vec![KINDS[0]; 43];
    let (mut data, samples) = (rows(2000, &columns, 1), rows(2000, &columns, 2));
    let all = Options::default();
    let shown = samples_of(&path, &data, &samples, 43, &all).unwrap();
    assert_eq!(shown, [0, 8, 16, 25, 33, 42]);
    let words = apart("43 columns").join(" ");
    assert!(words.contains("6 of 43 columns are shown: 0, 8, 16, 25, 33, 42 (counted from 0)"), "{words}");
    for part in ["x₀", "x₈", "x₄₂"] {
        assert!(words.contains(part), "{part} is not in {words}");
    }
    // One row far out is outside, whatever the columns; the three rows of each tail's 0.05 % may be.
    data[0] = 1e6;
    let columns = Some(vec![42, 0]);
    let names: Vec<String> = (0..43).map(|j| format!("c{j}")).collect();
    let two = Options { columns, names, ..Options::default() };
    assert_eq!(samples_of(&path, &data, &samples, 43, &two).unwrap(), [42, 0]);
    let words = apart("2 of 43 columns").join(" ");
    assert!(words.contains("2 of 43 columns are shown: c42, c0") && !words.contains("counted from 0"), "{words}");
    let out = words.split("outside the axes: ").nth(1).unwrap();
    let count: usize = out.split(' ').next().unwrap().parse().unwrap();
    assert!((1..=8).contains(&count) && out.contains("of 2000 rows of the data"), "{words}");
    // What cannot be chosen is refused.
    for wrong in [vec![43], vec![1, 1], vec![], (0..13).collect()] {
        let options = Options { columns: Some(wrong.clone()), ..Options::default() };
        assert!(samples_of(&path, &data, &samples, 43, &options).is_err(), "{wrong:?}");
    }
    // A picture without anything outside has no note.
    let even: Vec<f64> = (0..400).map(|i| f64::from(i % 20)).collect();
    samples_of(&path, &even, &[], 1, &all).unwrap();
    assert!(!apart("even").join(" ").contains("outside"));
}

#[test]
fn heavy_tails_do_not_press_the_bulk_into_a_few_bins() {
    let mut rng = crate::rng::stream(3, 3);
    // Quantiles of Cauchy's distribution, whose quartiles are ±1.
    let cauchy: Vec<f64> = (0..3000).map(|_| (std::f64::consts::PI * (rng.random::<f64>() - 0.5)).tan()).collect();
    let (low, high) = extent(&cauchy, 1, 0);
    assert!(high - low < 30.0 && low < -5.0 && high > 5.0, "{low} {high}");
    let out = stats::outside(&cauchy, 1, &[0], &[(low, high)]);
    // P(|x| > 14.6) = 0.044; of 3000 the count has a deviation of 11, and the quartiles move the ends by some per cent.
    assert!((80..220).contains(&out), "{out}");
    // No bulk is lost of what has no such tails: the range is that of nearly all.
    for (name, f) in [("Gaussian", KINDS[0]), ("two modes", |z: f64| if z > 0.0 { z + 30.0 } else { z })] {
        let values = rows(3000, &[f], 5);
        let range = extent(&values, 1, 0);
        assert!(stats::outside(&values, 1, &[0], &[range]) <= 4, "{name}: {range:?}");
    }
    // A rare mode beside a bulk is seen.
    let rare: Vec<f64> =
        rows(3000, &[KINDS[0]], 6).into_iter().enumerate().map(|(i, z)| if i % 500 == 0 { 8.0 } else { z }).collect();
    assert!(extent(&rare, 1, 0).1 > 8.0);
    // Half of the values equal, all but one equal, all equal, none.
    for values in [rows(1000, &[KINDS[7]], 7), [vec![1.0; 999], vec![1e9]].concat(), vec![3.0; 9], Vec::new()] {
        let (low, high) = extent(&values, 1, 0);
        assert!(low < high && low.is_finite() && high.is_finite());
    }
}

#[test]
fn what_replaced_the_flow_has_its_score_in_the_picture_of_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    let loss: Vec<(f64, f64)> = (1..200).map(|i| (f64::from(i), 1.0 + 1.0 / f64::from(i))).collect();
    let held_out: Vec<(f64, f64, f64)> =
        (1..20).map(|i| (10.0 * f64::from(i), 4.0 + 1.0 / f64::from(i), 0.1)).collect();
    for loss_is_nll in [false, true] {
        let none = Training {
            unit: "steps",
            loss: &loss,
            loss_is_nll,
            score_unit: "nats",
            held_out: &held_out,
            entropy: None,
            winner: None,
        };
        training_curve(&path, &none, &Options::default()).unwrap();
        assert!(!apart("none").join(" ").contains("the model"));
        let winner = Training { winner: Some(("a mixture of 7 Gaussians", 2.5, 0.03)), ..none };
        training_curve(&path, &winner, &Options::default()).unwrap();
        let words = apart("winner").join(" ");
        assert!(words.contains("the model: a mixture of 7 Gaussians, 2.500 ± 0.030"), "{words}");
        assert!(words.contains("flow, validation NLL"), "{words}");
    }
}
