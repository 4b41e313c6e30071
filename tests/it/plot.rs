//! Laws of the pictures: each is written whole in both formats, of the asked size, to the same bytes,
//! from whatever numbers it is given; and a refusal leaves nothing behind.
#![cfg(feature = "plot")]

use std::path::Path;

use cnflow::Error;
use cnflow::plot::{
    Aspect, Axis, Grid, Journey, Layer, Moment, Options, Panel, Scale, Theme, Tone, Training, density,
    density_and_data, extent, film, journey, latents, panels, samples, training_curve,
};

/// Numbers that look random enough for a picture: a Weyl sequence, folded.
fn numbers(n: usize) -> Vec<f64> {
    (0..n).map(|i| ((i as f64 * 0.754_877_666).fract() - 0.5) * 4.0 + (i as f64 * 0.569_840_29).fract()).collect()
}

fn grid(values: impl Fn(usize) -> f64) -> Grid {
    Grid { x: (-3.0, 3.0), y: (-2.0, 4.0), nx: 12, ny: 9, values: (0..108).map(values).collect() }
}

fn bell(i: usize) -> f64 {
    (-((i % 12) as f64 - 5.5).powi(2) / 8.0 - ((i / 12) as f64 - 4.0).powi(2) / 6.0).exp()
}

fn line(values: impl Fn(usize) -> f64) -> Grid {
    Grid { x: (-3.0, 3.0), y: (0.0, 1.0), nx: 50, ny: 1, values: (0..50).map(values).collect() }
}

/// Particles at three times; as many as the places give.
fn way(places: &[f64], columns: usize, dense: bool) -> Journey {
    let n = places.len() / columns / 3;
    let moment = |at: usize| {
        let grid = if columns == 1 { line(move |i| bell(i + at)) } else { grid(move |i| bell(i + at)) };
        Moment { at, density: dense.then_some(grid) }
    };
    Journey {
        times: vec![0.0, 0.4, 1.0],
        layers: None,
        columns,
        places: places[..3 * n * columns].to_vec(),
        threads: 7,
        ranges: vec![(-3.0, 3.0), (-2.0, 4.0)][..columns].to_vec(),
        moments: (0..3).map(moment).collect(),
        plane: (columns == 1).then(|| Grid { x: (0.0, 1.0), y: (-3.0, 3.0), nx: 12, ny: 9, ..grid(bell) }),
    }
}

/// The frames of a GIF: as many as its graphic control extensions.
fn frames(gif: &[u8]) -> usize {
    gif.windows(8).filter(|w| w[..3] == [0x21, 0xf9, 4] && w[7] == 0).count()
}

#[test]
fn a_film_has_its_frames_its_size_and_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for (columns, dense) in [(1, true), (2, true), (2, false)] {
        for options in every_options() {
            let way = way(&numbers(60 * 3 * columns), columns, dense);
            let (a, b) = (folder.path().join("a.gif"), folder.path().join("b.gif"));
            let mut seen = 0;
            let length = film(&a, &way, 20, 1.0, &options, || seen += 1).unwrap();
            film(&b, &way, 20, 1.0, &options, || ()).unwrap();
            let bytes = std::fs::read(&a).unwrap();
            assert!(bytes == std::fs::read(&b).unwrap() && bytes.len() == length && seen == 3);
            assert_eq!((&bytes[..6], frames(&bytes)), (&b"GIF89a"[..], 3));
            let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            assert_eq!((word(6), word(8)), (240, 200));
        }
    }
    let way = way(&numbers(60), 2, true);
    let wrong = film(&folder.path().join("a.png"), &way, 20, 1.0, &Options::default(), || ()).unwrap_err();
    assert!(matches!(wrong, Error::Unknown { .. }), "{wrong}");
    for broken in [
        Journey { times: Vec::new(), ..way.clone() },
        Journey { columns: 3, ..way.clone() },
        Journey { moments: Vec::new(), ..way.clone() },
        Journey { moments: vec![Moment { at: 3, density: None }], ..way.clone() },
        Journey { places: vec![0.0; 5], ..way.clone() },
        Journey { ranges: vec![(0.0, f64::NAN); 2], ..way.clone() },
    ] {
        let path = folder.path().join("c.gif");
        assert!(film(&path, &broken, 20, 1.0, &Options::default(), || ()).is_err() && !path.exists());
        assert!(journey(&folder.path().join("c.png"), &broken, &Options::default()).is_err());
    }
}

#[test]
fn a_picture_enlarged_is_the_same_picture_with_more_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    let read = |enlarged| {
        let options = Options { size: Some((240, 200)), enlarged, ..Options::default() };
        density(&path, &grid(bell), Some(&numbers(60)), &options).unwrap();
        std::fs::read_to_string(&path).unwrap()
    };
    let (once, thrice) = (read(None), read(Some(3)));
    assert_eq!((stated_size(once.as_bytes()), stated_size(thrice.as_bytes())), ((240, 200), (720, 600)));
    let letters = |svg: &str| -> Vec<f64> {
        svg.split("font-size=\"").skip(1).map(|p| p.split('"').next().unwrap().parse().unwrap()).collect()
    };
    let (small, large) = (letters(&once), letters(&thrice));
    assert!(!small.is_empty() && small.len() == large.len());
    // Written with two decimals.
    assert!(small.iter().zip(&large).all(|(a, b)| (3.0 * a - b).abs() < 0.03));
    let options = Options { enlarged: Some(9), ..Options::default() };
    assert!(matches!(density(&path, &grid(bell), None, &options).unwrap_err(), Error::Invalid { .. }));
}

#[test]
fn a_fixed_maximum_gives_the_same_density_the_same_colour() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let read = |times: f64, max| {
        let options = Options { size: Some((240, 200)), max, ..Options::default() };
        density(&path, &grid(|i| times * bell(i)), None, &options).unwrap();
        std::fs::read(&path).unwrap()
    };
    // Twice the density on twice the scale looks the same but for the labels; on the same scale it does not.
    assert!(read(1.0, Some(2.0)) != read(2.0, Some(2.0)));
    assert!(read(1.0, None) == read(1.0, Some(f64::NAN)) && read(2.0, Some(2.0)) == read(2.0, Some(2.0)));
}

type Picture = (&'static str, Box<dyn Fn(&Path, &Options) -> cnflow::Result<()>>);

/// Every picture of the list, on numbers from `of`.
fn every_picture(of: fn(usize) -> Vec<f64>) -> Vec<Picture> {
    fn named(name: &'static str, draw: impl Fn(&Path, &Options) -> cnflow::Result<()> + 'static) -> Picture {
        (name, Box::new(draw))
    }
    vec![
        named("a journey", move |p, o| journey(p, &way(&of(60 * 3 * 2), 2, true), o)),
        named("a journey of particles alone", move |p, o| journey(p, &way(&of(60 * 3 * 2), 2, false), o)),
        named("a journey in one column", move |p, o| journey(p, &way(&of(60 * 3), 1, true), o)),
        named("density", move |p, o| density(p, &grid(bell), None, o)),
        named("density under points", move |p, o| density(p, &grid(bell), Some(&of(60)), o)),
        named("density in one column", move |p, o| density(p, &line(bell), None, o)),
        named("density beside data", move |p, o| density_and_data(p, &of(400), &grid(bell), o)),
        named("density beside many data", move |p, o| density_and_data(p, &of(40_002), &grid(bell), o)),
        named("density and data in one column", move |p, o| density_and_data(p, &of(300), &line(bell), o)),
        named("samples in one column", move |p, o| samples(p, &of(300), &numbers(100), 1, o).map(drop)),
        named("samples in two", move |p, o| samples(p, &of(300), &numbers(100), 2, o).map(drop)),
        named("samples in three", move |p, o| samples(p, &of(300), &numbers(99), 3, o).map(drop)),
        named("samples in nine", move |p, o| samples(p, &numbers(900), &of(90), 9, o).map(drop)),
        named("latents in one column", move |p, o| latents(p, &of(300), 1, o).map(drop)),
        named("latents in two", move |p, o| latents(p, &of(300), 2, o).map(drop)),
        named("latents in four", move |p, o| latents(p, &of(400), 4, o).map(drop)),
        named("training by likelihood", move |p, o| train(p, &of(300), true, Some(0.5), o)),
        named("training by another loss", move |p, o| train(p, &of(300), false, None, o)),
        named("panels", move |p, o| {
            let dots = Layer::Dots { points: of(40), tone: Tone::Series(3), label: "some".into() };
            let map = Layer::Heat { grid: grid(bell), smooth: true };
            let cell = |layer: &Layer, title: &str| Panel {
                title: title.into(),
                x: Axis::new("x", (-3.0, 3.0)),
                y: Axis::new("y", (-2.0, 4.0)),
                layers: vec![layer.clone()],
                aspect: Aspect::Auto,
            };
            panels(p, &[cell(&map, "t = 0"), cell(&dots, "t = ½"), cell(&map, "t = 1")], 2, o)
        }),
    ]
}

fn train(
    path: &Path,
    values: &[f64],
    loss_is_nll: bool,
    entropy: Option<f64>,
    options: &Options,
) -> cnflow::Result<()> {
    let loss: Vec<_> = values.iter().enumerate().map(|(i, v)| (i as f64, *v)).collect();
    let held_out: Vec<_> = loss.iter().step_by(20).map(|p| (p.0, p.1, 0.1)).collect();
    training_curve(
        path,
        &Training {
            unit: "step",
            loss: &loss,
            loss_is_nll,
            score_unit: "nats",
            held_out: &held_out,
            entropy,
            winner: None,
        },
        options,
    )
}

fn every_options() -> Vec<Options> {
    let size = Some((240, 200));
    vec![
        Options { size, ..Options::default() },
        Options { size, theme: Theme::Dark, scale: Scale::Log(4.0), invert_y: true, ..Options::default() },
        Options {
            size,
            title: Some("a <title> & more\u{1}".into()),
            scale: Scale::Power(0.5),
            names: vec!["first".into(), "second".into()],
            aspect: Aspect::Equal,
            ..Options::default()
        },
    ]
}

/// The size that a picture's own head states.
fn stated_size(bytes: &[u8]) -> (u32, u32) {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        assert!(bytes.ends_with(b"IEND\xaeB`\x82"), "the PNG is cut short");
        return (word(16), word(20));
    }
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"), "the SVG is cut short");
    // The letters of an embedded image may spell anything.
    let drawn: String = text.split("base64,").map(|part| part.split_once('"').map_or(part, |p| p.1)).collect();
    assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "the SVG holds what is no number");
    let number = |key: &str| text.split(key).nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    (number("width=\""), number("height=\""))
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn every_picture_is_written_in_both_formats_at_its_size_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for (name, draw) in every_picture(numbers) {
        for options in every_options() {
            for ending in ["png", "svg"] {
                let (first, second) =
                    (folder.path().join(format!("a.{ending}")), folder.path().join(format!("b.{ending}")));
                draw(&first, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
                draw(&second, &options).unwrap();
                let bytes = std::fs::read(&first).unwrap();
                assert_eq!(stated_size(&bytes), (240, 200), "{name}");
                assert!(bytes == std::fs::read(&second).unwrap(), "{name} differs from one time to the next");
            }
        }
    }
    assert_eq!(files(folder.path()), 4);
}

#[test]
fn every_picture_finds_a_size_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    for (name, draw) in every_picture(numbers) {
        draw(&path, &Options::default()).unwrap();
        let (w, h) = stated_size(&std::fs::read(&path).unwrap());
        assert!([700, 1000, 1200].contains(&w) && (200..2000).contains(&h), "{name} is {w}×{h}");
    }
}

#[test]
fn no_numbers_however_strange_stop_a_picture() {
    let strange: [fn(usize) -> Vec<f64>; 9] = [
        |_| Vec::new(),
        |n| vec![0.0; n],
        |n| vec![-7.25e9; n],
        |n| vec![f64::NAN; n],
        |n| (0..n).map(|i| if i % 3 == 0 { f64::INFINITY } else { f64::NEG_INFINITY }).collect(),
        |n| (0..n).map(|i| if i % 5 == 0 { f64::NAN } else { i as f64 }).collect(),
        |n| (0..n).map(|i| if i % 2 == 0 { f64::MAX } else { f64::MIN }).collect(),
        |n| (0..n).map(|i| f64::MIN_POSITIVE * i as f64).collect(),
        |n| (0..n).map(|i| 1.0 + f64::EPSILON * (i % 7) as f64).collect(),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (kind, of) in strange.into_iter().enumerate() {
        for (name, draw) in every_picture(of) {
            // Both formats draw the same marks: a small bitmap is enough to see its writer hold.
            for (ending, size) in [("png", (120, 100)), ("svg", (200, 160))] {
                let path = folder.path().join(format!("a.{ending}"));
                let options = Options { size: Some(size), ..Options::default() };
                draw(&path, &options).unwrap_or_else(|e| panic!("{name} of kind {kind}: {e}"));
                assert_eq!(stated_size(&std::fs::read(&path).unwrap()), size);
            }
        }
    }
}

#[test]
fn one_point_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    for d in 1..9 {
        let point = vec![0.3; d];
        samples(&path, &point, &point, d, &Options::default()).unwrap();
        latents(&path, &point, d, &Options::default()).unwrap();
    }
    let once = Training {
        unit: "step",
        loss: &[(0.0, 1.0)],
        loss_is_nll: true,
        score_unit: "nats",
        held_out: &[(0.0, 1.0, 0.1)],
        entropy: None,
        winner: None,
    };
    training_curve(&path, &once, &Options::default()).unwrap();
}

#[test]
fn no_density_however_strange_stops_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.svg");
    let values = [0.0, 1.0, f64::INFINITY, f64::NAN, -1.0, f64::MAX, f64::MIN_POSITIVE, 1e-310];
    for (k, &value) in values.iter().enumerate() {
        for scale in [Scale::Linear, Scale::Power(0.5), Scale::Log(5.0), Scale::Power(f64::NAN), Scale::Log(0.0)] {
            let options = Options { size: Some((300, 200)), scale, ..Options::default() };
            for mixed in [false, true] {
                let pick =
                    |i: usize| if mixed && !i.is_multiple_of(4) { values[(k + i) % values.len()] } else { value };
                density(&path, &grid(pick), None, &options).unwrap();
                density_and_data(&path, &numbers(100), &line(pick), &options).unwrap();
                stated_size(&std::fs::read(&path).unwrap());
            }
        }
    }
}

#[test]
fn an_impossible_place_has_no_density_and_an_unknown_one_is_blank() {
    let log = [f64::NEG_INFINITY, 0.0, f64::NAN, (0.5f64).ln()];
    let grid = Grid::from_log((0.0, 1.0), (0.0, 1.0), 2, 2, &log).unwrap();
    assert_eq!((grid.values[0], grid.values[1]), (0.0, 1.0));
    assert!(grid.values[2].is_nan());
    assert!((grid.values[3] - 0.5).abs() < 1e-15);
}

#[test]
fn centres_run_along_the_first_axis_first() {
    assert_eq!(Grid::centres((0.0, 2.0), (0.0, 4.0), 2, 2), [0.5, 1.0, 1.5, 1.0, 0.5, 3.0, 1.5, 3.0]);
    assert_eq!(Grid::centres((0.0, 2.0), (9.0, 9.0), 2, 1), [0.5, 1.5]);
}

#[test]
fn an_extent_holds_the_data_and_not_the_outlier() {
    let mut points = numbers(20_000);
    points[0] = 1e9;
    points[1] = f64::NAN;
    let (low, high) = extent(&points, 1, 0);
    assert!(low < -2.0 && low > -3.0 && high > 3.0 && high < 4.0, "({low}, {high})");
}

#[test]
fn a_corner_plot_says_which_columns_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let options = &every_options()[0];
    assert_eq!(samples(&path, &numbers(30), &numbers(30), 3, options).unwrap(), [0, 1, 2]);
    assert_eq!(samples(&path, &numbers(110), &numbers(110), 11, options).unwrap(), [0, 2, 4, 6, 8, 10]);
    assert_eq!(latents(&path, &numbers(110), 2, options).unwrap(), [0, 1]);
}

#[test]
fn a_refusal_is_clear_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let options = &every_options()[0];
    for name in ["a.gif", "a", "png", "a.png.txt", ".svg"] {
        for (picture, draw) in every_picture(numbers) {
            let error = draw(&folder.path().join(name), options).unwrap_err();
            assert!(matches!(error, Error::Unknown { .. }), "{picture} as {name}: {error}");
            assert_eq!(error.hint().unwrap(), "choose one of png, svg");
        }
    }
    let draw =
        |path: &Path, size| density(path, &grid(bell), None, &Options { size: Some(size), ..Options::default() });
    for size in [(0, 0), (10, 400), (400, 100_000)] {
        assert!(matches!(draw(&folder.path().join("a.png"), size).unwrap_err(), Error::Invalid { .. }));
    }
    assert!(matches!(draw(&folder.path().join("none/a.png"), (99, 99)).unwrap_err(), Error::Write { .. }));
    // A file where a folder should be, and a folder where the file should be.
    assert_eq!(files(folder.path()), 0);
    std::fs::write(folder.path().join("plain"), "").unwrap();
    std::fs::create_dir(folder.path().join("taken.svg")).unwrap();
    assert!(matches!(draw(&folder.path().join("plain/a.svg"), (99, 99)).unwrap_err(), Error::Write { .. }));
    assert!(matches!(draw(&folder.path().join("taken.svg"), (99, 99)).unwrap_err(), Error::Write { .. }));
    assert_eq!(files(folder.path()), 2);
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = &folder.path().join("a.png");
    let options = &every_options()[0];
    let short = Grid { values: vec![1.0; 5], ..grid(bell) };
    let flat = Grid { x: (1.0, 1.0), ..grid(bell) };
    let empty = Grid { nx: 0, ny: 0, values: Vec::new(), ..grid(bell) };
    let no_axis = Panel {
        title: String::new(),
        x: Axis::new("x", (0.0, f64::NAN)),
        y: Axis::new("y", (0.0, 1.0)),
        layers: Vec::new(),
        aspect: Aspect::Auto,
    };
    for refused in [
        density(path, &short, None, options),
        density(path, &flat, None, options),
        density(path, &empty, None, options),
        density(path, &grid(bell), Some(&[1.0, 2.0, 3.0]), options),
        density_and_data(path, &[1.0], &grid(bell), options),
        samples(path, &[1.0; 4], &[1.0; 4], 3, options).map(drop),
        latents(path, &[1.0; 4], 0, options).map(drop),
        panels(path, &[], 1, options),
        panels(path, &[no_axis], 1, options),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Dimension { .. } | Error::Invalid { .. }), "{error}");
    }
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn the_smallest_size_holds_every_picture() {
    let folder = tempfile::tempdir().unwrap();
    for (_, draw) in every_picture(numbers) {
        for size in [(64, 64), (64, 900), (900, 64)] {
            let options =
                Options { size: Some(size), title: Some("a title that is too long".into()), ..Options::default() };
            let path = folder.path().join("a.png");
            draw(&path, &options).unwrap();
            assert_eq!(stated_size(&std::fs::read(&path).unwrap()), size);
        }
    }
}
