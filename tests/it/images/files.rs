//! Images are the same bytes from whatever file they are read.

use std::path::Path;

use cnflow::ImageShape;
use cnflow::io::{Dialect, Layout, Reader, Writer};
use cnflow::rows::{DataOptions, Table, TableOptions, digits, resolve};
use image::ColorType;

use crate::common::archive::npz;
use crate::common::pictures::{gzip, idx, npy_of, npy_u8, png};

/// Five images of 3 × 4 with so many channels, `[y][x][channel]`.
fn made(channels: usize) -> (ImageShape, Vec<u8>) {
    let shape = ImageShape { height: 3, width: 4, channels };
    (shape, (0..5 * shape.len()).map(|i| (i * 37 % 251) as u8).collect())
}

fn read(path: &Path, layout: Layout) -> cnflow::Result<Table> {
    Table::read(path, &TableOptions { layout, ..TableOptions::default() }, 0)
}

/// The same numbers with the axes `[n, h, w, c]` in another order, the first fastest of `order`'s last.
fn reordered(bytes: &[u8], sizes: [usize; 4], order: [usize; 4]) -> Vec<u8> {
    let steps = [sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1];
    let mut out = Vec::new();
    let (a, b, c, d) = (order[0], order[1], order[2], order[3]);
    for i in 0..sizes[a] {
        for j in 0..sizes[b] {
            for k in 0..sizes[c] {
                for l in 0..sizes[d] {
                    out.push(bytes[i * steps[a] + j * steps[b] + k * steps[c] + l * steps[d]]);
                }
            }
        }
    }
    out
}

#[test]
fn images_are_the_same_bytes_from_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (grey, bytes) = made(1);
    let (colour, coloured) = made(3);
    let sizes = [5, 3, 4, 3];
    let chw = reordered(&coloured, sizes, [0, 3, 1, 2]);
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(at.join(name), bytes).unwrap();
    write("g.npy", npy_u8(&[5, 3, 4], &bytes, false));
    write("g4.npy", npy_u8(&[5, 3, 4, 1], &bytes, false));
    write("g.npy.gz", gzip(&npy_u8(&[5, 3, 4], &bytes, false)));
    // Fortran order: the first axis runs fastest, so the axes are written backwards.
    write("f.npy", npy_u8(&[5, 3, 4], &reordered(&bytes, [5, 3, 4, 1], [3, 2, 1, 0]), true));
    write("a.npz", npz(&[("x", npy_u8(&[5, 3, 4], &bytes, false)), ("y", npy_u8(&[5], &[1; 5], false))], true));
    write("train-images-idx3-ubyte", idx(&[5, 3, 4], &bytes));
    write("train-images-idx3-ubyte.gz", gzip(&idx(&[5, 3, 4], &bytes)));
    write("x.idx", idx(&[5, 3, 4], &bytes));
    write("c.npy", npy_u8(&[5, 3, 4, 3], &coloured, false));
    write("chw.npy", npy_u8(&[5, 3, 3, 4], &chw, false));
    write("fc.npy", npy_u8(&[5, 3, 4, 3], &reordered(&coloured, sizes, [3, 2, 1, 0]), true));
    write("fchw.npy", npy_u8(&[5, 3, 3, 4], &reordered(&coloured, sizes, [2, 1, 3, 0]), true));
    for (name, kind, shape, bytes) in
        [("grey", ColorType::L8, grey, &bytes), ("colour", ColorType::Rgb8, colour, &coloured)]
    {
        std::fs::create_dir(at.join(name)).unwrap();
        for (i, image) in bytes.chunks_exact(shape.len()).enumerate() {
            png(&at.join(name).join(format!("{i}.png")), (3, 4), kind, image);
        }
        std::fs::write(at.join(name).join("notes.txt"), "no image").unwrap();
    }
    let greys = [
        "g.npy",
        "g4.npy",
        "g.npy.gz",
        "f.npy",
        "a.npz",
        "a.npz:x",
        "train-images-idx3-ubyte",
        "train-images-idx3-ubyte.gz",
        "x.idx",
        "grey",
    ];
    for name in greys {
        let table = read(&at.join(name), Layout::Auto).unwrap();
        assert_eq!((table.shape, table.x.bytes(), table.n), (Some(grey), Some(&bytes[..]), 5), "{name}");
        assert!(table.notes.is_empty(), "{name}: {:?}", table.notes);
    }
    let colours = [
        ("c.npy", Layout::Auto),
        ("c.npy", Layout::Hwc),
        ("chw.npy", Layout::Chw),
        ("fc.npy", Layout::Hwc),
        ("fchw.npy", Layout::Chw),
        ("colour", Layout::Auto),
    ];
    for (name, layout) in colours {
        let table = read(&at.join(name), layout).unwrap();
        assert_eq!((table.shape, table.x.bytes()), (Some(colour), Some(&coloured[..])), "{name}");
        // What was decided is said.
        assert_eq!(table.notes.len(), usize::from(name == "c.npy" && layout == Layout::Auto), "{name}");
    }
    // A block of rows is those rows, from any file.
    for name in greys {
        let mut reader = Reader::open_with(&at.join(name), &Dialect::default(), Layout::Auto).unwrap();
        assert_eq!((reader.shape(), reader.rows()), (Some(grey), Some(5)), "{name}");
        let mut all = Vec::new();
        while let Some(block) = reader.next_block(2).unwrap() {
            all.extend(block.data.iter().map(|v| *v as u8));
        }
        assert_eq!(all, bytes, "{name}");
    }
    // Labels are one axis.
    std::fs::write(at.join("train-labels-idx1-ubyte"), idx(&[5], &[3, 1, 4, 1, 5])).unwrap();
    let labels = cnflow::io::read(&at.join("train-labels-idx1-ubyte")).unwrap();
    assert!(labels.vector && labels.data == [3.0, 1.0, 4.0, 1.0, 5.0]);
    // Written images are those that were read.
    for (file, shape, bytes) in [("o.npy", grey, &bytes), ("oc.npy", colour, &coloured)] {
        let mut writer = Writer::images(&at.join(file), shape).unwrap();
        writer.push(&bytes.iter().map(|v| f64::from(*v)).collect::<Vec<_>>()).unwrap();
        writer.finish().unwrap();
        let table = read(&at.join(file), Layout::Hwc).unwrap();
        assert_eq!((table.shape, table.x.bytes()), (Some(shape), Some(&bytes[..])));
    }
}

#[test]
fn files_that_are_not_images_are_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (_, bytes) = made(1);
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(at.join(name), bytes).unwrap();
    let floats: Vec<u8> = (0..60).flat_map(|i| (i as f32).to_le_bytes()).collect();
    write("float.npy", npy_of("<f4", &[5, 3, 4], &floats, false));
    write("five.npy", npy_u8(&[5, 3, 2, 2, 1], &bytes, false));
    write("huge.npy", npy_u8(&[400_000_000, 28, 28], &bytes, false));
    write("wide.npy", npy_u8(&[1, 5000, 5000], &[], false));
    write("unknown.npy", npy_u8(&[1, 5, 6, 7], &[0; 210], false));
    write("cut-idx3-ubyte", idx(&[5, 3, 4], &bytes[..40]));
    write("head-idx3-ubyte", idx(&[5, 3, 4], &bytes)[..7].to_vec());
    write("huge-idx3-ubyte", idx(&[400_000_000, 28, 28], &bytes));
    write("magic-idx3-ubyte", npy_u8(&[5, 3, 4], &bytes, false));
    write("cut-idx3-ubyte.gz", gzip(&idx(&[5, 3, 4], &bytes[..40])));
    write("long-idx3-ubyte.gz", gzip(&idx(&[4, 3, 4], &bytes)));
    for name in ["empty", "mixed", "kinds", "clear", "damaged"] {
        std::fs::create_dir(at.join(name)).unwrap();
    }
    png(&at.join("mixed/a.png"), (3, 4), ColorType::L8, &bytes[..12]);
    png(&at.join("mixed/b.png"), (4, 3), ColorType::L8, &bytes[..12]);
    png(&at.join("kinds/a.png"), (2, 2), ColorType::L8, &bytes[..4]);
    png(&at.join("kinds/b.png"), (2, 2), ColorType::Rgb8, &bytes[..12]);
    png(&at.join("clear/a.png"), (2, 2), ColorType::Rgba8, &bytes[..16]);
    std::fs::write(at.join("damaged/a.png"), b"no picture").unwrap();
    let cases = [
        ("float.npy", "it has 3 axes [5, 3, 4] of f32: images hold u8"),
        ("five.npy", "it has 5 axes"),
        ("huge.npy", "its header declares [400000000, 28, 28] numbers of u8: expected 313600000000 bytes, found 60"),
        ("wide.npy", "expected 25000000 bytes, found 0"),
        ("unknown.npy", "neither the first nor the last axis of 5 × 6 × 7"),
        ("cut-idx3-ubyte", "its header declares [5, 3, 4] numbers of u8: expected 60 bytes, found 40"),
        ("head-idx3-ubyte", "its header is cut short"),
        ("huge-idx3-ubyte", "expected 313600000000 bytes, found 60"),
        ("magic-idx3-ubyte", "it is not an IDX file: its first bytes are 93 4e 55 4d, those of images 00 00 08 03"),
        ("cut-idx3-ubyte.gz", "its header declares 5 rows, but it ends after row"),
        ("long-idx3-ubyte.gz", "more bytes follow"),
        ("empty", "the folder holds no PNG images"),
        ("mixed", "mixed/b.png`: it is 4 × 3, grey, but `a.png` is 3 × 4, grey"),
        ("kinds", "kinds/b.png`: it is 2 × 2, in colour, but `a.png` is 2 × 2, grey"),
        ("clear", "it is partly transparent"),
        ("damaged", "it is not a valid PNG image"),
    ];
    for (name, sentence) in cases {
        let error = read(&at.join(name), Layout::Auto).unwrap_err();
        assert!(error.to_string().contains(sentence), "{name}: `{error}` lacks `{sentence}`");
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{name}: `{error}` has no hint");
    }
}

#[test]
fn the_digits_are_built_in_with_their_labels_and_their_split() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let file = Table::read(&root.join("digits8x8.npy"), &TableOptions::default(), 0).unwrap();
    let own = resolve("digits", &DataOptions { condition: vec!["digit".into()], ..DataOptions::default() }, 0).unwrap();
    assert_eq!((own.shape, file.shape), (Some(digits::SHAPE), Some(digits::SHAPE)));
    assert_eq!(own.places, Some(file.split.clone()));
    let train = own.training_rows().unwrap();
    assert_eq!(train.x, file.x.pick(64, &file.split.train));
    // Each digit is a tenth of them, about; and the largest level is 16.
    let labels = digits::labels().unwrap();
    for digit in 0..10 {
        let count = labels.iter().filter(|label| **label == f64::from(digit)).count();
        assert!((170..=185).contains(&count), "{digit}: {count}");
    }
    assert_eq!(digits::images().unwrap().iter().max(), Some(&16));
    assert_eq!(train.context.len(), train.count(64));
    let other = DataOptions { condition: vec!["0".into()], ..DataOptions::default() };
    assert!(resolve("digits", &other, 0).unwrap_err().to_string().contains("unknown column `0`"));
}

#[test]
fn a_tenth_of_the_images_is_held_out_and_no_more_than_2500() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.npy");
    for (n, held) in [(1000, 100), (25_000, 2500), (30_000, 2500)] {
        // All different: the number of an image in its three pixels.
        let bytes: Vec<u8> = (0..n as u32).flat_map(|i| [i as u8, (i >> 8) as u8, 7]).collect();
        std::fs::write(&path, npy_u8(&[n, 1, 3], &bytes, false)).unwrap();
        let split = read(&path, Layout::default()).unwrap().split;
        assert_eq!([split.train.len(), split.valid.len(), split.test.len()], [n - 2 * held, held, held]);
    }
}
