//! Pictures for the eye, not for a law.

use std::f64::consts::TAU;

use cnf::plot::{Comparison, Contender, Grid, Options, Overlay, Theme, comparison, overlay};

use crate::study::{Study, unit};

/// Pictures to look at: `cargo test --test plot_comparison -- --ignored`, then see the folder that it names.
#[test]
#[ignore = "writes pictures for the eye"]
fn a_gallery() {
    let folder = std::env::temp_dir().join("figure");
    std::fs::create_dir_all(&folder).unwrap();
    let draw = |name: &str, study: &Study, wide: Option<u32>, size: Option<(u32, u32)>, theme: Theme| {
        let options = Options { size, theme, ..Options::default() };
        let c = Comparison { width: wide, ..study.of() };
        comparison(&folder.join(format!("{name}.png")), &c, &options).unwrap();
        comparison(&folder.join(format!("{name}.svg")), &c, &options).unwrap();
    };
    for count in [1, 2, 4, 8] {
        let study = Study::new(2, count, 3000, 120);
        draw(&format!("two-{count}-700"), &study, Some(700), None, Theme::Light);
        draw(&format!("two-{count}-slide"), &study, None, Some((1920, 1080)), Theme::Dark);
        draw(&format!("two-{count}"), &study, None, None, Theme::Light);
    }
    for dim in [1, 5] {
        let study = Study::new(dim, 5, 3000, 240);
        draw(&format!("dim{dim}-700"), &study, Some(700), None, Theme::Light);
        draw(&format!("dim{dim}-slide"), &study, None, Some((1920, 1080)), Theme::Dark);
    }
    let study = Study { truth: None, entropy: None, ..Study::new(2, 3, 3000, 120) };
    draw("unknown-1200", &study, None, None, Theme::Dark);

    let mut study = Study::new(2, 5, 3000, 120);
    study.models[1] =
        Contender { density: None, name: "a name too long for its panel".into(), ..study.models[1].clone() };
    study.models[2] = Contender { samples: Vec::new(), cost: Vec::new(), ..study.models[2].clone() };
    study.models[3] = Contender { curve: Vec::new(), end: None, ..study.models[3].clone() };
    study.models[4].end = Some((25.0, 0.3));
    study.models[4].curve.iter_mut().for_each(|p| p.1 += 21.0);
    study.models[4].density.as_mut().unwrap()[5000] = 40.0;
    draw("partial-700", &study, Some(700), None, Theme::Light);

    // A Gaussian of fixed deviation, a mixture and a flow on one and on two uniforms.
    let at = Grid::centres((-2.5, 2.5), (0.0, 1.0), 400, 1);
    let step = |x: f64, steep: f64| 1.0 / (1.0 + (-x * steep).exp());
    let soft = |steep: f64, two: bool| -> Vec<f64> {
        let hill = |x: f64, a: f64, b: f64| (step(x - a, steep) - step(x - b, steep)) / (b - a);
        let both = |x: f64| 0.5 * hill(x, -1.5, -0.5) + 0.5 * hill(x, 0.5, 1.5);
        at.iter().map(|x| if two { both(*x) } else { hill(*x, -1.0, 1.0) }).collect()
    };
    let gauss = |s: f64| -> Vec<f64> { at.iter().map(|x| (-0.5 * (x / s).powi(2)).exp() / (s * TAU.sqrt())).collect() };
    let data = |two: bool| -> Vec<f64> {
        (0..4000)
            .map(|i| {
                let u = unit(i, 0);
                if !two {
                    2.0 * u - 1.0
                } else if unit(i, 1) < 0.5 {
                    u - 1.5
                } else {
                    u + 0.5
                }
            })
            .collect()
    };
    let sets = [false, true].map(|two| (data(two), soft(1e4, two), soft(22.0, two), soft(9.0, two), gauss(1.0)));
    let models = sets.each_ref().map(|s| [("CNF", &s.2[..]), ("RealNVP", &s.3), ("Gaussian, σ = 1", &s.4)]);
    let overlays: Vec<Overlay> = sets
        .iter()
        .zip(&models)
        .zip(["uniform", "two-uniforms"])
        .map(|((s, m), title)| Overlay { title, data: &s.0, range: (-2.5, 2.5), truth: Some(&s.1), models: m })
        .collect();
    for (name, theme, size) in [("light", Theme::Light, (700, 320)), ("dark", Theme::Dark, (1920, 800))] {
        let options = Options { size: Some(size), theme, ..Options::default() };
        overlay(&folder.join(format!("overlay-{name}.png")), &overlays, &options).unwrap();
    }
    overlay(&folder.join("overlay-one.png"), &overlays[1..], &Options::default()).unwrap();
}
