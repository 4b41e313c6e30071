//! Laws over every file format: what is written is read back, and no bytes whatever make a reader panic.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::common::archive;
use crate::common::random::{self, cases};
use crate::common::state_dict::state_dict;
use cnflow::io::safetensors::ModelFile;
use cnflow::io::{self, Array, Dtype, Reader, csv, npy, npz, torch};
use cnflow::rows;
use cnflow::{Error, Result};
use rand::Rng as _;

/// Every parser, on bytes that are in memory already.
type Parser = fn(&[u8]) -> bool;
const PARSERS: [(&str, Parser); 5] = [
    ("npy", |bytes| npy::parse(Path::new("x.npy"), bytes).is_ok()),
    ("npz", |bytes| npz::parse(Path::new("x.npz"), bytes, None).is_ok()),
    ("csv", |bytes| csv::parse(Path::new("x.csv"), bytes, &csv::Columns::default()).is_ok()),
    ("safetensors", |bytes| ModelFile::parse(Path::new("x.safetensors"), bytes).is_ok()),
    ("torch", |bytes| {
        let path = Path::new("x.safetensors");
        ModelFile::parse(path, bytes).and_then(|file| torch::sequential(path, &file)).is_ok()
    }),
];

fn bytes_of(write: impl FnOnce(&Path) -> Result<()>, name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    write(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn npy_bytes(header: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(body);
    bytes
}

/// One sound file of each format.
fn sound() -> [(&'static str, Vec<u8>); 5] {
    let table = Array::table((0..12).map(|i| f64::from(i) / 3.0).collect(), 3, Dtype::F64).unwrap();
    let one = bytes_of(|p| io::write(p, &table), "x.npy");
    let named = Array { columns: Some(vec!["a".into(), "b".into(), "c".into()]), ..table };
    let mut model = state_dict("net.");
    model.metadata.insert("spec".into(), "{\"hidden\": [4]}".into());
    [
        ("npz", archive::npz(&[("x", one.clone())], false)),
        ("npy", one),
        ("csv", bytes_of(|p| io::write(p, &named), "x.csv")),
        ("safetensors", bytes_of(|p| model.write(p), "m.safetensors")),
        ("torch", bytes_of(|p| model.write(p), "m.safetensors")),
    ]
}

fn parser(format: &str) -> Parser {
    PARSERS.iter().find(|(name, _)| *name == format).unwrap().1
}

#[test]
fn sound_files_are_read_and_every_truncation_of_a_binary_is_refused() {
    for (format, bytes) in sound() {
        assert!(parser(format)(&bytes), "{format}");
        for end in 0..bytes.len() {
            let read = parser(format)(&bytes[..end]);
            // A text cut at the end of a row is a shorter text.
            assert!(format == "csv" || !read, "{format} cut at {end} of {}", bytes.len());
        }
        let longer = [&bytes[..], b"\0"].concat();
        // A zip archive may carry a comment or other bytes at its end.
        assert!(format == "npz" || !parser(format)(&longer), "{format} with a byte too many");
    }
}

#[test]
fn mutated_files_never_make_a_reader_panic() {
    for (format, bytes) in sound() {
        let parse = parser(format);
        for at in 0..bytes.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff, b'9', b'{', b'(', bytes[at] ^ 1, bytes[at] ^ 0x10] {
                let mut bad = bytes.clone();
                bad[at] = value;
                parse(&bad);
            }
        }
        for at in 0..bytes.len().saturating_sub(8) {
            for word in [u64::MAX, u64::MAX >> 1, 1 << 40, 0] {
                let mut bad = bytes.clone();
                bad[at..at + 8].copy_from_slice(&word.to_le_bytes());
                parse(&bad);
            }
        }
    }
}

/// The cases of each test that draws them.
const CASES: u64 = 300;

#[test]
fn random_bytes_never_make_a_reader_panic() {
    cases(CASES, |rng| {
        let bytes = random::bytes(rng, 0..400);
        for (_, parse) in PARSERS {
            parse(&bytes);
        }
        // Behind a sound beginning, so that the inner parts are reached too.
        npy::parse(Path::new("x"), &[b"\x93NUMPY\x01\x00\x40\x00{'descr': '<f4', ", &bytes[..]].concat()).ok();
        let length = (bytes.len() as u64).to_le_bytes();
        ModelFile::parse(Path::new("x"), &[&length[..], b"{\"a\":", &bytes].concat()).ok();
        npz::parse(Path::new("x"), &[b"PK\x03\x04", &bytes[..], b"PK\x05\x06", &bytes[..]].concat(), None).ok();
    });
}

#[test]
fn random_text_never_makes_a_reader_panic() {
    let letters = "-0123456789abcdefghijklmnopqrstuvwxyz.,;\t\n \"'#{}():eE\u{e9}";
    cases(CASES, |rng| {
        let text = random::text(rng, letters, 0..201);
        for (_, parse) in PARSERS {
            parse(text.as_bytes());
        }
        npy::parse(Path::new("x"), &npy_bytes(&text, b"")).ok();
        let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({text}), }}");
        npy::parse(Path::new("x"), &npy_bytes(&header, b"")).ok();
    });
}

#[test]
fn tables_come_back_as_they_were_written() {
    cases(CASES, |rng| {
        let folder = tempfile::tempdir().unwrap();
        let (cols, rows, single) = (rng.random_range(1..5), rng.random_range(1..40), rng.random::<bool>());
        let sizes = if single { -30..30 } else { -300..300 };
        let mut number = || rng.random_range(-1.0..1.0) * 10f64.powi(rng.random_range(sizes.clone()));
        let mut data: Vec<f64> = (0..rows * cols).map(|_| number()).collect();
        if single {
            data.iter_mut().for_each(|v| *v = f64::from(*v as f32));
        }
        let dtype = if single { Dtype::F32 } else { Dtype::F64 };
        let table = Array::table(data.clone(), cols, dtype).unwrap();
        let vector = Array::vector(data, dtype);
        let npy = folder.path().join("x.npy");
        for array in [&table, &vector] {
            io::write(&npy, array).unwrap();
            assert_eq!(&io::read(&npy).unwrap(), array);
        }
        let text = folder.path().join("x.csv");
        io::write(&text, &table).unwrap();
        // Read as f64, a text of f32 holds the nearest decimal; rounded to f32 it is the same again.
        let back = io::read(&text).unwrap().data;
        let same = |(a, b): (&f64, &f64)| if single { *a as f32 == *b as f32 } else { a == b };
        assert!(back.len() == table.data.len() && back.iter().zip(&table.data).all(same));
    });
}

#[test]
fn every_type_and_order_of_numpy_is_read() {
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    /// The bytes of the values in one type, little- and big-endian.
    macro_rules! bytes {
        ($t:ty) => {
            (
                values.iter().flat_map(|&v| (v as $t).to_le_bytes()).collect::<Vec<u8>>(),
                values.iter().flat_map(|&v| (v as $t).to_be_bytes()).collect::<Vec<u8>>(),
            )
        };
    }
    let types = [
        ("f4", Dtype::F32, bytes!(f32)),
        ("f8", Dtype::F64, bytes!(f64)),
        ("i1", Dtype::Int(1), bytes!(i8)),
        ("i2", Dtype::Int(2), bytes!(i16)),
        ("i4", Dtype::Int(4), bytes!(i32)),
        ("i8", Dtype::Int(8), bytes!(i64)),
        ("u1", Dtype::Uint(1), bytes!(u8)),
        ("u2", Dtype::Uint(2), bytes!(u16)),
        ("u4", Dtype::Uint(4), bytes!(u32)),
        ("u8", Dtype::Uint(8), bytes!(u64)),
    ];
    for (name, dtype, (little, big)) in types {
        for (order, body) in [("<", &little), (">", &big)] {
            for (fortran, expected) in [("False", values), ("True", [1.0, 3.0, 5.0, 2.0, 4.0, 6.0])] {
                let header = format!("{{'descr': '{order}{name}', 'fortran_order': {fortran}, 'shape': (2, 3), }}\n");
                let array = npy::parse(Path::new("x.npy"), &npy_bytes(&header, body)).unwrap();
                assert_eq!((array.rows, array.cols, array.dtype, array.vector), (2, 3, dtype, false));
                assert_eq!(array.data, expected, "{order}{name} {fortran}");
            }
        }
        let header = format!("{{\"shape\": (6,), \"fortran_order\": True, \"descr\": \"|{name}\"}}");
        let array = npy::parse(Path::new("x.npy"), &npy_bytes(&header, &little)).unwrap();
        assert_eq!((array.rows, array.cols, array.vector), (6, 1, true));
        assert_eq!(array.data, values);
    }
}

#[test]
fn wrong_npy_files_say_what_is_wrong() {
    let header =
        |descr: &str, shape: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
    let with = |descr: &str, shape: &str, n: usize| npy_bytes(&header(descr, shape), &vec![0; n]);
    let cases = [
        (b"hello, world: no array".to_vec(), "not a .npy file"),
        (b"\x93NUM".to_vec(), "cut short"),
        (b"\x93NUMPY\x01\x00\xff\xff{'descr'".to_vec(), "cut short"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'".to_vec(), "cut short"),
        (b"\x93NUMPY\x09\x00\x00\x00".to_vec(), "has version 9, expected 1 to 3"),
        (with("'<f8'", "(2, 3)", 40), "declares [2, 3] numbers of f64: expected 48 bytes, found 40"),
        (with("'<f8'", "(2, 3)", 56), "expected 48 bytes, found 56"),
        (with("'<f8'", "(4611686018427387904, 4611686018427387904)", 8), "more than fit in memory"),
        (with("'<f4'", "(99999999999999999999,)", 8), "not a NumPy header"),
        (with("'<f4'", "(-1,)", 8), "not a NumPy header"),
        (with("'<f4'", "(2, 2, 2)", 32), "it has 3 axes [2, 2, 2]"),
        (with("'<f4'", "()", 4), "it has 0 axes"),
        (with("'<f4'", "(0, 2)", 0), "0 rows"),
        (with("'<f4'", "(2, 0)", 0), "0 columns"),
        (with("'<c16'", "(1,)", 16), "complex numbers (`<c16`)"),
        (with("'|O'", "(1,)", 9), "pickled Python objects"),
        (with("'<U5'", "(1,)", 20), "text"),
        (with("'<M8[ns]'", "(1,)", 8), "dates"),
        (with("'<q9'", "(1,)", 8), "unknown type"),
        (with("[('a', '<f4'), ('b', '<f4')]", "(2,)", 12), "expected 16 bytes, found 12"),
        (with("[('a', '<f4'), ('b', '<f4')]", "(1, 2)", 16), "2 axes [1, 2] of records"),
        (with("[('a', '<f4'), ('b', '<U3')]", "(1,)", 16), "its field `b`: it holds text"),
        (with("[('a', '<f4', (2,))]", "(1,)", 8), "several numbers in a field"),
        (with("[('a', [('b', '<f4')])]", "(1,)", 4), "records within records"),
        (with("[]", "(1,)", 0), "unknown type"),
        (with("[('', '|V8')]", "(1,)", 8), "have no fields"),
        (with("[('', '|V99999999999999999999')]", "(1,)", 8), "larger than the memory"),
        (with("[('a', '<f4'", "(1,)", 4), "records within records"),
        (npy_bytes(&"(".repeat(60_000), b""), "not a NumPy header"),
    ];
    for (bytes, sentence) in cases {
        let error = npy::parse(Path::new("x.npy"), &bytes).unwrap_err();
        assert!(error.to_string().contains(sentence), "`{error}` lacks `{sentence}`");
        assert!(error.hint().is_some(), "`{error}` has no hint");
    }
}

#[test]
fn a_number_that_is_not_finite_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.npy");
    io::write(&file, &Array::table(vec![0.0, 1.0, 2.0, f64::NAN, f64::INFINITY, 5.0], 2, Dtype::F32).unwrap()).unwrap();
    let error = io::read(&file).unwrap_err().to_string();
    assert!(error.contains("2 of its 6 numbers are not finite; the first is NaN in row 1, column 1"), "{error}");
    let text = folder.path().join("x.csv");
    std::fs::write(&text, "a,b\n1,2\n3,-inf\n").unwrap();
    let error = io::read(&text).unwrap_err().to_string();
    assert!(error.contains("`-inf` in line 3, column `b`, is not finite"), "{error}");
}

#[test]
fn a_number_that_is_not_finite_is_named_by_its_column_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.npy");
    let data = vec![0.0, 1.0, 2.0, 3.0, 4.0, f64::NAN];
    io::write(&file, &Array::table(data, 3, Dtype::F64).unwrap()).unwrap();
    let mut reader = io::Reader::open(&file).unwrap();
    reader.keep(&[1, 2]).unwrap();
    assert_eq!(reader.numbers(), [1, 2]);
    let error = reader.next_block(10).unwrap_err().to_string();
    assert!(error.contains("NaN in row 1, column 2 (counted from 0)"), "{error}");
}

#[test]
fn no_memory_is_allocated_for_the_sizes_of_a_compressed_header() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.npy.gz");
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (9000000000000, 1), }\n";
    let mut out = flate2::write::GzEncoder::new(std::fs::File::create(&file).unwrap(), flate2::Compression::default());
    out.write_all(&npy_bytes(header, b"")).unwrap();
    // A hole, so that the file is long enough for what its header promises.
    out.finish().unwrap().set_len(10_000_000_000).unwrap();
    let error = io::read(&file).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
}

#[test]
fn a_text_without_line_ends_is_refused() {
    let long = vec![b'1'; (64 << 20) + 1];
    for (bytes, line) in [(long.clone(), 1), ([b"a,b\n1,2\n", &long[..], b"\n3,4\n"].concat(), 3)] {
        let error = csv::parse(Path::new("x.csv"), &bytes[..], &csv::Columns::default()).unwrap_err();
        assert!(error.to_string().contains(&format!("line {line} is longer than 64 MiB")), "{error}");
        assert_eq!(error.hint().as_deref(), Some("write one row a line"));
    }
}

#[test]
fn names_that_look_like_numbers_are_read_back_as_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.csv");
    let data = vec![1.5, 2.0, -3.0, 0.25, 4.0, 1e-3];
    for names in [
        &["400.5", "410.5"][..],
        &["5", "3"],
        &["2019", "2020", "2021"],
        &["7"],
        &["NA", "-"],
        &["nan", "inf"],
        &["1,5", "2,5"],
        &["x", "0.5", "#1"],
        &["a", "b, c"],
    ] {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let table = Array::table(data.clone(), names.len(), Dtype::F64).unwrap();
        io::write(&file, &Array { columns: Some(names.clone()), ..table.clone() }).unwrap();
        let back = io::read(&file).unwrap_or_else(|e| panic!("{names:?}: {e}"));
        assert_eq!((back.rows, back.data), (table.rows, table.data), "{names:?}");
        assert_eq!(back.columns, Some(names));
    }
}

#[test]
fn text_tables_are_read_with_any_delimiter_and_with_or_without_header() {
    for (text, headed) in [
        ("1,2\n3,4\n", false),
        ("a,b\n1,2\n3,4", true),
        ("a;b\r\n1;2\r\n3;4\r\n", true),
        ("1\t2\n3\t4\n", false),
        ("x y\n1 2\n3   4\n", true),
        ("  1  2\n\n  3  4\n", false),
        ("# made by savetxt\n1.0e0 2\n3 4\n", false),
        ("\u{feff}\"a\", \"b\"\n 1 , 2 \n\n3,4\n", true),
    ] {
        let array = csv::parse(Path::new("x.csv"), text.as_bytes(), &csv::Columns::default()).unwrap().array;
        assert_eq!((array.rows, array.cols), (2, 2), "{text:?}");
        assert_eq!(array.data, [1.0, 2.0, 3.0, 4.0], "{text:?}");
        assert_eq!(array.columns.is_some(), headed, "{text:?}");
    }
}

#[test]
fn wrong_text_tables_say_what_is_wrong() {
    let columns = |drop: &[&str]| csv::Columns {
        pick: io::Pick::without(drop.iter().map(|s| (*s).into()).collect()),
        ..Default::default()
    };
    let cases: [(&[u8], &[&str], &str); 10] = [
        (b"a,b\n1,2\n3,x\n", &[], "`x` in line 3, column `b`, is not a number"),
        (b"1,2\n3,\n", &[], "a value is missing in line 2, column 1 (counted from 0)"),
        (b"1,b\n3,4\n", &[], "`b` in line 1, column 1 (counted from 0), is not a number"),
        (b"a,b\n1,2\n3\n", &[], "line 3 has 1 cell, expected 2 as in line 1"),
        (b"a,b\n", &[], "a header but no rows"),
        (b"\n\n", &[], "it holds no rows"),
        (b"# only a comment\n", &[], "it holds no rows"),
        (b"1,\xff\xfe\n", &[], "line 1 is not UTF-8"),
        (b"a,b\n1,2\n", &["c"], "it has no column `c`"),
        (b"a,b\n1,2\n", &["a", "b"], "no column is left"),
    ];
    for (bytes, drop, sentence) in cases {
        let error = csv::parse(Path::new("x.csv"), bytes, &columns(drop)).unwrap_err();
        assert!(error.to_string().contains(sentence), "`{error}` lacks `{sentence}`");
        assert!(error.hint().is_some(), "`{error}` has no hint");
    }
}

#[test]
fn members_of_an_archive_are_chosen_by_name_or_as_the_only_table() {
    let table = bytes_of(|p| io::write(p, &Array::table(vec![1.0, 2.0], 2, Dtype::F64).unwrap()), "x.npy");
    let vector = bytes_of(|p| io::write(p, &Array::vector(vec![5.0], Dtype::F64)), "y.npy");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.npz");
    let named = |member: &str| PathBuf::from(format!("{}:{member}", file.display()));
    std::fs::write(&file, archive::npz(&[("x", table.clone()), ("y", vector.clone())], false)).unwrap();
    assert_eq!(io::read(&file).unwrap().data, [1.0, 2.0]);
    assert_eq!(io::read(&named("y")).unwrap().data, [5.0]);
    let error = io::read(&named("w")).unwrap_err();
    assert!(error.to_string().contains("no member `w`") && error.hint().unwrap().contains("`x`, `y`"), "{error}");
    std::fs::write(&file, archive::npz(&[("x", table.clone()), ("z", table)], false)).unwrap();
    let error = io::read(&file).unwrap_err().to_string();
    assert!(error.contains("2 of its members are tables (`x`, `z`)"), "{error}");
    std::fs::write(&file, archive::npz(&[("y", vector)], false)).unwrap();
    assert_eq!(io::read(&file).unwrap().data, [5.0]);
    std::fs::write(&file, archive::npz(&[], false)).unwrap();
    assert!(io::read(&file).unwrap_err().to_string().contains("holds no array"));
}

#[test]
fn files_that_are_missing_empty_folders_or_of_unknown_type_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("folder.npy")).unwrap();
    for name in ["empty.npy", "empty.npz", "empty.csv", "m.safetensors"] {
        std::fs::write(at(name), b"").unwrap();
        let error = if name.starts_with('m') { ModelFile::read(&at(name)).err() } else { io::read(&at(name)).err() };
        assert!(error.unwrap().to_string().contains("it is empty"), "{name}");
    }
    assert!(io::read(&at("gone.csv")).unwrap_err().to_string().contains("the file does not exist"));
    assert!(io::read(&at("folder.npy")).unwrap_err().to_string().contains("it is a folder"));
    // Parquet is read with a feature, and not written.
    let array = Array::vector(vec![1.0], Dtype::F32);
    assert!(matches!(io::write(&at("x.parquet"), &array), Err(Error::Unknown { .. })));
    for name in ["x.hdf5", "x"] {
        let error = io::read(&at(name)).unwrap_err();
        assert!(matches!(error, Error::Unknown { .. }) && error.hint().unwrap().contains(".npz"), "{error}");
        let array = Array::vector(vec![1.0], Dtype::F32);
        assert!(matches!(io::write(&at(name), &array), Err(Error::Unknown { .. })));
    }
    assert!(Array::table(vec![1.0; 3], 2, Dtype::F32).is_err());
}

#[test]
fn a_write_that_fails_leaves_nothing_and_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    io::write_atomically(&path, |out| out.write_all(b"old")).unwrap();
    let failing = io::write_atomically(&path, |out| {
        out.write_all(&[0; 100_000])?;
        Err(std::io::Error::other("the disk is full"))
    });
    assert_eq!(failing.unwrap_err().to_string(), format!("cannot write `{}`: the disk is full", path.display()));
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file is left");
    let inside = folder.path().join("no/such/x.npy");
    let error = io::write_atomically(&inside, |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("does not exist") && error.hint().is_some(), "{error}");
    assert!(io::write_atomically(folder.path(), |_| Ok(())).unwrap_err().to_string().contains("it is a folder"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let plain = folder.path().join("plain");
        std::fs::File::create(&plain).unwrap().write_all(b"x").unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain), "not the mode of an ordinary file");
    }
}

/// A row of a structured array as NumPy pads it with `align=True`: a bool, a half float, a big-endian double, an i32.
const RECORD: &str = "[('flag', '|b1'), ('', '|V1'), ('half', '<f2'), ('', '|V4'), ('wide', '>f8'), ('k', '<i4')]";

fn records(n: usize) -> (Vec<u8>, Vec<f64>) {
    let (mut body, mut rows) = (Vec::new(), Vec::new());
    for i in 0..n {
        let (flag, wide, k) = (i % 3 == 0, i as f64 / 7.0 - 3.0, 5 - i as i32);
        // 1.0 and its neighbours.
        let half = 0x3c00 + (i as u16 % 4);
        body.extend([u8::from(flag), 99]);
        body.extend(half.to_le_bytes());
        body.extend([99; 4]);
        body.extend(wide.to_be_bytes());
        body.extend(k.to_le_bytes());
        rows.extend([f64::from(u8::from(flag)), 1.0 + (i % 4) as f64 / 1024.0, wide, f64::from(k)]);
    }
    let header = format!("{{'descr': {RECORD}, 'fortran_order': False, 'shape': ({n},), }}\n");
    (npy_bytes(&header, &body), rows)
}

#[test]
fn records_are_a_table_with_names() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, rows) = records(50);
    let array = npy::parse(Path::new("x.npy"), &bytes).unwrap();
    let names = ["flag", "half", "wide", "k"].map(String::from).to_vec();
    assert_eq!((array.rows, array.cols, &array.columns, &array.data), (50, 4, &Some(names.clone()), &rows));
    let path = folder.path().join("x.npy");
    std::fs::write(&path, &bytes).unwrap();
    for block in [1, 7, 50] {
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!((reader.columns(), reader.rows()), (Some(&names[..]), Some(50)));
        reader.keep(&[2, 0]).unwrap();
        let mut found = Vec::new();
        while let Some(part) = reader.next_block(block).unwrap() {
            found.extend(part.data);
        }
        let expected: Vec<f64> = rows.chunks_exact(4).flat_map(|row| [row[2], row[0]]).collect();
        assert_eq!(found, expected, "blocks of {block}");
    }
    // The names choose columns of a training as those of a text do.
    let options = rows::TableOptions { drop: vec!["wide".into()], ..Default::default() };
    let table = rows::Table::read(&path, &options, 0).unwrap();
    assert_eq!(table.columns.as_deref(), Some(&["flag".to_string(), "half".into(), "k".into()][..]));
}

#[test]
fn an_archive_that_is_written_has_the_numbers_and_the_names() {
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<f64> = (0..600).map(|i| f64::from(i) / 7.0).collect();
    let names = ["a".to_owned(), "Länge (m)".into(), "z".into()];
    for dtype in [Dtype::F32, Dtype::F64] {
        let write = |name: &str, named: bool| {
            let path = folder.path().join(name);
            let mut out = io::Writer::create(&path, 3, dtype, false).unwrap();
            if named {
                out = out.named(&names).unwrap();
            }
            // In pieces that are no whole rows.
            data.chunks(70).for_each(|part| out.push(part).unwrap());
            out.finish().unwrap();
            path
        };
        let (packed, plain) = (write("a.npz", true), write("a.npy", true));
        let (found, wanted) = (io::read(&packed).unwrap(), io::read(&plain).unwrap());
        assert_eq!((found.rows, found.cols, found.dtype, &found.data), (200, 3, dtype, &wanted.data));
        assert_eq!(std::fs::read(&packed).unwrap(), std::fs::read(write("b.npz", true)).unwrap());
        assert_eq!(io::read(&write("c.npz", false)).unwrap().data, wanted.data);
        let error = npz::read(&folder.path().join("a.npz:columns")).unwrap_err().to_string();
        assert!(error.contains("it holds text (`<U9`)"), "{error}");
        assert!(npz::read(&folder.path().join("c.npz:columns")).is_err());
        let left = std::fs::read_dir(folder.path())
            .unwrap()
            .filter(|f| f.as_ref().unwrap().file_name().to_string_lossy().ends_with(".tmp"));
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn booleans_and_half_floats_are_numbers() {
    let header = |descr: &str| format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2, 2), }}\n");
    let truths = npy::parse(Path::new("x.npy"), &npy_bytes(&header("|b1"), &[0, 1, 1, 0])).unwrap();
    assert_eq!((truths.data, truths.dtype), (vec![0.0, 1.0, 1.0, 0.0], Dtype::Bool));
    for (descr, swap) in [("<f2", false), (">f2", true)] {
        let words = [0x3c00u16, 0xc000, 0x0001, 0x7bff].map(|w| if swap { w.to_be_bytes() } else { w.to_le_bytes() });
        let halves = npy::parse(Path::new("x.npy"), &npy_bytes(&header(descr), words.as_flattened())).unwrap();
        assert_eq!((halves.data, halves.dtype), (vec![1.0, -2.0, (-24f64).exp2(), 65504.0], Dtype::F16));
    }
}

#[test]
#[cfg(not(feature = "parquet"))]
fn a_build_without_parquet_says_how_to_read_it() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/parquet/files/plain.parquet");
    for error in [
        io::read(&file).unwrap_err(),
        rows::Table::read(
            &file,
            &rows::TableOptions { split: rows::SplitRule::Column("set".into()), ..Default::default() },
            0,
        )
        .unwrap_err(),
    ] {
        assert!(error.to_string().contains("this build does not read Parquet files"), "{error}");
        assert!(error.hint().unwrap().contains("--features parquet"));
    }
}
