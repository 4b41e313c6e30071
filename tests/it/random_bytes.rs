//! Whatever bytes a file holds, reading it ends in a result or an error: no panic, and no memory that the file's size
//! does not justify.
//!
//! Three kinds of bytes: none that mean anything; a sound file with bytes changed, cut off or added; a sound file whose
//! numbers announce huge sizes. The memory is counted by an allocator of this binary, for each thread on its own.

use std::path::Path;

use cnflow::Rng;
use cnflow::io::safetensors::ModelFile;
use cnflow::io::{self, Array, Dtype, Reader, torch};
use cnflow::model::Model;
use cnflow::rows::{SplitRule, Table, TableOptions};
use cnflow::train::Job;
use rand::Rng as _;

use crate::common::allocations::measured;
use crate::common::archive;
use crate::common::random::{self, cases, one_of};

/// A kind of file: how it is read, one that is sound, and the bytes that reading may hold for one of the file.
struct Kind {
    name: &'static str,
    read: fn(&Path) -> cnflow::Result<()>,
    sound: fn(&Path),
    factor: i64,
}

/// What buffers, messages and tables of a fixed size take.
const CONSTANT: i64 = 1 << 20;

/// Deflate packs 1032 bytes into one at best; unpacked they are there twice while their vector grows, and each may be a
/// number of eight bytes.
const DEFLATED: i64 = 1032 * (3 + 8);

const KINDS: [Kind; 9] = [
    // A number of one byte becomes one of eight.
    Kind { name: "x.npy", read: whole, sound: array, factor: 16 },
    Kind { name: "blocks.npy", read: blocks, sound: array, factor: 16 },
    Kind { name: "x.npz", read: whole, sound: two_tables, factor: DEFLATED },
    // A cell of a comma alone is a name, twice, and its place in a record.
    Kind { name: "x.csv", read: whole, sound: numbers, factor: 150 },
    Kind { name: "t.csv", read: table, sound: text, factor: 250 },
    // An entry `"a":0,` of the header is a key, a value and a place in a map.
    Kind { name: "m.safetensors", read: model, sound: model_file, factor: 150 },
    Kind { name: "l.safetensors", read: model, sound: layers_file, factor: 150 },
    Kind { name: "w.safetensors", read: weights, sound: weights_file, factor: 150 },
    // Of a line without an end the message tells all.
    Kind { name: "job.toml", read: job, sound: job_file, factor: 150 },
];

fn whole(path: &Path) -> cnflow::Result<()> {
    io::read(path).map(drop)
}

fn blocks(path: &Path) -> cnflow::Result<()> {
    let mut reader = Reader::open(path)?;
    while reader.next_block(3)?.is_some() {}
    Ok(())
}

fn table(path: &Path) -> cnflow::Result<()> {
    let options =
        TableOptions { split: SplitRule::Column("set".into()), drop: vec!["b".into()], ..TableOptions::default() };
    Table::read(path, &options, 1).map(drop)
}

fn model(path: &Path) -> cnflow::Result<()> {
    let model = Model::load(path)?;
    // A model that was read can be put together, as every command does.
    model.bind(cnflow::velocity::Precision::F32).map(drop)
}

fn weights(path: &Path) -> cnflow::Result<()> {
    let net = torch::sequential(path, &ModelFile::read(path)?)?;
    assert_eq!(net.theta().len(), net.sizes.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum::<usize>());
    Ok(())
}

fn job(path: &Path) -> cnflow::Result<()> {
    let job = Job::from_toml(&String::from_utf8_lossy(&io::read_bytes(path)?))?;
    job.resolve(2).map(drop)
}

fn array(path: &Path) {
    io::write(path, &Array::table((0..12).map(|i| f64::from(i) / 3.0).collect(), 3, Dtype::F64).unwrap()).unwrap();
}

fn numbers(path: &Path) {
    std::fs::write(path, "# made by hand\na;\"b;c\"\n1;2e-3\n-4.5; 6\n\n7;8\n").unwrap();
}

fn text(path: &Path) {
    std::fs::write(path, "a,\"b\",set\n1,x,train\n-2.5e3,\"y\",valid\n3,,test\n4,z,0\n").unwrap();
}

fn two_tables(path: &Path) {
    let numbers = |n: usize| (0..n).map(|i| i as f64).collect();
    let (x, y) = (Array::table(numbers(12), 3, Dtype::F32).unwrap(), Array::vector(numbers(4), Dtype::F32));
    std::fs::write(path, archive::npz(&[("x", archive::npy(&x)), ("y", archive::npy(&y))], false)).unwrap();
}

/// The net of the golden weights, 3 → 64 → 64 → 64 → 2.
fn weights_file(path: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/8gaussians/model.safetensors");
    let mut file = ModelFile::read(&golden).unwrap();
    // Smaller, so that the header is most of it.
    file.tensors.truncate(2);
    file.write(path).unwrap();
}

fn model_file(path: &Path) {
    let velocity = serde_json::json!({ "kind": "mlp", "dim": 2, "condition_dim": 0, "hidden": [3], "activation": "tanh",
        "time": { "fourier": { "frequencies": 2 } } });
    save(path, velocity);
}

fn layers_file(path: &Path) {
    let layers = serde_json::json!([
        { "concat-linear": { "inputs": 2, "outputs": 3 } },
        { "activation": "tanh" },
        { "concat-squash": { "inputs": 3, "outputs": 3 } },
        { "linear": { "inputs": 3, "outputs": 2 } },
    ]);
    save(path, serde_json::json!({ "kind": "layers", "dim": 2, "condition_dim": 0, "layers": layers }));
}

fn save(path: &Path, velocity: serde_json::Value) {
    let solver = serde_json::to_value(cnflow::continuous::SolverSpec::default()).unwrap();
    let spec = serde_json::json!({ "velocity": velocity, "solver": solver,
        "standardise": { "mean": [1.0, 2.0], "std": [3.0, 4.0] } });
    let spec: cnflow::model::FlowSpec = serde_json::from_value(spec).unwrap();
    let theta = vec![0.5; spec.architecture.n_params()];
    Model { spec, theta, provenance: serde_json::Map::new() }.save(path).unwrap();
}

fn job_file(path: &Path) {
    std::fs::write(path, Job::default().with(|job| job.optimiser.steps = Some(10)).to_toml().unwrap()).unwrap();
}

/// Reads a file of these bytes, holds the memory against its size, and tells whether it was sound.
fn read(kind: &Kind, bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(kind.name);
    std::fs::write(&path, bytes).unwrap();
    let (result, most, largest) = measured(|| (kind.read)(&path));
    if let Err(error) = &result {
        let words = error.to_string();
        assert!(!words.is_empty() && !words.contains("panicked"), "{}: {words}", kind.name);
    }
    let allowed = kind.factor * bytes.len() as i64 + CONSTANT;
    let found = format!("{}: {most} bytes held, {largest} at once for a file of {}", kind.name, bytes.len());
    assert!(most <= allowed && largest <= allowed, "{found}");
    result.is_ok()
}

/// The bytes of a sound file of a kind.
fn sound(kind: &Kind) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(kind.name);
    (kind.sound)(&path);
    std::fs::read(path).unwrap()
}

const NUMBERS: [&str; 12] = [
    "18446744073709551615",
    "9223372036854775807",
    "9223372036854775808",
    "4294967296",
    "1048577",
    "1048576",
    "99999999",
    "0",
    "-1",
    "1e308",
    "1e999",
    "nan",
];

const WORDS: [u64; 5] = [u64::MAX, 1 << 40, u32::MAX as u64, 1 << 31, 0];

/// Damages a sound file at one place.
fn damage(kind: &Kind, bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    let before = bytes.len();
    let at = rng.random_range(0..before);
    match rng.random_range(0..13) {
        // Other bytes in place of some.
        0..3 => put(bytes, at, &random::bytes(rng, 1..9)),
        3..5 => put(bytes, at, &one_of(rng, &WORDS).to_le_bytes()),
        // Cut off.
        5 => bytes.truncate(at),
        // More bytes.
        6..8 => drop(bytes.splice(at..at, random::bytes(rng, 1..9))),
        // A part of it once more.
        8 => {
            let to = rng.random_range(0..before);
            let part = bytes[at.min(to)..at.max(to)].to_vec();
            bytes.splice(at..at, part);
        }
        // One of its numbers, written in digits, is another.
        _ => {
            let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
            let starts: Vec<usize> = (0..before).filter(|&i| digit(i) && (i == 0 || !digit(i - 1))).collect();
            if starts.is_empty() {
                return;
            }
            let (start, new) = (one_of(rng, &starts), one_of(rng, &NUMBERS));
            let end = (start..before).find(|&i| !digit(i)).unwrap_or(before);
            bytes.splice(start..end, new.bytes());
            // The header's own length follows, so that the header is read.
            if kind.name.ends_with("safetensors") && start >= 8 {
                let length = u64::from_le_bytes(*bytes.first_chunk().unwrap());
                let grown = length.wrapping_add(new.len() as u64).wrapping_sub((end - start) as u64);
                bytes[..8].copy_from_slice(&grown.to_le_bytes());
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    let end = (at + new.len()).min(bytes.len());
    bytes.splice(at..end, new.iter().copied());
}

#[test]
fn sound_files_are_read_within_their_memory() {
    for kind in &KINDS {
        assert!(read(kind, &sound(kind)), "{}", kind.name);
    }
}

/// The cases of each test that draws them.
const CASES: u64 = 400;

#[test]
fn random_bytes_are_refused_or_read() {
    cases(CASES, |rng| {
        let bytes = random::bytes(rng, 0..2000);
        for kind in &KINDS {
            read(kind, &bytes);
        }
    });
}

#[test]
fn random_words_are_refused_or_read() {
    let letters = "-0123456789abcdefghijklmnopqrstuvwxyz.,;\t\n \"'#{}()[]=:_eE\u{e9}";
    cases(CASES, |rng| {
        let text = random::text(rng, letters, 0..401);
        for kind in &KINDS {
            read(kind, text.as_bytes());
        }
    });
}

#[test]
fn damaged_files_are_refused_or_read() {
    let sound = KINDS.each_ref().map(sound);
    cases(CASES, |rng| {
        for (kind, bytes) in KINDS.iter().zip(&sound) {
            let mut bytes = bytes.clone();
            for _ in 0..rng.random_range(1..4) {
                damage(kind, &mut bytes, rng);
            }
            read(kind, &bytes);
        }
    });
}

#[test]
fn sizes_that_no_file_holds_are_refused() {
    cases(CASES, |rng| {
        let [rows, cols] = [0, 1].map(|_| random::text(rng, "0123456789", 1..22));
        let (descr, order) = (one_of(rng, &["<f4", "<f8", "|i1", ">u8"]), one_of(rng, &["True", "False"]));
        let body = random::bytes(rng, 0..64);
        let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({rows}, {cols}), }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(&body);
        read(&KINDS[0], &bytes);
        read(&KINDS[1], &bytes);
        // Neither is the header of an archive's member, nor that of a model.
        read(&KINDS[2], &archive::npz(&[("x", bytes)], false));
        let text = format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{rows},{cols}],\"data_offsets\":[0,{rows}]}}}}");
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.extend(&body);
        read(&KINDS[5], &bytes);
        read(&KINDS[7], &bytes);
    });
}

/// Long files of one short part are where a table of small things outgrows its text.
#[test]
fn long_files_of_little_content_are_held_within_their_memory() {
    let parts = [
        ",",
        ", ",
        "1,",
        "1 ",
        "a ",
        "a,",
        "\n",
        "1\n",
        ",\n",
        "\"\n",
        "\"\",",
        "[",
        "[]",
        "{",
        "[a]\n",
        "a=1\n",
        "[[a]]\n",
        "a.",
        "[1,",
        "# x\n",
        "\0",
        "\u{e9}",
        "'",
        "1,\n",
        "a,b\n1,2\n",
    ];
    for part in parts {
        for kind in &KINDS {
            read(kind, part.repeat(20_000).as_bytes());
        }
        // Behind the beginning of a header.
        let header = part.replace('\n', " ").repeat(20_000);
        for begun in ["{", "{\"a\":[", "{\"__metadata__\":{\"cnf\":\""] {
            let bytes = [&((begun.len() + header.len()) as u64).to_le_bytes()[..], begun.as_bytes(), header.as_bytes()];
            read(&KINDS[5], &bytes.concat());
        }
        let length = (header.len() as u32).to_le_bytes();
        read(&KINDS[0], &[b"\x93NUMPY\x02\x00", &length[..], header.as_bytes()].concat());
    }
}

#[test]
fn an_archive_of_zeros_is_unpacked_as_far_as_its_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zeros.npz");
    let n = 4 << 20;
    let member = |rows: usize| {
        let text = format!("{{'descr': '|i1', 'fortran_order': False, 'shape': ({rows}, 1), }}\n");
        let length = (text.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes(), &vec![0; n]].concat()
    };
    let bytes = archive::npz(&[("x", member(n))], true);
    assert!(bytes.len() < 10_000 && read(&KINDS[2], &bytes));
    // The header declares three numbers: of the zeros behind them one is unpacked.
    std::fs::write(&path, archive::npz(&[("x", member(3))], true)).unwrap();
    let (result, most, _) = measured(|| io::read(&path).map(drop));
    assert!(result.unwrap_err().to_string().contains("declares [3, 1]"));
    assert!(most < CONSTANT, "{most}");
}

#[test]
fn a_reader_holds_a_block_and_not_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = folder.path().join(name);
        let table = Array::table(vec![0.25; 1 << 20], 4, Dtype::F64).unwrap();
        io::write(&path, &table).unwrap();
        path
    };
    for path in [write("x.npy"), write("x.csv")] {
        let ((), most, _) = measured(|| {
            let mut reader = Reader::open(&path).unwrap();
            while reader.next_block(1000).unwrap().is_some() {}
        });
        // A block of 32 000 bytes, its bytes in the file, twice while a vector grows, and a buffer of 64 KiB.
        assert!(most < 4 * 32_000 + (1 << 17), "{}: {most}", path.display());
    }
}
