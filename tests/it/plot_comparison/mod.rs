//! Laws of the figures that compare models: whole in both formats and every theme, of the asked size, to the same
//! bytes, on one scale; what does not fit is refused with its place.
#![cfg(feature = "plot")]

mod study;
mod svg;

use std::path::{Path, PathBuf};

use self::study::{Ring, Study, cells};
use self::svg::{boxes, images, stated_size, words};
use cnflow::Error;
use cnflow::plot::{Cells, Comparison, Contender, Grid, Options, Overlay, Scale, Theme, comparison, overlay};

fn sized(size: (u32, u32)) -> Options {
    Options { size: Some(size), ..Options::default() }
}

fn every_options() -> Vec<Options> {
    let size = Some((360, 300));
    vec![
        Options { size, ..Options::default() },
        Options { size, theme: Theme::Dark, scale: Scale::Log(4.0), invert_y: true, ..Options::default() },
        Options {
            size,
            title: Some("a <title> & more".into()),
            scale: Scale::Power(0.5),
            names: vec!["first".into(), "second".into()],
            ..Options::default()
        },
    ]
}

/// Data, the truth and two models of them.
type Column = (Vec<f64>, Vec<f64>, [Vec<f64>; 2]);

fn columns_of_one(count: usize) -> Vec<Column> {
    (0..count)
        .map(|p| {
            let ring = Ring { dim: 1, modes: 1 + p % 2, sigma: 0.5, broad: 0.0 };
            let at = Grid::centres((-6.0, 6.0), (0.0, 1.0), 40, 1);
            let on = |r: Ring| at.iter().map(|x| r.density(&[*x])).collect::<Vec<f64>>();
            (ring.sample(150, p), on(ring), [on(Ring { sigma: 0.7, ..ring }), on(Ring { broad: 0.4, ..ring })])
        })
        .collect()
}

/// Overlays of such columns.
fn draw_overlays(path: &Path, count: usize, options: &Options) -> cnflow::Result<()> {
    let all = columns_of_one(count);
    let models: Vec<Vec<(&str, &[f64])>> = all.iter().map(|c| vec![("one", &c.2[0][..]), ("two", &c.2[1])]).collect();
    let overlays: Vec<Overlay> = all
        .iter()
        .zip(&models)
        .map(|(c, m)| Overlay { title: "panel", data: &c.0, range: (-6.0, 6.0), truth: Some(&c.1), models: m })
        .collect();
    overlay(path, &overlays, options)
}

#[test]
fn a_comparison_is_written_in_both_formats_at_its_size_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for (dim, count) in [(1, 1), (1, 8), (2, 1), (2, 2), (2, 8), (3, 2), (5, 3)] {
        let study = Study::small(dim, count);
        for options in every_options() {
            for ending in ["png", "svg"] {
                let [a, b]: [PathBuf; 2] = ["a", "b"].map(|name| folder.path().join(format!("{name}.{ending}")));
                comparison(&a, &study.of(), &options).unwrap_or_else(|e| panic!("{dim}, {count}: {e}"));
                comparison(&b, &study.of(), &options).unwrap();
                assert_eq!(stated_size(&a), (360, 300));
                assert!(std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap(), "{dim}, {count} differ");
            }
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn overlays_are_written_in_both_formats_at_their_size_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for count in [1, 2, 5] {
        for options in every_options() {
            for ending in ["png", "svg"] {
                let [a, b]: [PathBuf; 2] = ["a", "b"].map(|name| folder.path().join(format!("{name}.{ending}")));
                draw_overlays(&a, count, &options).unwrap();
                draw_overlays(&b, count, &options).unwrap();
                assert_eq!(stated_size(&a), (360, 300));
                assert!(std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap());
            }
        }
    }
}

#[test]
fn every_size_holds_every_number_of_models() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    for dim in [1, 2, 4] {
        for count in [1, 2, 5, 8] {
            let study = Study::small(dim, count);
            for size in [(64, 64), (64, 900), (900, 64), (700, 500), (1920, 1080)] {
                comparison(&path, &study.of(), &sized(size)).unwrap();
                assert_eq!(stated_size(&path), size);
            }
            for wide in [700, 1200, 1920] {
                let c = Comparison { width: Some(wide), ..study.of() };
                comparison(&path, &c, &Options::default()).unwrap();
                let (w, h) = stated_size(&path);
                // Four rows of panels and a chart at most, on a page that is not wider than three times its height.
                assert!(w == wide && (wide / 3..5 * wide / 2).contains(&h), "{dim}, {count}: {w}×{h}");
                let seen = words(&path);
                let names = study.models.iter().filter(|m| seen.iter().any(|w| w.starts_with(&m.name[..3])));
                assert_eq!(names.count(), count, "{seen:?}");
            }
        }
    }
}

#[test]
fn no_words_cover_others_or_leave_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    let check = |what: &str| {
        let (size, all) = (stated_size(&path), boxes(&path));
        for (k, (a, words)) in all.iter().enumerate() {
            let inside = a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= f64::from(size.0) && a[3] <= f64::from(size.1);
            assert!(inside, "{what}: `{words}` at {a:?}");
            for (b, others) in &all[..k] {
                let apart = a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
                assert!(apart, "{what}: `{words}` covers `{others}`");
            }
        }
    };
    for dim in [1, 2, 5] {
        for count in [1, 2, 5, 8] {
            for long in [false, true] {
                let mut study = Study::small(dim, count);
                if long {
                    study.models.iter_mut().for_each(|m| m.name += ", a name much too long to stand above a panel");
                }
                for wide in [700, 1200] {
                    let c = Comparison { width: Some(wide), ..study.of() };
                    comparison(&path, &c, &Options::default()).unwrap();
                    check(&format!("{count} models of {dim} columns, {wide} wide"));
                }
                for size in [(1920, 1080), (800, 1100)] {
                    comparison(&path, &study.of(), &Options { title: Some("title".into()), ..sized(size) }).unwrap();
                    check(&format!("{count} models of {dim} columns in {size:?}"));
                }
            }
        }
    }
    for count in [1, 2, 3, 5] {
        for size in [None, Some((700, 320)), Some((1920, 1080))] {
            draw_overlays(&path, count, &Options { size, ..Options::default() }).unwrap();
            check(&format!("{count} overlays in {size:?}"));
        }
    }
}

#[test]
fn what_is_missing_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    for dim in [1, 2, 3] {
        let full = Study::small(dim, 3);
        let high = |study: &Study| {
            comparison(&path, &study.of(), &Options::default()).unwrap();
            stated_size(&path).1
        };
        let with_all = high(&full);
        let without = |change: &dyn Fn(&mut Contender)| {
            let mut study = Study::small(dim, 3);
            study.models.iter_mut().for_each(change);
            study
        };
        high(&Study { truth: None, entropy: None, ..Study::small(dim, 3) });
        high(&without(&|m| m.density = None));
        high(&without(&|m| m.samples = Vec::new()));
        high(&without(&|m| m.end = None));
        high(&without(&|m| m.curve = Vec::new()));
        let no_charts = without(&|m| (m.curve, m.cost) = Default::default());
        assert!(high(&no_charts) < with_all);
        let names_alone = without(&|m| *m = Contender { name: m.name.clone(), ..Contender::default() });
        high(&Study { truth: None, cells: None, ..names_alone });
        // One model without what the others have.
        let mut study = Study::small(dim, 3);
        study.models[1] = Contender { name: "only a name".into(), ..Contender::default() };
        high(&study);
        assert!(words(&path).iter().any(|w| w == "only a name"));
        let said = |what: &str| words(&path).iter().filter(|w| *w == what).count();
        assert_eq!((said("no density"), said("no samples")), [(0, 0), (1, 1), (0, 2)][dim - 1]);
    }
}

#[test]
fn the_columns_that_are_left_out_are_said_by_name_or_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    let names: Vec<String> = ["u", "g", "r", "i", "z"].map(String::from).to_vec();
    let read = |study: &Study, pairs: &[(usize, usize)], names: &[String]| {
        let options = Options { names: names.to_vec(), ..Options::default() };
        comparison(&path, &Comparison { pairs, ..study.of() }, &options).unwrap();
        words(&path).join(" ")
    };
    let five = Study::small(5, 2);
    assert!(read(&five, &[], &names).contains("4 of 5 columns are shown: u, g, i, z"));
    assert!(read(&five, &[], &[]).contains("4 of 5 columns are shown: 0, 1, 3, 4 (counted from 0)"));
    assert!(read(&five, &[(4, 0), (0, 2)], &names).contains("3 of 5 columns are shown: z, u, r"));
    // Pairs of all columns leave out none.
    assert!(!read(&Study::small(3, 2), &[], &[]).contains("are shown"));
}

#[test]
fn all_densities_share_one_scale() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    let mut study = Study::small(2, 2);
    let double = |p: &Option<Vec<f64>>, k: f64| p.as_ref().map(|p| p.iter().map(|v| k * v).collect::<Vec<f64>>());
    // Truth, model, model, and three scatters: the same density thrice.
    for model in &mut study.models {
        model.density = study.truth.clone();
    }
    comparison(&path, &study.of(), &sized((700, 600))).unwrap();
    let same = images(&path);
    assert!(same[0] == same[1] && same[1] == same[2]);
    study.models[1].density = double(&study.truth, 0.5);
    comparison(&path, &study.of(), &sized((700, 600))).unwrap();
    let other = images(&path);
    assert!(other[..2] == same[..2] && other[2] != same[2], "half the density has the same colours");
    // A spike in one model leaves the truth's colours, and those of the other model, as they were.
    study.models[1].density = study.truth.clone();
    study.models[1].density.as_mut().unwrap()[100] = 1e6;
    comparison(&path, &study.of(), &sized((700, 600))).unwrap();
    assert!(images(&path)[..2] == same[..2], "a spike makes the others pale");
    study.truth = None;
    let mut three = Study::small(2, 3);
    three.truth = None;
    comparison(&path, &three.of(), &sized((700, 600))).unwrap();
    let before = images(&path);
    three.models[2].density.as_mut().unwrap()[100] = 1e6;
    comparison(&path, &three.of(), &sized((700, 600))).unwrap();
    assert!(images(&path)[..3] == before[..3] && images(&path)[3] != before[3], "a spike makes the others pale");
}

#[test]
fn early_and_terrible_scores_do_not_decide_the_range() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    let mut study = Study::small(2, 3);
    let read = |study: &Study| {
        comparison(&path, &study.of(), &sized((700, 600))).unwrap();
        words(&path)
    };
    let before = read(&study);
    study.models[0].curve[0].1 = 1e9;
    study.models[1].curve[1].1 = f64::INFINITY;
    assert_eq!(read(&study), before);
    study.models[2].cost[0].nll = f64::INFINITY;
    study.models[2].end = Some((f64::INFINITY, 0.0));
    read(&study);
    stated_size(&path);
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let refused = |c: &Comparison, says: &str| {
        let error = comparison(&path, c, &sized((360, 300))).unwrap_err();
        assert!(matches!(error, Error::Dimension { .. } | Error::Invalid { .. }), "{error}");
        assert!(error.to_string().contains(says), "`{error}` does not say {says}");
        assert!(!path.exists());
    };
    let study = Study::small(2, 2);
    let c = study.of();
    refused(&Comparison { data: &study.data[1..], ..c }, "the data has 1 column, expected 2");
    refused(&Comparison { data: &[], ..c }, "no rows");
    refused(&Comparison { dim: 0, ..c }, "no columns");
    refused(&Comparison { contenders: &[], ..c }, "needs a model");
    refused(&Comparison { data: &[0.0, f64::NAN], ..c }, "NaN in row 0, column 1");
    refused(&Comparison { truth: Some(&[1.0; 5]), ..c }, "5 numbers for 24 × 24 cells");
    refused(&Comparison { cells: None, ..c }, "no grid of cells");
    refused(&Comparison { cells: Some(cells(1, 576)), ..c }, "576 × 1 cells");
    refused(&Comparison { cells: Some(Cells { x: (1.0, 1.0), ..cells(2, 24) }), ..c }, "no area");
    refused(&Comparison { cells: Some(Cells { ny: usize::MAX, ..cells(2, 24) }), ..c }, "cells");
    refused(&Comparison { entropy: Some(f64::NAN), ..c }, "NaN");
    refused(&Comparison { pairs: &[(0, 2)], ..c }, "columns 0 and 2");
    refused(&Comparison { width: Some(3), ..c }, "3×3");
    type Break = fn(&mut Contender);
    let broken: [(Break, &str); 13] = [
        (|m| m.density = Some(vec![0.1; 7]), "`RealNVP` has 7 numbers"),
        (|m| m.density.as_mut().unwrap()[30] = f64::NAN, "NaN in row 1, column 6"),
        (|m| m.density.as_mut().unwrap()[0] = f64::INFINITY, "inf in row 0"),
        (|m| m.density.as_mut().unwrap()[0] = -0.5, "-0.5 in row 0"),
        (|m| m.samples.truncate(5), "expected 2"),
        (|m| m.samples[3] = f64::NEG_INFINITY, "-inf in row 1, column 1"),
        (|m| m.curve[2].1 = f64::NAN, "point 2"),
        (|m| m.curve[2].0 = f64::NAN, "point 2"),
        (|m| m.curve[2].0 = 0.0, "back in time"),
        (|m| m.end = Some((f64::NAN, 0.1)), "NaN ± 0.1"),
        (|m| m.end = Some((1.0, -1.0)), "1 ± -1"),
        (|m| m.cost[0].cost = 0.0, "costs 0"),
        (|m| m.cost[0].nll = f64::NAN, "score of NaN"),
    ];
    for (change, says) in broken {
        let mut study = Study::small(2, 2);
        change(&mut study.models[1]);
        refused(&study.of(), says);
    }
    let one = Study::small(3, 1);
    refused(&Comparison { cells: Some(cells(2, 24)), ..one.of() }, "data of 3 columns");

    let good = [0.1, 0.2];
    let o = Overlay { title: "left", data: &good, range: (0.0, 1.0), truth: None, models: &[("m", &good)] };
    for (o, says) in [
        (Overlay { range: (1.0, 1.0), ..o }, "no length"),
        (Overlay { data: &[0.0, f64::NAN], ..o }, "NaN in row 1"),
        (Overlay { truth: Some(&[]), ..o }, "0 numbers"),
        (Overlay { models: &[("m", &[0.0, f64::NAN])], ..o }, "`m` over `left` holds NaN in cell 1"),
    ] {
        let error = overlay(&path, &[o], &sized((360, 300))).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }) && error.to_string().contains(says), "{error}");
    }
    assert!(overlay(&path, &[], &sized((360, 300))).is_err());
    let wrong = comparison(&folder.path().join("a.gif"), &c, &Options::default()).unwrap_err();
    assert!(matches!(wrong, Error::Unknown { .. }));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn no_finite_numbers_however_strange_stop_a_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    let strange: [fn(usize) -> f64; 6] = [
        |_| 0.0,
        |_| 7.25e9,
        |i| if i.is_multiple_of(2) { f64::MAX } else { 0.0 },
        |i| f64::MIN_POSITIVE * i as f64,
        |i| 1.0 + f64::EPSILON * (i % 7) as f64,
        |i| if i == 3 { f64::MAX } else { 1e-310 },
    ];
    for of in strange {
        for dim in [1, 2, 3] {
            let mut study = Study::small(dim, 2);
            let fill = |values: &mut [f64]| values.iter_mut().enumerate().for_each(|(i, v)| *v = of(i));
            fill(&mut study.data);
            for m in &mut study.models {
                m.density.iter_mut().for_each(|p| fill(p));
                fill(&mut m.samples);
                m.curve = (0..9).map(|i| (if of(i) > 1.0 { of(0) } else { i as f64 }, of(i))).collect();
                m.curve.sort_by(|a, b| a.0.total_cmp(&b.0));
                m.end = Some((of(3), of(2)));
                m.cost.iter_mut().enumerate().for_each(|(i, p)| (p.cost, p.nll) = (of(i).max(1e-300), of(i + 1)));
            }
            for known in [true, false] {
                if !known {
                    study.truth = None;
                }
                comparison(&path, &study.of(), &sized((360, 300))).unwrap();
                stated_size(&path);
            }
            let p: Vec<f64> = (0..20).map(of).collect();
            let o = Overlay { title: "", data: &study.data, range: (0.0, 1.0), truth: Some(&p), models: &[("m", &p)] };
            overlay(&path, &[o], &sized((360, 300))).unwrap();
            stated_size(&path);
        }
    }
}
