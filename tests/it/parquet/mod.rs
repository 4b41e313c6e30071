//! Tables of Parquet files: the bits of the same numbers as text, by whatever program and in whatever encoding they were
//! written; `files/README.txt` says how.

#[cfg(feature = "cli")]
mod command;

use std::path::{Path, PathBuf};

use crate::common::column_files::{check_damage, check_refusals, read};
use crate::common::velocity::bits;
use cnflow::io::{self, Reader, csv};
use cnflow::rows::{DataOptions, Dataset, SplitRule, Table, TableOptions, resolve};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/parquet/files").join(name)
}

/// The names of the columns of a file that are not in `without`.
fn names(path: &Path, without: &[&str]) -> Vec<String> {
    let names = Reader::open(path).unwrap().columns().unwrap().to_vec();
    names.into_iter().filter(|name| !without.contains(&name.as_str())).collect()
}

/// The files that hold columns of `numbers.csv`: by row groups and pages, codecs, encodings and versions of pages.
const NUMBERS: [&str; 5] = ["snappy", "plain", "gzip", "zstd", "encodings"];

#[test]
fn every_type_codec_and_encoding_has_the_bits_of_its_text() {
    let text = file("numbers.csv");
    for name in NUMBERS {
        let path = file(&format!("{name}.parquet"));
        let columns = names(&path, &["set"]);
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let wanted = bits(&read(&text, &columns, 1000, false).unwrap());
        assert!(wanted.len() == 40 * columns.len());
        for block in [1, 7, 16, 1000] {
            assert_eq!(bits(&read(&path, &columns, block, false).unwrap()), wanted, "{name} by {block}");
        }
        // Columns in another order, and one alone.
        let turned: Vec<&str> = columns.iter().rev().copied().collect();
        let wanted = read(&text, &turned, 9, false).unwrap();
        assert_eq!(bits(&read(&path, &turned, 9, false).unwrap()), bits(&wanted), "{name}");
        for one in columns {
            let wanted = read(&text, &[one], 9, false).unwrap();
            assert_eq!(bits(&read(&path, &[one], 9, false).unwrap()), bits(&wanted), "{name} {one}");
        }
    }
}

#[test]
fn a_table_has_the_rows_the_names_and_the_split_of_its_text() {
    let options = |split: SplitRule| TableOptions { split, drop: vec!["text".into()], ..TableOptions::default() };
    for name in ["snappy", "plain", "gzip"] {
        let (path, text) = (file(&format!("{name}.parquet")), file("numbers.csv"));
        let splits = [SplitRule::Column("set".into()), SplitRule::Fractions { train: 0.5, valid: 0.25 }];
        for split in splits {
            let mut options = options(split.clone());
            if !matches!(split, SplitRule::Column(_)) {
                options.drop.push("set".into());
            }
            let [ours, theirs] = [&path, &text].map(|path| Table::read(path, &options, 3).unwrap());
            assert_eq!((&ours.columns, ours.n, ours.d, &ours.numbers), (&theirs.columns, 40, 12, &theirs.numbers));
            assert_eq!(bits(&ours.x.all()), bits(&theirs.x.all()), "{name}");
            assert_eq!(ours.split, theirs.split, "{name} {split:?}");
        }
    }
    let mut other = options(SplitRule::Auto);
    other.drop.push("set".into());
    let mut refused = |column: &str| {
        other.split = SplitRule::Column(column.into());
        Table::read(&file("plain.parquet"), &other, 3)
    };
    let error = refused("group").unwrap_err().to_string();
    assert!(error.contains("it has no column `group`"), "{error}");
    let error = refused("steps").unwrap_err().to_string();
    assert!(error.contains("column `steps` has the unknown code"), "{error}");
}

#[test]
fn conditions_and_codes_may_be_in_parquet_too() {
    let folder = tempfile::tempdir().unwrap();
    let codes = folder.path().join("codes.csv");
    std::fs::write(&codes, (0..40).map(|i| format!("{}\n", i % 3)).collect::<String>()).unwrap();
    let of = |source: &str, condition: PathBuf| -> Dataset {
        let table = TableOptions { split: SplitRule::File(codes.clone()), ..TableOptions::default() };
        let condition = vec![condition.display().to_string()];
        let options = DataOptions { table, condition, ..DataOptions::default() };
        resolve(&file(source).display().to_string(), &options, 0).unwrap()
    };
    let (ours, again) = (of("zstd.parquet", file("zstd.parquet")), of("zstd.parquet", file("zstd.parquet")));
    assert_eq!(ours.valid, again.valid);
    assert_eq!(bits(&ours.valid.points()), bits(&ours.valid.context));
    assert_eq!(ours.context.unwrap().columns, ["plain", "steps"]);
}

#[test]
fn nulls_of_every_program_are_missing_cells() {
    let text = file("gaps.csv");
    let wanted = read(&text, &["x", "y"], 1000, true).unwrap();
    assert_eq!(wanted.iter().filter(|v| v.is_nan()).count(), 5);
    for name in ["pandas", "polars", "duckdb"] {
        let path = file(&format!("{name}.parquet"));
        for block in [3, 1000] {
            assert_eq!(bits(&read(&path, &["x", "y"], block, true).unwrap()), bits(&wanted), "{name}");
        }
        let error = read(&path, &["x", "y"], 1000, false).unwrap_err().to_string();
        assert!(error.contains("a value is missing in row 3 (counted from 0), column `x`"), "{name}: {error}");
        // A column of words is an error only where it is used.
        let error = read(&path, &["x", "kind"], 1000, true).unwrap_err().to_string();
        assert!(error.contains("`a` in row 0 (counted from 0), column `kind`, is not a number"), "{name}: {error}");
        // Rows with gaps are left out as those of the text are.
        let options = |drop: &str| TableOptions { drop: vec![drop.into()], ..TableOptions::default() };
        let [ours, theirs] = [&path, &text].map(|path| Table::read(path, &options("kind"), 5).unwrap());
        assert_eq!(
            (bits(&ours.x.all()), &ours.split, &ours.left),
            (bits(&theirs.x.all()), &theirs.split, &theirs.left)
        );
        assert_eq!(ours.n, 36);
        let note = ours.notes.last().unwrap();
        assert!(note.contains("4 of 40 rows have a missing cell and are left out: 3 in `y`, 2 in `x`"), "{note}");
    }
    let index = Reader::open(&file("pandas.parquet")).unwrap();
    assert_eq!(index.columns().unwrap(), ["x", "y", "kind"]);
    assert!(index.notes()[0].contains("`__index_level_0__` holds the labels of the rows"), "{:?}", index.notes());
}

#[test]
fn what_is_not_a_table_of_numbers_says_so() {
    check_refusals(&file("other.parquet"));
    for (name, words) in [
        ("brotli", "its column `plain` is packed by BROTLI, which is not read"),
        ("lz4", "its column `plain` is packed by LZ4"),
        ("empty", "it has 2 columns, but no rows"),
    ] {
        let error = io::read(&file(&format!("{name}.parquet"))).unwrap_err();
        assert!(error.to_string().contains(words) && error.hint().is_some(), "{name}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let written = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        io::read(&path).unwrap_err().to_string()
    };
    assert!(written(b"x,y\n1,2\n3,4\n").contains("it is not a Parquet file"));
    assert!(written(b"PAR1").contains("it is not a Parquet file"));
    assert!(written(b"PARE1234PARE").contains("it is encrypted"));
    let whole = std::fs::read(file("plain.parquet")).unwrap();
    assert!(written(&whole[..whole.len() - 1]).contains("it begins as a Parquet file, but does not end as one"));
    // Its ending decides, as for every table.
    std::fs::write(&path, &whole).unwrap();
    let text = csv::parse(&path, &whole[..], &csv::Columns::default());
    assert!(text.is_err());
}

#[test]
fn damaged_files_are_errors() {
    check_damage(&["zstd", "duckdb", "polars", "encodings"].map(|name| file(&format!("{name}.parquet"))));
}
