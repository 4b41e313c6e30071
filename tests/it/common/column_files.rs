//! Files of columns with names, whatever their format.

use std::path::{Path, PathBuf};

use cnflow::io::Reader;

/// All rows of some columns of a file, a block at a time.
pub fn read(path: &Path, columns: &[&str], block: usize, missing: bool) -> cnflow::Result<Vec<f64>> {
    let mut reader = Reader::open(path)?;
    let names = reader.columns().unwrap().to_vec();
    let places: Vec<usize> =
        columns.iter().map(|wanted| names.iter().position(|name| name == wanted).unwrap()).collect();
    reader.keep(&places)?;
    if missing {
        reader.allow_missing();
    }
    let mut all = Vec::new();
    while let Some(array) = reader.next_block(block)? {
        all.extend(array.data);
    }
    Ok(all)
}

/// Columns of `other` that are no numbers are refused by their names, and nulls alone are missing cells.
pub fn check_refusals(other: &Path) {
    for (column, words) in [
        ("day", "the column `day` has dates, expected numbers"),
        ("moment", "the column `moment` has times, expected numbers"),
        ("list", "the column `list` has lists or structures, expected numbers"),
        ("pair", "the column `pair` has lists or structures, expected numbers"),
        ("huge", "the column `huge` has decimal numbers of more than 38 digits, expected numbers"),
        ("code", "the column `code` has bytes, expected numbers"),
        ("word", "`three` in row 3 (counted from 0), column `word`, is not a number"),
        ("infinite", "inf in row 1 (counted from 0), column `infinite`, is not finite"),
    ] {
        let error = read(other, &["x", column], 10, true).unwrap_err();
        assert!(error.to_string().contains(words) && error.hint().is_some(), "{column}: {error}");
    }
    assert!(read(other, &["nothing"], 10, true).unwrap().iter().all(|v| v.is_nan()));
}

/// A damaged file is an error or other numbers, and neither a panic that is not caught, nor a hang, nor gigabytes.
pub fn check_damage(files: &[PathBuf]) {
    let folder = tempfile::tempdir().unwrap();
    // What a crate's decoders report on this thread is expected; tests beside this one still speak.
    let (own, usual) = (std::thread::current().id(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |about| {
        if std::thread::current().id() != own {
            usual(about);
        }
    }));
    for file in files {
        let path = folder.path().join("x").with_extension(file.extension().unwrap());
        let whole = std::fs::read(file).unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let Ok(mut reader) = Reader::open(&path) else { return };
            reader.allow_missing();
            let mut rows = 0;
            while let Ok(Some(block)) = reader.next_block(16) {
                rows += block.rows;
            }
            assert!(rows <= 1 << 20, "{rows} rows");
        };
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= [0x01, 0x80, 0xff][at % 3];
            read(&bytes);
            // A part is missing, so that the metadata fit no longer.
            if at % 29 == 0 {
                read(&[&whole[..at], &whole[(at + 9).min(whole.len())..]].concat());
            }
        }
    }
    let _ = std::panic::take_hook();
}
