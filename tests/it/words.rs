//! What commands print of odd numbers: no NaN, no endless digits, the right plural, and which rows carry a mean.
#![cfg(feature = "cli")]

use std::path::Path;

use crate::common::command::{cnf, json};
use cnflow::io::{self, Array, Dtype};
use cnflow::rng;
use cnflow::transform::StandardNormal;

fn write(at: &Path, name: &str, x: Vec<f64>, d: usize) {
    io::write(&at.join(name), &Array::table(x, d, Dtype::F64).unwrap()).unwrap();
}

/// Standard normal rows of two columns.
fn normal(n: usize, stream: u64) -> Vec<f64> {
    StandardNormal::new(2).draw(n, &mut rng::stream(11, stream))
}

/// Of 400 rows 320 to train on, 30 to validate with, and 50 test rows.
fn codes() -> Vec<f64> {
    [vec![0.0; 320], vec![1.0; 30], vec![2.0; 50]].concat()
}

/// Whether a text is fit for people: no number that is none, and none of more than 17 characters of digits.
fn fit(words: &str, text: &str) {
    // A failed row is NaN in a file, and that is said.
    let lower = text.replace("NaN in the files", "").to_lowercase();
    let word = |w: &str| lower.split(|c: char| !c.is_alphanumeric()).any(|found| found == w);
    assert!(!word("nan"), "`cnf {words}` prints NaN:\n{text}");
    let longest = text.split(|c: char| !(c.is_ascii_digit() || c == '.')).map(str::len).max();
    assert!(longest.is_none_or(|most| most <= 17), "`cnf {words}` prints a number of {longest:?} digits:\n{text}");
    for wrong in [" 1 points", " 1 rows", " 1 columns", " 1 samples", " 1 steps", " 1 particles"] {
        assert!(!format!(" {text}").contains(wrong), "`cnf {words}` prints `{wrong}`:\n{text}");
    }
}

/// Runs a command with text and with JSON; both are fit, whether it succeeds or fails with an error that it names.
fn tried(at: &Path, words: &str) -> (i32, String) {
    let out = cnf(at, words);
    let text = String::from_utf8([&out.stdout[..], &out.stderr[..]].concat()).unwrap();
    fit(words, &text);
    let code = out.status.code().unwrap();
    assert!(code == 0 || code == 1 && text.contains("error: "), "`cnf {words}` ends with {code}:\n{text}");
    let out = cnf(at, &format!("{words} --json"));
    if out.status.success() {
        let facts: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert!(facts.is_object());
    }
    (code, text)
}

/// As [`tried`], of what succeeds.
fn said(at: &Path, words: &str) -> String {
    let (code, text) = tried(at, words);
    assert_eq!(code, 0, "`cnf {words}`:\n{text}");
    text
}

#[test]
fn a_mean_that_one_row_carries_is_said_to_be_so_with_the_median() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "t.npy", normal(1000, 1), 2);
    json(at, "train --data t.npy --model gaussian --out g");
    let mut far = normal(300, 2);
    far[2 * 17] = 1e8;
    write(at, "far.npy", far, 2);
    write(at, "near.npy", normal(300, 2), 2);
    // −log p there is 10¹⁶ / 2 over a variance of about 1: with a deviation of 0.05.
    let facts = json(at, "density g far.npy");
    assert_eq!(facts["mean_carried_by"], 1);
    let mean = facts["mean_log_prob"].as_f64().unwrap() * 300.0 / -5e15;
    assert!((mean - 1.0).abs() < 0.3, "{facts}");
    // The median of −log p of a standard normal is log 2π + median(χ²₂)/2 = 1.8379 + 0.6931; its error 0.06.
    let median = facts["median_log_prob"].as_f64().unwrap();
    assert!((median + 2.531).abs() < 0.3, "{facts}");
    let text = said(at, "density g far.npy");
    assert!(text.contains("1 of 300 rows carries the mean"), "{text}");
    assert!(text.contains("the farthest is row 17, counted from 0") && text.contains("the median is -2."), "{text}");
    let facts = json(at, "density g near.npy");
    assert!(facts["mean_carried_by"].is_null() && facts["median_log_prob"].is_number(), "{facts}");
    assert!(!said(at, "density g near.npy").contains("carr"));

    // The same of a training: the far row is a test row, and the other rows are not.
    let mut rows = normal(400, 3);
    rows[2 * 390] = 1e8;
    write(at, "u.npy", rows, 2);
    write(at, "u_split.npy", codes(), 1);
    let facts = json(at, "train --far-rows keep --data u.npy --model gaussian --out h");
    assert_eq!((&facts["nll_carried_by"], &facts["n"]), (&1.into(), &50.into()), "{facts}");
    assert!((facts["nll_median"].as_f64().unwrap() - 2.531).abs() < 0.8, "{facts}");
    let text = said(at, "train --far-rows keep --data u.npy --model gaussian --out h --force");
    assert!(text.contains("1 of 50 test rows carries the mean (the farthest is row 40, counted from 0)"), "{text}");
    let text = said(at, "info h");
    assert!(text.contains("1 of 50 rows carries the mean"), "{text}");
    // A comparison of it and another.
    json(at, "train --far-rows keep --data u.npy --model realnvp --steps 5 --hidden 8 --out k");
    let facts = json(at, "compare h k --out c");
    assert!(facts["models"].as_array().unwrap().iter().all(|m| m["nll_carried_by"] == 1), "{facts}");
    let text = said(at, "compare h k --out c --force");
    assert!(text.contains("gaussian: 1 of 50 test rows carries the mean; the median is"), "{text}");
    assert!(text.lines().next().unwrap().contains("median nats"), "{text}");
    let page = std::fs::read_to_string(at.join("c/report.html")).unwrap();
    assert!(page.contains("1 of 50 test rows carries the mean"));
}

#[test]
fn the_curve_of_a_training_has_the_median_of_each_score() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut rows = normal(400, 4);
    rows[2 * 330] = 1e9;
    write(at, "t.npy", rows, 2);
    write(at, "t_split.npy", codes(), 1);
    let text = said(at, "train --far-rows keep --data t.npy --model realnvp --steps 20 --hidden 8 --out r");
    assert!(text.contains("NLL "), "{text}");
    let metrics = std::fs::read_to_string(at.join("r/metrics.csv")).unwrap();
    let head: Vec<&str> = metrics.lines().next().unwrap().split(',').collect();
    let column = |name: &str| head.iter().position(|h| *h == name).unwrap();
    let (nll, median, few) = (column("valid_nll"), column("valid_nll_median"), column("valid_nll_carried_by"));
    let scored = metrics.lines().skip(1).map(|l| l.split(',').collect::<Vec<_>>()).filter(|c| !c[nll].is_empty());
    let scored: Vec<Vec<&str>> = scored.collect();
    assert!(!scored.is_empty());
    for cells in scored {
        assert_eq!((cells.len(), cells[few]), (head.len(), "1"), "{cells:?}");
        let (mean, median): (f64, f64) = (cells[nll].parse().unwrap(), cells[median].parse().unwrap());
        assert!(mean > 1e3 && (0.0..20.0).contains(&median), "{cells:?}");
    }
    // The run's pictures are drawn from that table again.
    json(at, "plot r --out again");
}

#[test]
fn one_point_none_and_huge_numbers_are_printed_as_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "t.npy", normal(300, 1), 2);
    json(at, "train --data t.npy --model gaussian --out g");
    json(at, "train --data t.npy --steps 5 --hidden 8 --base normal --out f");
    write(at, "one.npy", vec![0.5, -0.5], 2);
    write(at, "huge.npy", vec![1e60, -1e60, 0.0, 1.0, 1e-60, 3.0, 4e7, 2.0], 2);
    let one = said(at, "density g one.npy");
    assert!(one.contains("over 1 point (no standard error of one)"), "{one}");
    assert!(!one.contains("are left out"), "{one}");
    let facts = json(at, "density g one.npy");
    assert!(facts["se"].is_null() && facts["mean_log_prob"].is_number(), "{facts}");
    for model in ["g", "f"] {
        for words in [
            "density MODEL one.npy --error-bars b.npy",
            "density MODEL huge.npy --error-bars b.npy",
            "density MODEL one.npy --error-bars b.npy --trace hutchinson:1",
            "sample MODEL -n 1 -o s.npy",
            "invert one.npy --model MODEL",
            "invert huge.npy --model MODEL",
            "check MODEL one.npy -n 50",
            "check MODEL huge.npy -n 50",
            "info MODEL",
            "density MODEL --grid 5 --extent -1e60,1e60,-1e60,1e60",
        ] {
            // A velocity field fails at 1e60, and a check of a net of five steps may.
            let (code, text) = tried(at, &words.replace("MODEL", model));
            let may_fail = model == "f" && (words.contains("huge.npy") || words.contains("1e60"));
            assert!(code == 0 || may_fail || words.starts_with("check"), "{words}: {text}");
        }
    }
    said(at, "trajectory f one.npy -o t.png");
    let text = said(at, "data huge.npy");
    assert!(text.contains("4 rows, 2 columns") && text.contains("counted from 0"), "{text}");
    // A mean and a spread of 1e60.
    assert!(text.contains("e59") && text.contains("1.000e60"), "{text}");
    said(at, "data one.npy");
    said(at, "data moons -n 1 -o m.npy");
}

#[test]
fn hints_do_not_advise_what_is_done_already() {
    use cnflow::error::{Failure, Setting};
    for (wide, implicit) in [(false, false), (true, false), (true, true)] {
        let setting = Setting { wide, implicit };
        for failure in [
            Failure::Path(cnflow_solvers::Failure::NonFinite { t: 0.5, h: 0.1, speed: 1.0 }),
            Failure::Path(cnflow_solvers::Failure::StepTooSmall { t: 0.5, h: 0.1, speed: 1.0 }),
            Failure::Path(cnflow_solvers::Failure::TooManySteps { steps: 9, t: 0.5, h: 0.1, speed: 1.0 }),
            Failure::Layer { layer: 2 },
            Failure::Point,
        ] {
            let error = cnflow::Error::Failed { count: 1, of: 1, row: 0, first: failure };
            let hint = error.hint_in(setting).unwrap();
            assert!(!(hint.is_empty() || wide && hint.contains("f64")), "{failure}: {hint}");
            assert!(!(implicit && hint.contains("bdf")), "{failure}: {hint}");
            assert!(error.to_string().starts_with("1 of 1 "), "{error}");
            fit("", &error.to_string());
        }
    }
    // The command knows its precision: a row that leaves the numbers of a flow.
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "t.npy", normal(300, 1), 2);
    json(at, "train --data t.npy --steps 5 --hidden 8 --base normal --out f");
    // Twice this over the deviation of a column is no number of f64 either.
    write(at, "x.npy", vec![1.7e308, 1.7e308], 2);
    for (precision, advised) in [("f32", true), ("f64", false)] {
        let (code, text) = tried(at, &format!("density f x.npy --precision {precision} -o l.npy"));
        let hint = text.lines().find(|line| line.starts_with("hint: ")).unwrap();
        assert!(code == 1 && hint.contains("compute in f64") == advised, "{precision}: {hint}");
    }
}

#[test]
fn a_row_whose_log_density_overflows_is_counted_beside_the_mean() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "t.npy", normal(300, 1), 2);
    write(at, "big.npy", vec![1e300, 1e300, 0.1, 0.2], 2);
    write(at, "one.npy", vec![0.1, 0.2], 2);
    write(at, "none.npy", vec![1e300, 1e300], 2);
    for model in ["gaussian", "realnvp --steps 5 --hidden 8", "cnf --steps 5 --hidden 8 --base normal"] {
        json(at, &format!("train --data t.npy --out g --force --model {model}"));
        let (big, one) = (json(at, "density g big.npy --precision f64"), json(at, "density g one.npy --precision f64"));
        assert_eq!(
            (&big["n"], &big["overflowed"], &big["inside"], &big["failed"], &big["outside"]),
            (&2.into(), &1.into(), &1.into(), &0.into(), &0.into()),
            "{model}: {big}"
        );
        assert_eq!(big["mean_log_prob"], one["mean_log_prob"], "{model}");
        assert_eq!((&one["overflowed"], &one["inside"]), (&0.into(), &1.into()), "{model}: {one}");
        let text = said(at, "density g big.npy --precision f64");
        assert!(text.contains("over 1 of 2 points; 1 without a finite log p (no standard error of one)"), "{text}");
        let text = said(at, "density g none.npy --precision f64 --error-bars bars.npy");
        assert!(text.contains("mean log p: none, over 0 of 1 point; 1 without a finite log p"), "{text}");
        assert!(text.contains("error bar of a row: unknown (no row has a finite log p)"), "{text}");
    }
}

#[test]
fn the_numbers_of_a_column_far_from_zero_differ_as_its_rows_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // Julian dates: 0, 1/4 and 1/2 of a day.
    let rows = (0..300).map(|i| format!("{}\n", 2_459_000.25 + 0.25 * f64::from(i % 3))).collect::<String>();
    std::fs::write(at.join("jd.csv"), format!("jd\n{rows}")).unwrap();
    let text = said(at, "data jd.csv");
    let line: Vec<&str> = text.lines().find(|line| line.starts_with("jd ")).unwrap().split_whitespace().collect();
    // The deviation of these three is √(1/24) = 0.204: three decimals.
    assert_eq!(line, ["jd", "2459000.500", "0.20412", "2459000.250", "2459000.750"], "{text}");
}

#[test]
fn options_of_a_picture_are_refused_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "t.npy", normal(300, 1), 2);
    json(at, "train --data t.npy --model gaussian --out g");
    for (words, option) in [
        ("data t.npy --log", "--log"),
        ("data moons -n 10 -o m.npy --axes 0", "--axes"),
        ("sample g -n 10 -o s.npy --log=3", "--log"),
        ("sample g -n 10 -o s.npy --axes 1,0", "--axes"),
        ("invert t.npy --model g -o z.npy --axes 1", "--axes"),
        ("density g t.npy -o l.npy --log", "--log"),
    ] {
        let (code, text) = tried(at, words);
        let refused = format!("{option} without --plot: there is no picture");
        assert!(code == 1 && text.contains(&refused), "{words}: {text}");
    }
    for file in ["m.npy", "s.npy", "z.npy", "l.npy"] {
        assert!(!at.join(file).exists(), "{file}");
    }
    json(at, "density g t.npy --plot l.svg --log");
    json(at, "sample g -n 10 -o s.npy --axes 1,0 --plot s.svg");
}

#[test]
fn columns_that_no_picture_can_hold_are_refused_before_a_training() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "wide.npy", StandardNormal::new(13).draw(100, &mut rng::stream(11, 13)), 13);
    let list = (0..13).map(|c| c.to_string()).collect::<Vec<_>>().join(",");
    let (code, text) = tried(at, &format!("train --data wide.npy --model gaussian --axes {list} --out r"));
    assert!(code == 1 && text.contains("--axes has 13 columns; a picture shows at most 12"), "{text}");
    assert!(!at.join("r").exists());
    // Which columns are shown is said where they were not chosen, by their numbers where they have no names.
    let text = said(at, "train --data wide.npy --model gaussian --out r");
    let shown = "samples.png shows 6 of 13 columns: 0, 2, 4, 7, 9, 12 (counted from 0); choose others with --axes";
    assert!(text.contains(shown), "{text}");
    let text = said(at, "train --data wide.npy --model gaussian --out r --force --axes 3,1");
    assert!(!text.contains("choose others"), "{text}");
    let names = (0..13).map(|c| format!("c{c}")).collect::<Vec<_>>().join(" ");
    let text = said(at, &format!("train --data wide.npy --model gaussian --out r --force --names {names}"));
    assert!(text.contains("6 of 13 columns: c0, c2, c4, c7, c9, c12; choose others"), "{text}");
}

#[test]
fn rows_outside_the_support_are_counted_beside_every_mean() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "t.npy", normal(400, 5).into_iter().map(f64::exp).collect(), 2);
    for model in ["gaussian", "realnvp --steps 5 --hidden 8", "cnf --steps 5 --hidden 8"] {
        json(
            at,
            &format!("train --data t.npy --column 0:positive --column 1:positive --out g --force --model {model}"),
        );
        // One of three rows is inside; its mean is that of it alone, and the same as without the others.
        write(at, "some.npy", vec![1.0, 1.5, -1.0, 1.0, 0.5, -2.0], 2);
        write(at, "one.npy", vec![1.0, 1.5], 2);
        let (some, one) = (json(at, "density g some.npy -o p.npy"), json(at, "density g one.npy"));
        assert_eq!((&some["outside"], &some["inside"], &some["failed"]), (&2.into(), &1.into(), &0.into()), "{some}");
        assert_eq!(some["mean_log_prob"], one["mean_log_prob"], "{model}");
        let written = cnflow::io::npy::parse(Path::new("p.npy"), &std::fs::read(at.join("p.npy")).unwrap()).unwrap();
        assert!(
            written.data[0].is_finite() && written.data[1..].iter().all(|l| *l == f64::NEG_INFINITY),
            "{written:?}"
        );
        let text = said(at, "density g some.npy --error-bars bars.npy");
        assert!(text.contains("over 1 of 3 points; 2 outside the support, where log p is -inf"), "{text}");
        assert!(text.contains("outside: 2 of 3 rows outside the support; log p is -inf there"), "{text}");
        // Of none there is no mean.
        write(at, "none.npy", vec![-1.0, 1.0, 0.5, -2.0], 2);
        assert!(json(at, "density g none.npy")["mean_log_prob"].is_null());
        let text = said(at, "density g none.npy");
        assert!(text.contains("mean log p: none, over 0 of 2 points"), "{text}");
        let text = said(at, "density g none.npy --error-bars bars.npy");
        assert!(text.contains("error bar of a row: unknown (no row has a finite log p)"), "{text}");
        let facts = json(at, "invert none.npy --model g");
        for key in ["round_trip_max", "round_trip_mean", "latent_ks", "latent_ks_noise"] {
            assert!(facts[key].is_null(), "{key}: {facts}");
        }
        assert_eq!((&facts["returned"], &facts["latent_ks_rows"]), (&0.into(), &0.into()), "{facts}");
        let text = said(at, "invert none.npy --model g");
        assert!(text.contains("round trip: unknown, no point came back\n"), "{text}");
        assert!(text.contains("distance from a standard normal: unknown, no row has a latent"), "{text}");
        // The way there and back is of the row that has one.
        let facts = json(at, "invert some.npy --model g");
        assert_eq!(
            (&facts["outside"], &facts["returned"], &facts["failed"]),
            (&2.into(), &1.into(), &0.into()),
            "{facts}"
        );
        let text = said(at, "invert some.npy --model g");
        assert!(text.contains("of the 1 of 3 points that came back"), "{text}");
    }
    // Held-out rows of a check.
    let mut rows: Vec<f64> = normal(60, 6).into_iter().map(f64::exp).collect();
    (rows[0], rows[5]) = (-1.0, -2.0);
    write(at, "held.npy", rows, 2);
    assert!(tried(at, "check g held.npy").1.contains("2 rows outside the support, where log p is -inf"));
}
