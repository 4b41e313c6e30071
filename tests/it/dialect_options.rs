//! Laws over the options of a dialect: a text that is written otherwise, and read so, gives the same bits everywhere.

use std::path::{Path, PathBuf};

use cnflow::io::{self, Decimal, Dialect, Header, Reader, Separator};
use cnflow::train::Job;

use crate::common::command::{bytes, cnf, conditional, folder, json};

/// A dialect, its flags, and a text of the rows in it.
type Written = (Dialect, &'static str, fn(&[[f64; 2]]) -> String);

fn rows(n: usize) -> Vec<[f64; 2]> {
    (0..n).map(|i| [((i * 37) % 101) as f64 / 16.0 - 3.0, ((i * 53) % 89) as f64 / 32.0 - 1.25]).collect()
}

/// The rows with a name above each column.
fn text(rows: &[[f64; 2]], sep: &str, decimal: &str) -> String {
    let number = |v: f64| v.to_string().replace('.', decimal);
    let line = |row: &[f64; 2]| format!("{}{sep}{}\n", number(row[0]), number(row[1]));
    format!("a{sep}b\n{}", rows.iter().map(line).collect::<String>())
}

fn every_dialect() -> Vec<Written> {
    let usual = Dialect::default;
    let (mark, comma) = (Separator::Char, Decimal::Comma);
    vec![
        (usual(), "", |rows| text(rows, ",", ".")),
        (Dialect { sep: mark(';'), ..usual() }, "--sep ;", |rows| text(rows, ";", ".")),
        (Dialect { sep: mark('\t'), ..usual() }, "--sep \\t", |rows| text(rows, "\t", ".")),
        (Dialect { sep: mark('|'), ..usual() }, "--sep |", |rows| text(rows, " | ", ".")),
        (Dialect { sep: mark(':'), ..usual() }, "--sep :", |rows| text(rows, ":", ".")),
        (Dialect { sep: Separator::Spaces, ..usual() }, "--sep space", |rows| text(rows, " \t  ", ".")),
        (Dialect { decimal: comma, ..usual() }, "--decimal ,", |rows| text(rows, ";", ",")),
        (Dialect { decimal: comma, ..usual() }, "--decimal ,", |rows| text(rows, "  ", ",")),
        (Dialect { sep: mark('|'), decimal: comma, ..usual() }, "--sep | --decimal ,", |rows| text(rows, "|", ",")),
        (Dialect { comment: Some("%".into()), ..usual() }, "--comment %", |rows| {
            text(rows, ",", ".").replace('\n', "\n% a remark, 1\n").replacen("a,b", "% first\na,b", 1)
        }),
        (Dialect { comment: Some("--".into()), ..usual() }, "--comment --", |rows| {
            text(rows, ",", ".").replacen('\n', "\n-- 5,5\n", 1)
        }),
    ]
}

fn written(at: &Path, name: &str, text: &str) -> PathBuf {
    std::fs::write(at.join(name), text).unwrap();
    at.join(name)
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn a_text_in_every_dialect_has_the_same_numbers_whole_and_in_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(60);
    for (dialect, flags, write) in every_dialect() {
        let path = written(folder.path(), "x.csv", &write(&rows));
        for header in [Header::Auto, Header::First] {
            let dialect = Dialect { header, ..dialect.clone() };
            let whole = io::read_as(&path, &dialect).unwrap_or_else(|e| panic!("{flags}: {e}"));
            assert_eq!(bits(&whole.array.data), bits(&rows.concat()), "{flags}");
            assert_eq!(whole.array.columns, Some(vec!["a".into(), "b".into()]), "{flags}");
            let (mut reader, mut data) = (Reader::open_as(&path, &dialect).unwrap(), Vec::new());
            while let Some(block) = reader.next_block(7).unwrap() {
                data.extend(block.data);
            }
            assert_eq!(bits(&data), bits(&rows.concat()), "{flags}");
        }
        // What is set goes before what is found: by another mark it is another table, or none.
        let other = Dialect { sep: Separator::Char('/'), ..dialect };
        assert!(io::read_as(&path, &other).is_err(), "{flags}");
    }
}

#[test]
fn words_of_missing_cells_are_missing_in_every_spelling_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "x.csv", "a,b\n1,-999\n-9.99e2,2\n-999.0,void\nNA,3\n");
    let dialect = Dialect { na: vec!["-999".into(), "void".into()], ..Dialect::default() };
    let found = io::read_with(&path, &dialect, true).unwrap().array.data;
    assert_eq!(bits(&found), bits(&[1.0, f64::NAN, f64::NAN, 2.0, f64::NAN, f64::NAN, f64::NAN, 3.0]));
    // Where no cell may be missing they are errors, and without the words they are what they are.
    let error = io::read_as(&path, &dialect).unwrap_err().to_string();
    assert!(error.contains("a value is missing (`-999`) in line 2, column `b`"), "{error}");
    let error = io::read_with(&path, &Dialect::default(), true).unwrap_err();
    assert!(error.to_string().contains("`void` in line 4, column `b`, is not a number"), "{error}");
    assert!(error.hint().unwrap().contains("data.na"));
}

#[test]
fn a_line_that_begins_like_a_comment_is_a_row_where_nothing_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "x.csv", "name,x\n#1,5\n#2,6\n");
    let pick = io::Pick::without(vec!["0".into()]);
    let read = |comment: Option<&str>| {
        let dialect = Dialect { comment: comment.map(str::to_owned), ..Dialect::default() };
        io::read_pick(&path, &dialect, io::Layout::Auto, false, &pick).map(|whole| whole.array.data)
    };
    assert_eq!(read(Some("none")).unwrap(), [5.0, 6.0]);
    assert!(read(None).unwrap_err().to_string().contains("it has a header but no rows"));
}

#[test]
fn every_command_reads_every_dialect_to_the_same_bits() {
    let folder = folder();
    let at = folder.path();
    conditional(at);
    let (points, given): (Vec<_>, Vec<_>) = (rows(20), rows(20).iter().map(|row| [row[1], 0.0]).collect());
    for (k, (_, flags, write)) in every_dialect().into_iter().enumerate().filter(|(k, _)| [0, 2, 6, 8, 9].contains(k)) {
        written(at, "x.csv", &write(&points));
        written(at, "c.csv", &write(&given));
        for (words, output) in [
            ("density m.safetensors x.csv -o o.npy", "o.npy"),
            ("invert x.csv --model m.safetensors -o o.npy", "o.npy"),
            ("sample m.safetensors --latent x.csv -o o.npy", "o.npy"),
            ("sample c.safetensors --condition c0.csv -o o.npy", "o.npy"),
            ("density c.safetensors x.csv --condition c0.csv -o o.npy", "o.npy"),
            ("trajectory m.safetensors x.csv -o o.svg", "o.svg"),
        ] {
            // One column of the conditions.
            if words.contains("c0.csv") {
                let whole = text(&given, ";", if flags.contains("--decimal") { "," } else { "." });
                let first = |line: &str| line.split(';').next().unwrap_or_default().to_owned() + "\n";
                written(at, "c0.csv", &whole.lines().map(first).collect::<String>());
            }
            let out = cnf(at, &format!("{words} {flags}"));
            assert!(out.status.success(), "{words} {flags}: {}", String::from_utf8_lossy(&out.stderr));
            let kept = format!("kept-{}", words.replace([' ', '/'], "_"));
            match k {
                0 => std::fs::rename(at.join(output), at.join(kept)).map(drop).unwrap(),
                _ => assert!(bytes(at, output) == bytes(at, &kept), "{words} {flags}"),
            }
        }
        let (data, check) =
            (json(at, &format!("data x.csv {flags}")), cnf(at, &format!("check m.safetensors x.csv -n 50 {flags}")));
        assert_eq!((data["rows"].as_u64(), &data["columns"][1]["name"]), (Some(20), &"b".into()), "{flags}: {data}");
        assert!(!String::from_utf8_lossy(&check.stderr).contains("cannot read"), "{flags}");
    }
}

#[test]
fn a_run_keeps_the_dialect_of_its_table_and_goes_on_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = rows(80);
    written(at, "plain.csv", &text(&rows, ",", "."));
    let holed = text(&rows, ";", ",") + "7,5;void\n";
    written(at, "other.csv", &format!("% made by hand\n{holed}"));
    let net = "train --hidden 4 --batch 16 --steps 6 --checkpoint-every 2 --base normal --split 0.8,0.1";
    let flags = "--sep ; --decimal , --na void --comment %";
    json(at, &format!("{net} --data plain.csv --out plain"));
    json(at, &format!("{net} --data other.csv {flags} --out other"));
    let weights = |run: &str| cnflow::model::Model::load(&at.join(run).join("model.safetensors")).unwrap().theta;
    assert_eq!(weights("plain"), weights("other"));
    let config = std::fs::read_to_string(at.join("other/config.toml")).unwrap();
    let job = Job::from_toml(&config).unwrap();
    assert_eq!(job.data.dialect().sep, Separator::Char(';'));
    assert_eq!(
        (job.data.decimal, &job.data.na[..], job.data.comment.as_deref()),
        (Decimal::Comma, &["void".to_owned()][..], Some("%"))
    );
    // What is not set is not written: an old program reads the job.
    let plain = std::fs::read_to_string(at.join("plain/config.toml")).unwrap();
    assert!(["sep", "decimal", "na", "comment"].iter().all(|key| !plain.contains(&format!("\n{key} = "))), "{plain}");
    json(at, "train --config other/config.toml --out again");
    assert_eq!(weights("again"), weights("other"));
    // The rows that were held out are found again.
    for run in ["plain", "other"] {
        let out = cnf(at, &format!("check {run} -n 60"));
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!err.contains("cannot be used") && !err.contains("cannot read"), "{err}");
    }
    let facts = json(at, &format!("compare --data other.csv {flags} --models gaussian --steps 2 --out both"));
    assert_eq!(facts["n"].as_u64().map(|n| n > 0), Some(true), "{facts}");
}
