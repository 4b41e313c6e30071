//! Laws over the dialects of text tables: a file is read alike by whoever reads it, and an error names the line that an
//! editor shows.
#![cfg(feature = "cli")]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use cnflow::io::{self, Array, Dialect, Dtype, Header, Reader, csv};
use cnflow::rows::{SplitRule, Table, TableOptions};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::common::command::{cnf, conditional, folder, json};

/// The rows of a table of `cols` columns of numbers with fractions, by this delimiter.
fn reals(rows: usize, cols: usize, delimiter: &str) -> String {
    let number = |i: usize, j: usize| format!("{:.3}", ((i * 37 + j * 11) % 101) as f64 / 7.0 - 6.0 + 0.0004);
    let row = |i: usize| (0..cols).map(|j| number(i, j)).collect::<Vec<_>>().join(delimiter) + "\n";
    (0..rows).map(row).collect()
}

/// As [`reals`], but whole numbers from 0 to 99.
fn wholes(rows: usize, cols: usize) -> String {
    let row = |i: usize| {
        (0..cols).map(|j| ((i * 37 + j * j * 11 + 5) % 100).to_string()).collect::<Vec<_>>().join(",") + "\n"
    };
    (0..rows).map(row).collect()
}

/// Each row of a text behind its number.
fn indexed(first: usize, rows: &str) -> String {
    rows.lines().enumerate().map(|(i, row)| format!("{},{row}\n", first + i)).collect()
}

/// What a text holds: its names, its rows, and whether there is a note.
type Held = (Option<Vec<String>>, usize, bool);

/// What one file holds, which every way of reading has to agree on.
fn held(path: &Path, header: Header) -> cnflow::Result<Held> {
    let dialect = &Dialect::headed(header);
    let whole = io::read_as(path, dialect)?;
    let names = whole.array.columns.clone();
    let found = (names, whole.array.rows, !whole.notes.is_empty());
    for most in [1, 7, 1000] {
        let mut reader = Reader::open_as(path, dialect)?;
        assert_eq!(reader.columns(), whole.array.columns.as_deref());
        assert_eq!((reader.cols(), reader.notes()), (whole.array.cols, &whole.notes[..]));
        let mut data = Vec::new();
        while let Some(block) = reader.next_block(most)? {
            data.extend(block.data);
        }
        assert_eq!(data, whole.array.data, "{} in blocks of {most}", path.display());
    }
    let options = TableOptions {
        dialect: dialect.clone(),
        split: SplitRule::Fractions { train: 1.0, valid: 0.0 },
        ..Default::default()
    };
    let table = Table::read(path, &options, 0)?;
    assert_eq!((table.columns, table.x, table.notes), (whole.array.columns, whole.array.data.into(), whole.notes));
    Ok(found)
}

fn written(at: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = at.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn names(names: &str) -> Option<Vec<String>> {
    (!names.is_empty()).then(|| names.split('|').map(str::to_owned).collect())
}

#[test]
fn the_first_line_is_names_or_a_row_by_one_rule() {
    let folder = tempfile::tempdir().unwrap();
    let two = reals(200, 2, ",");
    let three = reals(200, 3, ",");
    let with = |header: &str, rows: &str| format!("{header}\n{rows}");
    // A text; the names of its columns, or none; its rows; whether a note is due.
    let cases: Vec<(String, &str, usize, bool)> = vec![
        // Words.
        (with("a,b", &two), "a|b", 200, false),
        (with("\"a\",\"b\"", &two), "a|b", 200, false),
        (with("a,NA", &two), "a|NA", 200, false),
        (with("a,b", &reals(1, 2, ",")), "a|b", 1, false),
        // pandas' names that are numbers.
        (with("0,1", &two), "0|1", 200, true),
        (with("0,1", &reals(1, 2, ",")), "0|1", 1, true),
        (with("0,1,2", &three), "0|1|2", 200, true),
        (with("0", &reals(200, 1, ",")), "0", 200, true),
        (with("0,1", &wholes(200, 2)), "", 201, true),
        (with("0,1,2,3", &wholes(200, 4)), "0|1|2|3", 200, true),
        // One column of classes beside one of reals.
        (with("0,1", &reals(200, 1, ",").replace('\n', ",1\n")), "0|1", 200, true),
        // Years.
        (with("2019,2020", &two), "2019|2020", 200, true),
        (with("2019,2020", &wholes(200, 2)), "2019|2020", 200, true),
        (with("2020,2019,2018", &three), "2020|2019|2018", 200, true),
        (with("1990,2000,2010", &three), "1990|2000|2010", 200, true),
        ("2001,2003\n1999,2004\n1987,2010\n".into(), "", 3, false),
        (with("2020", &reals(200, 1, ",")), "2020", 200, true),
        // Other numbers at equal distances.
        (with("10,20,30", &three), "10|20|30", 200, true),
        (with("1,2", &two), "1|2", 200, true),
        // Rows that only look like names.
        (with("1,2", "3,4\n5,6\n"), "", 3, false),
        (with("0,1", "0.5,1\n1,2\n"), "", 3, true),
        (with("1,2", "1.5,2.5\n"), "", 2, false),
        (with("0,0", &two), "", 201, false),
        (with("5,3", &two), "", 201, false),
        (with("0.0,1.0", &two), "", 201, false),
        // k and f(k): the first column goes on from the first line.
        (with("0,1", &indexed(1, &reals(200, 1, ","))), "", 201, true),
        (
            with("0,1", &reals(20, 1, ",").lines().zip(1..).map(|(f, k)| format!("{k}0,{f}\n")).collect::<String>()),
            "",
            21,
            true,
        ),
        (with("1990,2000", &indexed(1991, &reals(20, 1, ","))), "", 21, true),
        (with("0,1", &indexed(0, &reals(200, 1, ","))), "0|1", 200, true),
        (with("0", "0.1\n0.2\n0.3\n0.4\n0.5\n0.6\n0.7\n0.8\n0.9\n0.95\n0.99\n"), "", 12, false),
        (two.clone(), "", 200, false),
        (wholes(200, 3), "", 200, false),
        ("0,1\n".into(), "", 1, false),
        ("0,1,2,3\n1,2,3,4\n2,3,4,5\n".into(), "", 3, true),
        // Words beside numbers.
        (with("x,2019", &two), "x|2019", 200, true),
        (with("x,0,1", &three), "x|0|1", 200, true),
        (with("x,7", &two), "x|7", 200, true),
        // Numbers in quotes above numbers without.
        (with("\"7\",\"3\"", &wholes(20, 2)), "7|3", 20, true),
        // Row labels: pandas' index, shuffled, of words; two of R's.
        (with(",a,b", &indexed(0, &two)), "a|b", 200, true),
        (with(",a,b", &indexed(1, &two)), "a|b", 200, true),
        (with(",a,b", "17,0.5,1\n3,0.25,2\n99,0.75,3\n"), "a|b", 3, true),
        (with(",a,b", "u,0.5,1\nv,0.25,2\n"), "a|b", 2, true),
        (with(",0,1", &indexed(0, &two)), "0|1", 200, true),
        (with("Unnamed: 0,a,b", &indexed(0, &two)), "a|b", 200, true),
        (with("\"\",\"a\",\"b\"", "\"1\",0.5,1\n\"2\",0.25,2\n"), "a|b", 2, true),
        (with("\"a\" \"b\"", "\"1\" 0.5 1\n\"2\" 0.25 2\n"), "a|b", 2, true),
        (with("a;b", "u;0.5;1\nv;0.25;2\n"), "a|b", 2, true),
        // A column without a name that holds no labels.
        (with(",a", "1,0.5\n1,0.25\n0,0.75\n"), "|a", 3, true),
        // A delimiter at the end of the lines.
        (with("a,b,", "1,2,\n3,4,\n"), "a|b", 2, false),
        (with("a,b", "1,2,\n3,4,\n"), "a|b", 2, false),
        (with("a,b,", "1,2\n3,4\n"), "a|b", 2, false),
        ("1.5,2,\n3,4,\n".into(), "", 2, false),
    ];
    for (k, (text, columns, rows, noted)) in cases.iter().enumerate() {
        let start: String = text.chars().take(40).collect();
        let path = written(folder.path(), &format!("{k}.csv"), text);
        let found = held(&path, Header::Auto).unwrap_or_else(|e| panic!("{start:?}: {e}"));
        assert_eq!(found, (names(columns), *rows, *noted), "{start:?}");
        // Line ends, a mark of the encoding, comments and blank lines change nothing.
        let blank = format!("\u{feff}# by hand\n\n{}", text.replacen('\n', "\n  # more\n \n", 1));
        for other in [text.replace('\n', "\r\n"), text.replace('\n', "\r"), blank, text.trim_end().to_owned()] {
            let path = written(folder.path(), "other.csv", &other);
            assert_eq!(held(&path, Header::Auto).unwrap(), found, "{start:?} as {:?}", &other[..20.min(start.len())]);
        }
        // What is said goes before what is found.
        let lines = text.lines().count();
        let first = written(folder.path(), "first.csv", text);
        if let Ok((found, rows, _)) = held(&first, Header::First) {
            assert!(found.is_some() && rows == lines - 1, "{start:?}");
        } else {
            assert_eq!(lines, 1, "{start:?}");
        }
        if let Ok((found, rows, _)) = held(&first, Header::None) {
            assert!(found.is_none() && rows == lines, "{start:?}");
        }
    }
}

#[test]
fn notes_say_what_was_decided_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let note = |text: String| {
        let path = written(folder.path(), "x.csv", text);
        io::read_as(&path, &Dialect::default()).unwrap().notes.join("\n")
    };
    let two = reals(50, 2, ",");
    for (text, parts) in [
        (format!("0,1\n{two}"), ["line 1 (`0`, `1`) holds the names", "header none reads it as a row"]),
        (format!("\n0,1\n{}", wholes(50, 2)), ["line 2 (`0`, `1`) is read as a row", "header first reads it as names"]),
        (format!(",a,b\n{}", indexed(0, &two)), ["the first column has no name", "it is left out"]),
        ("\n,a\n1,2\n1,3\n".into(), ["the first column has no name", "it is read as data"]),
    ] {
        let found = note(text);
        assert!(parts.iter().all(|part| found.contains(part)) && found.contains("x.csv"), "{found}");
    }
}

/// What is wrong, and what the message has to say beside the line.
const WRONG_ROWS: [(&str, &str); 12] = [
    ("5,x", "`x` in line LINE, column `b`, is not a number"),
    ("5,NA", "a value is missing (`NA`) in line LINE, column `b`"),
    ("5,nan", "a value is missing (`nan`) in line LINE, column `b`"),
    ("5,null", "a value is missing (`null`) in line LINE, column `b`"),
    ("5,None", "a value is missing (`None`) in line LINE, column `b`"),
    ("5,-", "a value is missing (`-`) in line LINE, column `b`"),
    ("?,5", "a value is missing (`?`) in line LINE, column `a`"),
    (",5", "a value is missing in line LINE, column `a`"),
    (",", "line LINE has no values"),
    ("-inf,5", "`-inf` in line LINE, column `a`, is not finite"),
    ("5", "line LINE has 1 cell, expected 2 as in line FIRST"),
    ("\"1,5\",2", "`1,5` in line LINE, column `a`, has a decimal comma"),
];

#[test]
fn an_error_names_the_line_that_an_editor_shows() {
    let folder = tempfile::tempdir().unwrap();
    for (row, message) in WRONG_ROWS {
        // Blank and comment lines at any place, and a quoted cell that goes over two lines.
        let lines = ["", "# first", "a,b", "1,2", "", "# hi", "  ", "\"3", "\",4", row, "7,8", ""];
        let line = 1 + lines.iter().position(|line| *line == row).unwrap();
        let message = message.replace("LINE", &line.to_string()).replace("FIRST", "3");
        for end in ["\n", "\r\n", "\r"] {
            let path = written(folder.path(), "x.csv", lines.join(end));
            let split = written(folder.path(), "x.csv.gz", packed(lines.join(end).as_bytes()));
            let mut reader = Reader::open(&path).unwrap();
            let block = std::iter::from_fn(|| reader.next_block(1).transpose()).find_map(Result::err);
            for error in [Some(io::read(&path).unwrap_err()), Some(io::read(&split).unwrap_err()), block] {
                let error = error.unwrap_or_else(|| panic!("{row:?} is read"));
                assert!(error.to_string().contains(&message), "{row:?} with {end:?}: `{error}` lacks `{message}`");
                assert!(error.hint().is_some());
            }
        }
    }
    // Far behind what is looked at ahead, and among more rows than a buffer holds.
    let rows = 20_000;
    let text = "a,b\r\n".to_owned() + &"0.123,4.567\r\n".repeat(rows) + "1,x\r\n";
    let error = io::read(&written(folder.path(), "x.csv", text)).unwrap_err().to_string();
    assert!(error.contains(&format!("line {},", rows + 2)), "{error}");
}

#[test]
fn a_first_row_of_missing_values_is_a_row() {
    let folder = tempfile::tempdir().unwrap();
    for (first, message) in [
        ("NA,NA", "a value is missing (`NA`) in line 1, column 0"),
        ("nan,1.5", "a value is missing (`nan`) in line 1, column 0"),
        ("-,?", "a value is missing (`-`) in line 1, column 0"),
        ("1.5,", "a value is missing in line 1, column 1"),
        (",", "line 1 has no values"),
    ] {
        let path = written(folder.path(), "x.csv", format!("{first}\n{}", reals(50, 2, ",")));
        let error = io::read(&path).unwrap_err().to_string();
        assert!(error.contains(message), "{first}: {error}");
    }
    // A word and a number may be names or a slip.
    let path = written(folder.path(), "x.csv", "1,b\n3,4\n");
    let error = io::read(&path).unwrap_err();
    assert!(error.to_string().contains("`b` in line 1, column 1") && error.hint().unwrap().contains("header first"));
    assert_eq!(io::read_as(&path, &Dialect::headed(Header::First)).unwrap().array.data, [3.0, 4.0]);
    // Rows of empty cells at the end are a spreadsheet's.
    assert_eq!(io::read(&written(folder.path(), "x.csv", "a,b\n1,2\n,\n,\n")).unwrap().data, [1.0, 2.0]);
}

#[test]
fn a_word_in_a_column_that_is_left_out_is_not_a_slip() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str, drop: &str| {
        let split = SplitRule::Fractions { train: 1.0, valid: 0.0 };
        let options = TableOptions { split, drop: vec![drop.into()], ..TableOptions::default() };
        Table::read(&written(folder.path(), "x.csv", text), &options, 0)
    };
    let flowers = reals(50, 2, ",").replace('\n', ",setosa\n");
    let table = read(&flowers, "2").unwrap();
    assert_eq!((table.n, table.d, &table.numbers[..], table.notes.len()), (50, 2, &[0, 1][..], 0));
    let error = read(&flowers, "0").unwrap_err();
    assert!(error.to_string().contains("`setosa` in line 1, column 2"), "{error}");
    assert!(error.hint().unwrap().contains("header first if line 1 holds names, header none if it is a row"));
    // A word above numbers may be a name: that is noted.
    let table = read(&format!("0.5,0.7,kind\n{}", reals(20, 2, ",").replace('\n', ",1\n")), "2").unwrap();
    assert!(table.n == 21 && table.notes[0].contains("header first reads it as names"), "{:?}", table.notes);
}

#[test]
fn the_delimiter_is_not_guessed_from_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = io::read(&written(folder.path(), "n.csv", reals(200, 2, ","))).unwrap().data;
    for (name, header, delimiter, [one, two]) in [
        ("x.csv", "\"x, m\";\"y, m\"", ";", ["x, m", "y, m"]),
        ("x.csv", "x, m;y, m", ";", ["x, m", "y, m"]),
        ("x.csv", "x;m,y;m", ",", ["x;m", "y;m"]),
        ("x.csv", "\"x,m\",\"y;m\"", ",", ["x,m", "y;m"]),
        ("x.tsv", "x (m, s)\ty (m, s)", "\t", ["x (m, s)", "y (m, s)"]),
        ("x.tsv", "x; m\ty, m", "\t", ["x; m", "y, m"]),
        ("x.txt", "x,m y,m", "  ", ["x,m", "y,m"]),
        ("x.txt", "\"x m\" \"y m\"", " ", ["x m", "y m"]),
        ("x.csv", "x, m|y, m", "|", ["x, m", "y, m"]),
        ("x.csv", "x y,z w", ",", ["x y", "z w"]),
    ] {
        let path = written(folder.path(), name, format!("{header}\n{}", reals(200, 2, delimiter)));
        let (found, rows, _) = held(&path, Header::Auto).unwrap();
        assert_eq!((found.unwrap(), rows), (vec![one.to_owned(), two.to_owned()], 200), "{header}");
        assert_eq!(io::read(&path).unwrap().data, numbers, "{header}");
    }
    for (text, line) in
        [("a;b\n1.5;2\n1,5;2\n", 3), ("a;b\n1,5;2,5\n", 2), ("1,5;2,5\n3,5;4,5\n", 1), ("1,5\t2,5\n", 1)]
    {
        let error = io::read(&written(folder.path(), "x.csv", text)).unwrap_err();
        assert!(error.to_string().contains(&format!("`1,5` in line {line}, column")), "{text:?}: {error}");
        assert!(error.to_string().contains("has a decimal comma"), "{text:?}: {error}");
    }
    // One column with a decimal comma looks like two.
    let error = io::read(&written(folder.path(), "x.csv", "a\n1,5\n2,5\n")).unwrap_err();
    assert!(error.to_string().contains("line 2 has 2 cells, expected 1 as in line 1"), "{error}");
    assert!(error.hint().unwrap().contains("decimal comma"));
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// The same table in C and in Fortran order.
fn arrays(at: &Path) -> [Vec<u8>; 2] {
    let table = Array::table((0..60).map(|i| f64::from(i) / 7.0).collect(), 3, Dtype::F64).unwrap();
    io::write(&at.join("c.npy"), &table).unwrap();
    let c = std::fs::read(at.join("c.npy")).unwrap();
    let (header, body) = c.split_at(128);
    let fortran = String::from_utf8_lossy(header).replace("'fortran_order': False, ", "'fortran_order': True,  ");
    let header: Vec<u8> = header.iter().take(10).copied().chain(fortran.bytes().skip(fortran.len() - 118)).collect();
    let columns = (0..3).flat_map(|j| (0..20).flat_map(move |i| body[(3 * i + j) * 8..][..8].to_vec()));
    let fortran = header.into_iter().chain(columns).collect();
    [c, fortran]
}

#[test]
fn gzip_is_read_by_its_first_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let text = format!("a,b\n{}", reals(3000, 2, ","));
    let plain = io::read(&written(at, "x.csv", &text)).unwrap();
    let (front, rest) = text.as_bytes().split_at(1000);
    // Two packed parts, one after the other, are one text.
    let parts = [packed(front), packed(rest)].concat();
    for (name, bytes) in
        [("p.csv.gz", packed(text.as_bytes())), ("p.csv", packed(text.as_bytes())), ("q.txt.GZ", parts)]
    {
        let path = written(at, name, bytes);
        assert_eq!(io::read(&path).unwrap(), plain, "{name}");
        assert_eq!(held(&path, Header::Auto).unwrap(), (names("a|b"), 3000, false));
    }
    // A text that is not packed, whatever its name says.
    assert_eq!(io::read(&written(at, "r.csv.gz", &text)).unwrap(), plain);
    for (k, bytes) in arrays(at).into_iter().enumerate() {
        let plain = io::read(&written(at, "x.npy", &bytes)).unwrap();
        assert_eq!(plain.row(1), [3.0 / 7.0, 4.0 / 7.0, 5.0 / 7.0], "order {k}");
        for name in ["p.npy.gz", "p.npy"] {
            let path = written(at, name, packed(&bytes));
            assert_eq!(io::read(&path).unwrap(), plain, "{name} in order {k}");
            let mut reader = Reader::open(&path).unwrap();
            assert_eq!((reader.rows(), reader.cols()), (Some(20), 3));
            let mut data = Vec::new();
            while let Some(block) = reader.next_block(7).unwrap() {
                data.extend(block.data);
            }
            assert_eq!(data, plain.data, "{name} in order {k}");
        }
        // Cut off and continued, inside and outside of the packed bytes.
        let whole = packed(&bytes);
        for (wrong, message) in [
            (packed(&bytes[..bytes.len() - 8]), "its header declares"),
            (packed(&[&bytes[..], b"more"].concat()), "its header declares"),
            (packed(&bytes[..20]), "its header is cut short"),
            (whole[..whole.len() - 30].to_vec(), "its gzip data are cut short"),
            (packed(b"no array"), "it is not a .npy file"),
        ] {
            let error = io::read(&written(at, "w.npy.gz", wrong)).unwrap_err();
            assert!(
                error.to_string().contains(message) && error.hint().is_some(),
                "order {k}: `{error}` lacks `{message}`"
            );
        }
    }
    let cut = packed(text.as_bytes());
    let error = io::read(&written(at, "cut.csv.gz", &cut[..cut.len() / 2])).unwrap_err();
    assert!(error.to_string().contains("its gzip data are cut short") && error.hint().is_some(), "{error}");
    let mut bent = cut.clone();
    let end = bent.len() - 6;
    bent[end] ^= 1;
    assert!(io::read(&written(at, "bent.csv.gz", bent)).unwrap_err().to_string().contains("its gzip data are damaged"));
    // A split and the files beside a packed table.
    io::write(&at.join("t_split.npy"), &Array::vector([&[0.0; 8][..], &[1.0, 2.0]].concat(), Dtype::F64)).unwrap();
    let table =
        Table::read(&written(at, "t.csv.gz", packed(reals(10, 2, ",").as_bytes())), &TableOptions::default(), 0);
    assert_eq!(table.unwrap().split.test, [9]);
    assert!(matches!(io::write(&at.join("o.csv.gz"), &plain), Err(cnflow::Error::Unknown { .. })));
}

#[test]
fn a_file_of_another_kind_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, message) in [
        (&b"PK\x03\x04rest"[..], "it is a zip archive"),
        (b"PAR1\x15\x04", "it is a Parquet file"),
        (b"\x93NUMPY\x01\x00", "it is a NumPy array"),
        (b"\x28\xb5\x2f\xfd\x00", "compressed by zstd"),
        (b"\xfd7zXZ\x00", "compressed by xz"),
        (b"BZh91AY", "compressed by bzip2"),
        (b"\xff\xfea\x00,\x00b\x00\n\x00", "it is UTF-16 text"),
        (b"a,b\n1,\xe9\n", "line 2 is not UTF-8"),
    ] {
        let error = io::read(&written(folder.path(), "x.csv", bytes)).unwrap_err();
        assert!(error.to_string().contains(message) && error.hint().is_some(), "{error}");
    }
}

#[test]
fn names_that_begin_like_files_of_another_kind_are_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["PAR1", "ARROW1", "ARROW10", "BZh", "BZh9", "SIMPLE", "PK"] {
        let array = io::read(&written(folder.path(), "x.csv", format!("{name},b\n{}", reals(5, 2, ",")))).unwrap();
        assert_eq!((array.rows, array.columns), (5, names(&format!("{name}|b"))));
    }
    let error = io::read(&written(folder.path(), "x.csv", b"ARROW1\0\0\xff\xff")).unwrap_err();
    assert!(error.to_string().contains("it is an Arrow file"), "{error}");
}

#[test]
fn codes_of_a_split_are_named_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = "a,set\r\n\r\n1,train\r\n2,test\r\n3,other\r\n";
    let path = written(folder.path(), "x.csv", text);
    let options = TableOptions { split: SplitRule::Column("set".into()), ..TableOptions::default() };
    assert!(Table::read(&path, &options, 0).unwrap_err().to_string().contains("the unknown code `other` in line 5"));
    let codes = written(folder.path(), "codes.csv", "code\n# three\n0\n1\n7\n");
    let options = TableOptions { split: SplitRule::File(codes), drop: Vec::new(), ..TableOptions::default() };
    let path = written(folder.path(), "y.csv", "1.5\n2\n3\n");
    assert!(Table::read(&path, &options, 0).unwrap_err().to_string().contains("the unknown code `7` in line 5"));
    let parsed = csv::parse(
        Path::new("x.csv"),
        text.as_bytes(),
        &csv::Columns { split: Some("set".into()), ..Default::default() },
    );
    assert_eq!(parsed.unwrap().lines, [3, 4, 5]);
}

/// The note of the header, where stderr has it.
fn noted(err: &[u8]) -> bool {
    String::from_utf8_lossy(err).contains("holds the names of the columns")
}

#[test]
fn every_command_reads_the_header_alike_and_has_the_option() {
    let folder = folder();
    let at = folder.path();
    conditional(at);
    written(at, "x.csv", format!("0,1\n{}", reals(20, 2, ",")));
    written(at, "c.csv", format!("0\n{}", reals(20, 1, ",")));
    for (words, count) in [
        ("density m.safetensors x.csv -o o.csv", "n"),
        ("invert x.csv --model m.safetensors -o o.csv", "n"),
        ("sample m.safetensors --latent x.csv -o o.csv", "n"),
        ("density c.safetensors x.csv --condition c.csv -o o.csv", "n"),
        ("trajectory m.safetensors x.csv -o o.svg", "n"),
        ("data x.csv", "rows"),
    ] {
        for (header, rows) in [("", 20), (" --header auto", 20), (" --header first", 20), (" --header none", 21)] {
            let words = format!("{words}{header}");
            let out = cnf(at, &format!("{words} --json"));
            assert!(out.status.success(), "{words}: {}", String::from_utf8_lossy(&out.stderr));
            let facts: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            assert_eq!(facts[count], rows, "{words}: {facts}");
            let notes = rows == 20 && header != " --header first";
            assert_eq!(noted(&out.stderr), notes, "{words}");
            assert!(!(notes && noted(&cnf(at, &format!("{words} --quiet")).stderr)), "{words}");
        }
    }
    let out = cnf(at, "check m.safetensors x.csv -n 50 --header none");
    assert!(!noted(&out.stderr) && noted(&cnf(at, "check m.safetensors x.csv -n 50").stderr));
    for command in ["train", "density m.safetensors", "compare", "data x.csv"] {
        let out = cnf(at, &format!("{command} --header maybe"));
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(2) && err.contains("maybe"), "{command}: {err}");
    }
}

#[test]
fn a_run_keeps_how_its_table_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    written(at, "x.csv", format!("0,1\n{}", reals(60, 2, ",")));
    let net = "train --data x.csv --hidden 4 --batch 16 --steps 4 --checkpoint-every 1 --base normal";
    for (header, rows) in [("", 60), (" --header none", 61), (" --header first", 60)] {
        let run = format!("run{rows}{}", header.len());
        let out = cnf(at, &format!("{net}{header} --out {run}"));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(noted(&out.stderr), header.is_empty());
        let config = std::fs::read_to_string(at.join(&run).join("config.toml")).unwrap();
        assert_eq!(config.contains("header"), !header.is_empty(), "an old program reads what it can");
        let job = cnflow::train::Job::from_toml(&config).unwrap();
        let data = cnflow::rows::resolve(
            at.join("x.csv").to_str().unwrap(),
            &cnflow::rows::DataOptions {
                table: TableOptions { dialect: job.data.dialect(), ..TableOptions::default() },
                ..Default::default()
            },
            0,
        );
        let data = data.unwrap();
        assert_eq!(data.n_train().unwrap() + data.valid.count(2) + data.test.count(2), rows);
        json(at, &format!("train --config {run}/config.toml --out again{run}"));
        let again = std::fs::read_to_string(at.join(format!("again{run}/config.toml"))).unwrap();
        assert_eq!(cnflow::train::Job::from_toml(&again).unwrap().data.header, job.data.header);
    }
    let out = cnf(at, "train --resume run60 --header none");
    assert_eq!(out.status.code(), Some(2), "what a run has decided is not decided again");
}

/// A zip archive of files that are not packed.
fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, body) in members {
        let mut crc = flate2::Crc::new();
        crc.update(body);
        let (size, place) = ((body.len() as u32).to_le_bytes(), (bytes.len() as u32).to_le_bytes());
        // Version, flags, method, time and date, sum, both sizes, length of the name, no more.
        let about = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..],
            &crc.sum().to_le_bytes(),
            &size,
            &size,
            &(name.len() as u16).to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        bytes.extend([b"PK\x03\x04", &about[..], name.as_bytes(), &body[..]].concat());
        directory.extend([b"PK\x01\x02\x14\x00", &about[..], &[0; 10], &place, name.as_bytes()].concat());
    }
    let (count, size) = ((members.len() as u16).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    let place = (bytes.len() as u32).to_le_bytes();
    [&bytes[..], &directory, b"PK\x05\x06\0\0\0\0", &count, &count, &size, &place, &[0, 0]].concat()
}

/// A member of zeros.
fn member(descr: &str, shape: &str, bytes: usize) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &vec![0; bytes][..]].concat()
}

#[test]
fn a_member_that_is_no_table_does_not_spoil_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let others = [
        ("records", member("[('a', '<f4'), ('b', '<i8')]", "(5,)", 60)),
        ("objects", member("'|O'", "(2, 2)", 9)),
        ("words", member("'<U3'", "(4, 2)", 96)),
        ("truths", member("'|b1'", "(4, 2)", 8)),
        ("complex", member("'<c16'", "(4, 2)", 128)),
        ("number", member("'<f8'", "()", 8)),
        ("cube", member("'<f8'", "(2, 2, 2)", 64)),
        ("junk", b"no array at all".to_vec()),
    ];
    let table = member("'<f8'", "(4, 3)", 96);
    let vector = member("'<i4'", "(6,)", 24);
    let save = |members: &[(&str, Vec<u8>)]| {
        let members: Vec<_> = members.iter().map(|(name, body)| (format!("{name}.npy"), body.clone())).collect();
        let members: Vec<_> = members.iter().map(|(name, body)| (name.as_str(), body.clone())).collect();
        written(folder.path(), "x.npz", archive(&members))
    };
    for other in &others {
        for order in [[0, 1], [1, 0]] {
            let pair = [("x", table.clone()), other.clone()];
            let array = io::read(&save(&order.map(|k| pair[k].clone()))).unwrap_or_else(|e| panic!("{}: {e}", other.0));
            assert_eq!((array.rows, array.cols), (4, 3), "{}", other.0);
            let pair = [("x", vector.clone()), other.clone()];
            let array = io::read(&save(&order.map(|k| pair[k].clone()))).unwrap_or_else(|e| panic!("{}: {e}", other.0));
            assert_eq!((array.rows, array.cols, array.vector), (6, 1, true), "{}", other.0);
        }
        // The member that was named is read, or refused with its own reason.
        let named = |path: &Path, member: &str| PathBuf::from(format!("{}:{member}", path.display()));
        let path = save(&[("x", table.clone()), other.clone()]);
        assert_eq!(io::read(&named(&path, "x")).unwrap().cols, 3);
        if ["records", "truths"].contains(&other.0) {
            assert_eq!(io::read(&named(&path, other.0)).unwrap().cols, 2);
            continue;
        }
        let error = io::read(&named(&path, other.0)).unwrap_err();
        assert!(error.to_string().contains(&format!("x.npz:{}", other.0)) && error.hint().is_some(), "{error}");
    }
    let all: Vec<_> = [("a:x", table.clone()), ("v", vector)].into_iter().chain(others.clone()).collect();
    let path = save(&all);
    assert_eq!(io::read(&path).unwrap().cols, 3);
    assert_eq!(io::read(&PathBuf::from(format!("{}:a:x", path.display()))).unwrap().cols, 3);
    let two = save(&[("x", table.clone()), others[0].clone(), ("y", table)]);
    let error = io::read(&two).unwrap_err();
    assert!(
        error.to_string().contains("2 of its members are tables (`x`, `y`)")
            && error.hint().unwrap().contains("x.npz:"),
        "{error}"
    );
    assert!(io::read(&save(&others[..2])).unwrap_err().to_string().contains("none of its members is a table"));
}

#[test]
fn names_of_columns_may_have_colons() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let row = |i: usize| {
        let x = |k: usize| ((i * k) % 61) as f64 / 10.0 + 0.55;
        format!("{:.2},{:.2},{:.2},{:.2},{}\n", x(7), x(11), x(13), x(17), i % 3)
    };
    let rows: String = (0..90).map(row).collect();
    written(at, "x.csv", format!("flux:g,a:unit,b:class,c,set:one\n{rows}"));
    let net = "train --data x.csv --hidden 4 --batch 16 --steps 2 --base normal --force --out run";
    let spec = |words: &str| {
        json(at, &format!("{net} {words}"));
        json(at, "info run")["columns"].clone()
    };
    let kinds = |columns: serde_json::Value| -> Vec<String> {
        columns.as_array().unwrap().iter().map(|column| column["kind"].as_str().unwrap().to_owned()).collect()
    };
    let split = "--split column:set:one";
    assert_eq!(kinds(spec(&format!("{split} --column flux:g:positive"))), ["positive", "plain", "plain", "plain"]);
    assert_eq!(kinds(spec(&format!("{split} --column a:unit:unit:0,9"))), ["plain", "unit", "plain", "plain"]);
    assert_eq!(
        kinds(spec(&format!("{split} --column b:class:angle:7 --column 0:positive"))),
        ["positive", "plain", "angle", "plain"]
    );
    assert_eq!(
        kinds(spec("--condition flux:g,set:one:class --column a:unit:positive")),
        ["positive", "plain", "plain"]
    );
    // A name that ends like a kind is a name first.
    assert_eq!(
        kinds(spec(&format!("{split} --condition b:class,flux:g:number --column c:positive"))),
        ["plain", "positive"]
    );
    for (wrong, message) in [
        ("--column flux:g", "flux:g"),
        ("--column flux:g:round", "flux:g:round"),
        ("--column :positive", ":positive"),
        ("--condition flux:g:kind", "unknown column `flux:g:kind`"),
    ] {
        let out = cnf(at, &format!("{net} {split} {wrong}"));
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && err.contains(message) && err.contains("hint: "), "{wrong}: {err}");
    }
}
