//! Pictures of image models: their trajectories, their training in bits per dimension, and comparisons in grids.
#![cfg(feature = "cli")]

use std::path::Path;

use cnflow::ImageShape;
use cnflow::plot::{Comparison, Contender, ImageBlock, ImageGrid, Options, comparison, image_film, images};
use cnflow::rows::digits;

use crate::common::command::{bytes, cnf, json};
use crate::common::pictures::npy_u8;

const SHAPE: ImageShape = ImageShape { height: 2, width: 3, channels: 1 };

/// The number of frames of a GIF, and its sides: a graphic control stands before each image.
fn frames(gif: &[u8]) -> (usize, u16, u16) {
    assert!(gif.starts_with(b"GIF89a"));
    let side = |at: usize| u16::from_le_bytes([gif[at], gif[at + 1]]);
    (gif.windows(3).filter(|w| *w == [0x21, 0xf9, 0x04]).count(), side(6), side(8))
}

/// Width and height of a PNG.
fn sides(png: &[u8]) -> (u32, u32) {
    let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (side(16), side(20))
}

/// The words of an SVG.
fn words(at: &Path, file: &str) -> String {
    String::from_utf8(bytes(at, file)).unwrap()
}

#[test]
fn samples_of_a_model_of_images_are_followed_from_noise_to_data() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    json(at, "train --data digits --condition digit --steps 30 --out run");
    json(at, "train --data digits --model realnvp --depth 3 --hidden 8 --steps 10 --out layers");
    std::fs::write(at.join("few.npy"), npy_u8(&[12, 8, 8], &digits::images().unwrap()[..12 * 64], false)).unwrap();
    let facts = json(at, "trajectory run -o p.svg --gif f.gif --frames 5 --panels 4");
    assert_eq!((facts["n"].as_u64(), facts["times"].as_array().map(Vec::len)), (Some(60), Some(4)));
    assert_eq!((facts["frames"].as_u64(), frames(&bytes(at, "f.gif")).0), (Some(5), 5));
    let svg = words(at, "p.svg");
    // A label for each time and each class.
    for label in ["0.333", "0.667", ">7<", ">9<"] {
        assert!(svg.contains(label), "{label}");
    }
    // The same bytes again, on any number of threads.
    json(at, "trajectory run -o q.svg --gif g.gif --frames 5 --panels 4 --threads 1");
    assert!(bytes(at, "p.svg") == bytes(at, "q.svg") && bytes(at, "f.gif") == bytes(at, "g.gif"));
    // The end of the way is what `sample` makes of the same latents: here, images that were given.
    let facts = json(at, "trajectory run few.npy --given digit=3 -o back.png --panels 2");
    assert_eq!((facts["n"].as_u64(), facts["of"].as_u64()), (Some(12), Some(12)));
    let facts = json(at, "trajectory run --given digit=3 -n 10 -o threes.png --size 600x400");
    assert_eq!((facts["n"].as_u64(), sides(&bytes(at, "threes.png"))), (Some(10), (600, 400)));
    let facts = json(at, "trajectory layers -n 7 -o l.png --gif l.gif --frames 6 --theme dark");
    let layers = facts["layers"].as_array().unwrap();
    assert!(layers[0] == 0 && layers.last().unwrap() == &facts["n_layers"], "{facts}");
    for (words, part) in [
        ("trajectory run", "there is nothing to draw"),
        ("trajectory run -o o.png --axes 0,1", "--axes has no meaning for a model of images"),
        ("trajectory run -o o.png --grid 40", "--grid has no meaning"),
        ("trajectory run -o o.png --paths 4", "--paths has no meaning"),
        ("trajectory run -o o.png --log", "--log has no meaning"),
        ("trajectory run few.npy -o o.png", "no condition was given"),
        ("trajectory run --given digit=11 -o o.png", "has no class 11"),
    ] {
        let out = cnf(at, words);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && err.contains(part) && err.contains("hint: "), "`cnf {words}`: {err}");
    }
}

#[test]
fn a_training_on_images_is_drawn_in_bits_per_dimension() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    json(at, "train --data digits --steps 20 --out run");
    json(at, "train --data digits --model realnvp --depth 2 --hidden 8 --steps 10 --out nvp");
    json(at, "train --data moons --steps 20 --out moons");
    for (run, unit, other) in [("run", "bits/dim", "nats"), ("nvp", "bits/dim", "nats"), ("moons", "nats", "bits/dim")]
    {
        json(at, &format!("plot {run} --format svg"));
        let svg = words(at, &format!("{run}/training.svg"));
        assert!(svg.contains(unit) && !svg.contains(other), "{run}");
    }
}

#[test]
fn models_of_images_are_compared_in_grids() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    json(at, "train --data digits --condition digit --steps 20 --out a");
    json(at, "train --data digits --condition digit --model realnvp --depth 2 --hidden 8 --steps 10 --out b");
    let facts = json(at, "compare a b --out both");
    let unit = 64.0 * std::f64::consts::LN_2;
    for model in facts["models"].as_array().unwrap() {
        let number = |key: &str| model[key].as_f64().unwrap();
        assert!((number("bits_per_dim") - number("nll") / unit).abs() < 1e-9, "{model}");
        assert!((number("bits_per_dim_se") - number("nll_se") / unit).abs() < 1e-9 && model["mass"].is_null());
    }
    let csv = words(at, "both/table.csv");
    assert!(csv.lines().next().unwrap().split(',').any(|name| name == "bits_per_dim"), "{csv}");
    let svg = words(at, "both/compare.svg");
    // A grid of data and two of samples.
    assert!(svg.matches("<image").count() == 3 && svg.contains("bits/dim") && !svg.contains("nats"), "{}", svg.len());
    let page = words(at, "both/report.html");
    assert!(page.contains("images of 8 × 8") && page.contains("a class a column") && page.contains("bits/dim"));
    // The figure, the coverage under the classes, and eleven times of the velocity and a frame for each of the layers.
    let layers = json(at, "trajectory b -o b.png")["n_layers"].as_u64().unwrap() as usize;
    assert_eq!(page.matches("data:image/png").count(), 2 + 11 + layers.min(10) + 1);
}

#[test]
fn grids_of_images_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (png, gif) = (folder.path().join("a.png"), folder.path().join("a.gif"));
    let options = Options::default();
    let block = ImageBlock::new("", &[0.5; 24], 1.0, 2);
    images(&png, SHAPE, &[block.clone().with_row_labels(vec!["a".into(), "b".into()])], &options).unwrap();
    let error = images(&png, SHAPE, &[block.clone().with_row_labels(vec!["a".into()])], &options).unwrap_err();
    assert!(error.to_string().contains("labels of rows"), "{error}");
    let mut count = 0;
    let film = [block.clone(), block.clone(), ImageBlock::new("a longer title than before", &[0.1; 24], 1.0, 2)];
    image_film(&gif, SHAPE, &film, 20, 1.5, &options, || count += 1).unwrap();
    let first = frames(&std::fs::read(&gif).unwrap());
    assert_eq!((count, first.0), (3, 3));
    assert!(image_film(&png, SHAPE, &film, 20, 1.5, &options, || ()).is_err(), "a film is a GIF");
    assert!(image_film(&gif, SHAPE, &[], 20, 1.5, &options, || ()).is_err());
    let contender = Contender { name: "one".into(), samples: vec![0.25; 18], ..Contender::default() };
    let all = [contender];
    let data = [0.75; 24];
    let chart = Comparison {
        images: Some(ImageGrid { shape: SHAPE, columns: 2 }),
        score_unit: "bits/dim",
        ..Comparison::new(&data, 6, &all)
    };
    comparison(&png, &chart, &options).unwrap();
    let none = Comparison { images: Some(ImageGrid { shape: SHAPE, columns: 0 }), ..chart };
    assert!(comparison(&png, &none, &options).unwrap_err().to_string().contains("without images"));
}
