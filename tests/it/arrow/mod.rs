//! Tables of Arrow files: the bits of the same numbers as text, by whatever program they were written; `files/README.txt`
//! says how.

use std::path::{Path, PathBuf};

use crate::common::column_files::{check_damage, check_refusals, read};
#[cfg(feature = "cli")]
use crate::common::command::{folder, json};
use crate::common::velocity::bits;
use cnflow::io::{self, Reader};
use cnflow::rows::{SplitRule, Table, TableOptions};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/arrow/files").join(name)
}

/// The same tables as text are those of the Parquet files.
fn text(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/parquet/files").join(name)
}

/// Columns that have the numbers of another one in another form.
const FORMS: [(&str, &str); 5] =
    [("coded", "steps"), ("coded_text", "text"), ("large_text", "text"), ("text_view", "text"), ("price64", "price")];

#[test]
fn every_type_has_the_bits_of_its_text() {
    for name in ["plain.arrow", "lz4.arrow"] {
        let path = file(name);
        let names = Reader::open(&path).unwrap().columns().unwrap().to_vec();
        let columns: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "set").collect();
        let of_text =
            |column: &str| FORMS.iter().find(|(form, _)| *form == column).map_or(column.to_owned(), |f| f.1.into());
        assert!(columns.len() > 15, "{columns:?}");
        let wanted: Vec<Vec<f64>> = columns
            .iter()
            .map(|column| read(&text("numbers.csv"), &[&of_text(column)], 1000, false).unwrap())
            .collect();
        // In the order of the file, in another one, and each alone.
        let turned: Vec<usize> = (0..columns.len()).map(|j| (5 * j + 3) % columns.len()).collect();
        let orders = [(0..columns.len()).collect(), turned].into_iter().chain((0..columns.len()).map(|j| vec![j]));
        for order in orders {
            let wanted: Vec<f64> =
                (0..40).flat_map(|row| order.iter().map(move |j| (row, *j))).map(|(row, j)| wanted[j][row]).collect();
            let order: Vec<&str> = order.iter().map(|j| columns[*j]).collect();
            for block in [1, 7, 16, 1000] {
                assert_eq!(
                    bits(&read(&path, &order, block, false).unwrap()),
                    bits(&wanted),
                    "{name} {order:?} by {block}"
                );
            }
        }
    }
}

#[test]
fn a_table_has_the_rows_the_names_and_the_split_of_its_text() {
    let mut options = TableOptions { split: SplitRule::Column("set".into()), ..TableOptions::default() };
    options.drop = vec!["text".into()];
    let theirs = Table::read(&text("numbers.csv"), &options, 3).unwrap();
    options.drop.extend(FORMS.iter().map(|(form, _)| (*form).to_owned()));
    for name in ["plain.arrow", "lz4.arrow"] {
        let ours = Table::read(&file(name), &options, 3).unwrap();
        assert_eq!((&ours.columns, ours.n, ours.d), (&theirs.columns, 40, 12));
        assert_eq!((bits(&ours.x.all()), &ours.split), (bits(&theirs.x.all()), &theirs.split), "{name}");
    }
}

#[test]
fn nulls_of_every_program_are_missing_cells() {
    let text = text("gaps.csv");
    let wanted = read(&text, &["x", "y"], 1000, true).unwrap();
    for name in ["pandas.feather", "polars.arrow", "pyarrow.feather"] {
        let path = file(name);
        for block in [3, 1000] {
            assert_eq!(bits(&read(&path, &["x", "y"], block, true).unwrap()), bits(&wanted), "{name}");
        }
        let error = read(&path, &["x", "y"], 1000, false).unwrap_err().to_string();
        assert!(error.contains("a value is missing in row 3 (counted from 0), column `x`"), "{name}: {error}");
        let error = read(&path, &["x", "kind"], 1000, true).unwrap_err().to_string();
        assert!(error.contains("`a` in row 0 (counted from 0), column `kind`, is not a number"), "{name}: {error}");
    }
}

/// A categorical column is one of classes.
#[cfg(feature = "cli")]
#[test]
fn the_command_reads_arrow_wherever_it_reads_tables() {
    let folder = folder();
    let at = folder.path();
    for name in ["pandas.feather", "polars.arrow", "pyarrow.feather"] {
        std::fs::copy(file(name), at.join(name)).unwrap();
        let given =
            format!("--data {name} --condition kind:class --split 0.5,0.25 --model realnvp --steps 3 --out r{name}");
        let facts = json(at, &format!("train {given}"));
        assert_eq!(facts["model"], "realnvp", "{facts}");
        let facts = json(at, &format!("density r{name} {name} --condition kind -o {name}.npy"));
        assert_eq!((&facts["n"], &facts["failed"]), (&40.into(), &0.into()));
    }
    let of = |name: &str| io::read(&at.join(name)).map(|all| bits(&all.data));
    let columns = |name: &str| std::fs::read(at.join(name)).unwrap();
    assert!(of("pandas.feather.npy").is_err(), "rows without a cell have no density");
    assert_eq!(columns("pandas.feather.npy"), columns("polars.arrow.npy"));
    assert_eq!(columns("pandas.feather.npy"), columns("pyarrow.feather.npy"));
}

#[test]
fn what_is_not_a_table_of_numbers_says_so() {
    check_refusals(&file("other.arrow"));
    for (name, words) in [
        ("zstd.arrow", "it is packed by zstd, which is read of Parquet only"),
        ("stream.arrow", "it is a stream of Arrow, not a file"),
        ("empty.arrow", "it has 2 columns, but no rows"),
    ] {
        let error = io::read(&file(name)).unwrap_err();
        assert!(error.to_string().contains(words) && error.hint().is_some(), "{name}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.arrow");
    let written = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        io::read(&path).unwrap_err().to_string()
    };
    assert!(written(b"x,y\n1,2\n3,4\n5,6\n7,8\n").contains("it is not an Arrow file"));
    assert!(written(b"ARROW1").contains("it is not an Arrow file"));
    assert!(written(b"FEA1\0\0\0\0\0\0\0\0\0\0\0\0FEA1").contains("it is a Feather file of version 1"));
    let whole = std::fs::read(file("plain.arrow")).unwrap();
    assert!(written(&whole[..whole.len() - 1]).contains("it begins as an Arrow file, but does not end as one"));
}

#[test]
fn damaged_files_are_errors() {
    check_damage(&["pyarrow.feather", "polars.arrow", "pandas.feather"].map(file));
}
