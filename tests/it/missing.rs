//! Missing cells: a table with gaps is the table without the rows that have one, to the bit, and a row with a gap has NaN
//! where others have results.

use std::path::Path;

use cnflow::Model;
use cnflow::io::{self, Array, Dialect, Dtype};
use cnflow::rows::{DataOptions, Dataset, Memory, MissingRows, SplitRule, Table, TableOptions, resolve};
use cnflow::train::Job;
use tempfile::TempDir;

use crate::common::archive;
use crate::common::command::{cnf, folder, json};
use crate::common::pictures::gzip;

const ROWS: usize = 120;
/// Rows with a gap: in the first column, in the second, in the condition, in all of them.
const GAPS: [(usize, usize); 6] = [(3, 0), (17, 1), (18, 0), (18, 1), (55, 2), (119, 1)];

/// Two columns and a condition, row by row, NaN where `gaps` has a cell.
fn numbers(gaps: &[(usize, usize)]) -> Vec<f64> {
    let mut all: Vec<f64> = (0..ROWS)
        .flat_map(|i| {
            let t = i as f64 * 0.7;
            [t.sin() + 0.1 * (3.1 * t).cos(), t.cos() - 0.2 * (5.3 * t).sin(), f64::from(i as u32 % 5)]
        })
        .collect();
    gaps.iter().for_each(|(row, column)| all[3 * row + column] = f64::NAN);
    all
}

fn kept() -> Vec<usize> {
    (0..ROWS).filter(|row| GAPS.iter().all(|(gap, _)| gap != row)).collect()
}

fn of_rows(all: &[f64], width: usize, rows: &[usize]) -> Vec<f64> {
    rows.iter().flat_map(|row| &all[row * width..][..width]).copied().collect()
}

/// A code for each row of a split.
fn code(row: usize) -> usize {
    [0, 0, 1, 0, 2][row % 5]
}

fn text(rows: &[usize], all: &[f64], missing: &str) -> String {
    let cell = |v: &f64| if v.is_nan() { missing.to_owned() } else { v.to_string() };
    let line = |row: &usize| {
        let cells = all[3 * row..3 * row + 3].iter().map(cell).collect::<Vec<_>>().join(",");
        format!("{cells},{},w{row}\n", code(*row))
    };
    "x,y,c,set,note\n".to_owned() + &rows.iter().map(line).collect::<String>()
}

/// The files with gaps and those without their rows, in every format: `gaps.*` and `whole.*`, with codes of their rows.
fn files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (all, every, kept) = (numbers(&GAPS), (0..ROWS).collect::<Vec<_>>(), kept());
    for (name, rows) in [("gaps", &every), ("whole", &kept)] {
        let array = Array::table(of_rows(&all, 3, rows), 3, Dtype::F64).unwrap();
        io::write(&at.join(format!("{name}.npy")), &array).unwrap();
        let npy = std::fs::read(at.join(format!("{name}.npy"))).unwrap();
        std::fs::write(at.join(format!("{name}.npz")), archive::npz(&[("x", npy.clone())], true)).unwrap();
        std::fs::write(at.join(format!("{name}.npy.gz")), gzip(&npy)).unwrap();
        for (ending, missing) in [("csv", ""), ("tsv", "NA")] {
            std::fs::write(at.join(format!("{name}.{ending}")), text(rows, &all, missing)).unwrap();
        }
        let packed = gzip(text(rows, &all, "NaN").as_bytes());
        std::fs::write(at.join(format!("{name}.csv.gz")), packed).unwrap();
        let codes = rows.iter().map(|row| code(*row) as f64).collect();
        io::write(&at.join(format!("{name}_codes.npy")), &Array::vector(codes, Dtype::F64)).unwrap();
        let c = of_rows(&all, 3, rows).chunks_exact(3).map(|row| row[2]).collect();
        io::write(&at.join(format!("{name}_c.npy")), &Array::vector(c, Dtype::F64)).unwrap();
        let x: Vec<f64> = of_rows(&all, 3, rows).chunks_exact(3).flat_map(|row| [row[0], row[1]]).collect();
        io::write(&at.join(format!("{name}_xy.npy")), &Array::table(x, 2, Dtype::F64).unwrap()).unwrap();
    }
    folder
}

const FORMATS: [&str; 6] = ["npy", "npz", "npy.gz", "csv", "tsv", "csv.gz"];

fn bits(numbers: &[f64]) -> Vec<u64> {
    numbers.iter().map(|v| v.to_bits()).collect()
}

/// Whether two data sets have the same rows in each set.
fn same(a: &Dataset, b: &Dataset) -> bool {
    let sets = |data: &Dataset| [data.training_rows().unwrap().clone(), data.valid.clone(), data.test.clone()];
    let pairs = sets(a).into_iter().zip(sets(b));
    (a.dim, &a.columns, &a.context) == (b.dim, &b.columns, &b.context)
        && pairs
            .into_iter()
            .all(|(a, b)| bits(&a.points()) == bits(&b.points()) && bits(&a.context) == bits(&b.context))
}

#[test]
fn a_table_with_gaps_is_the_table_without_their_rows() {
    let folder = files();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for format in FORMATS {
        let text = !format.starts_with("np");
        let splits = |name: &str| {
            let mut splits = vec![
                SplitRule::Auto,
                SplitRule::Fractions { train: 0.6, valid: 0.2 },
                SplitRule::File(path(&format!("{name}_codes.npy")).into()),
            ];
            if text {
                splits.push(SplitRule::Column("set".into()));
            }
            splits
        };
        for (split, of_whole) in splits("gaps").into_iter().zip(splits("whole")) {
            for condition in [vec![], vec![if text { "c" } else { "2" }.to_owned()]] {
                let of = |name: &str, split: SplitRule| {
                    let mut drop: Vec<String> = if text { vec!["note".into()] } else { Vec::new() };
                    if text && !matches!(split, SplitRule::Column(_)) {
                        drop.push("set".into());
                    }
                    let table = TableOptions { split, drop, ..TableOptions::default() };
                    let options = DataOptions { table, condition: condition.clone(), ..DataOptions::default() };
                    resolve(&path(&format!("{name}.{format}")), &options, 7).unwrap()
                };
                let (ours, theirs) = (of("gaps", split.clone()), of("whole", of_whole.clone()));
                assert!(same(&ours, &theirs), "{format} {split:?} {condition:?}");
                // Rows keep their numbers in the file.
                let (ours, theirs, kept) = (ours.places.unwrap(), theirs.places.unwrap(), kept());
                assert_eq!(ours.valid, theirs.valid.iter().map(|row| kept[*row]).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn a_gap_in_a_file_of_conditions_counts_and_one_in_a_column_that_is_dropped_does_not() {
    let folder = files();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let of = |name: &str| {
        let split = SplitRule::File(path(&format!("{name}_codes.npy")).into());
        let table = TableOptions { split, ..TableOptions::default() };
        let options = DataOptions { table, condition: vec![path(&format!("{name}_c.npy"))], ..DataOptions::default() };
        resolve(&path(&format!("{name}_xy.npy")), &options, 7).unwrap()
    };
    let (ours, theirs) = (of("gaps"), of("whole"));
    let (mut a, mut b) = (ours.clone(), theirs);
    (a.context, b.context) = (None, None);
    assert!(same(&a, &b));
    let note = ours.notes.last().unwrap();
    let words = "gaps_xy.npy`: 5 of 120 rows have a missing cell and are left out: 3 in column 1 (counted from 0), 2 in \
                 column 0 (counted from 0), 1 in column 0 (counted from 0) of `";
    assert!(note.contains(words) && note.contains("gaps_c.npy"), "{note}");
    let dropped = |drop: &[&str]| {
        let drop = drop.iter().map(|name| (*name).to_owned()).collect();
        let options = TableOptions { drop, ..TableOptions::default() };
        Table::read(&folder.path().join("gaps.csv"), &options, 0).unwrap()
    };
    assert_eq!((dropped(&["note", "c"]).n, dropped(&["note", "c", "y"]).n), (ROWS - 4, ROWS - 2));
    let left = dropped(&["note", "c", "y"]).left.unwrap();
    assert_eq!((left.of, left.rows.len(), left.rows[3], left.rows[17]), (ROWS, ROWS - 2, 4, 19));
}

#[test]
fn rows_in_memory_are_left_out_as_those_of_a_file() {
    let (all, kept) = (numbers(&GAPS), kept());
    let columns = Some(["x", "y", "c"].map(str::to_owned).to_vec());
    let memory = |x: Vec<f64>| Memory { x: x.into(), dim: 3, columns: columns.clone(), ..memory_of("x") };
    let options = |missing: MissingRows, condition: &[&str]| DataOptions {
        table: TableOptions { missing, ..TableOptions::default() },
        condition: condition.iter().map(|name| (*name).to_owned()).collect(),
        ..DataOptions::default()
    };
    let drop = MissingRows::Drop;
    for condition in [&[][..], &["c"]] {
        let of = |x: Vec<f64>| memory(x).dataset(&options(drop, condition), 5, None).unwrap();
        let (ours, theirs) = (of(all.clone()), of(of_rows(&all, 3, &kept)));
        assert!(same(&ours, &theirs));
        assert!(
            ours.notes[0].starts_with("x: 5 of 120 rows have a missing cell and are left out: 3 in `y`"),
            "{:?}",
            ours.notes
        );
        assert!(ours.places.unwrap().train.iter().all(|row| kept.contains(row)));
    }
    // Conditions of their own, and rows for validation.
    let of = |rows: &[usize]| {
        let picked = of_rows(&all, 3, rows);
        let x: Vec<f64> = picked.chunks_exact(3).flat_map(|row| [row[0], row[1]]).collect();
        let c = picked.chunks_exact(3).map(|row| row[2]).collect();
        let context = Some((cnflow::rows::Context { dim: 1, ..Default::default() }, c));
        Memory { x: x.into(), dim: 2, context, ..memory_of("x") }
    };
    let every: Vec<usize> = (0..ROWS).collect();
    let sets = |rows: &[usize]| of(rows).dataset(&options(drop, &[]), 5, Some(of(rows))).unwrap();
    let (ours, theirs) = (sets(&every), sets(&kept));
    assert!(same(&ours, &theirs) && ours.notes.len() == 2, "{:?}", ours.notes);
    // Refused, they are the errors that they were, and so is what is infinite.
    let error = memory(all.clone()).dataset(&options(MissingRows::Refuse, &[]), 5, None).unwrap_err().to_string();
    assert!(error.contains("row 3 of x has NaN in column `x`"), "{error}");
    let mut infinite = all;
    infinite[40] = f64::INFINITY;
    let error = memory(infinite).dataset(&options(drop, &[]), 5, None).unwrap_err().to_string();
    assert!(error.contains("row 13 of x has inf in column `y`"), "{error}");
    let error = memory(vec![f64::NAN; 30]).dataset(&options(drop, &[]), 5, None).unwrap_err();
    assert!(
        error.to_string().contains("each of its 10 rows has a missing cell: 10 in `x`") && error.hint().is_some(),
        "{error}"
    );
}

fn memory_of(name: &str) -> Memory {
    Memory { name: name.into(), ..Memory::default() }
}

#[test]
fn lines_without_any_value_are_rows_with_gaps_but_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    std::fs::write(&path, "a,b\n,\n1,2\n,\n,\n3,4\n5,NA\n,\n,\n").unwrap();
    let whole = io::read_with(&path, &Dialect::default(), true).unwrap();
    let nan = f64::NAN;
    assert_eq!(bits(&whole.array.data), bits(&[nan, nan, 1.0, 2.0, nan, nan, nan, nan, 3.0, 4.0, 5.0, nan]));
    assert_eq!(whole.lines.unwrap(), [2, 3, 4, 5, 6, 7]);
    let mut reader = io::Reader::open(&path).unwrap();
    reader.allow_missing();
    let mut all = Vec::new();
    while let Some(block) = reader.next_block(2).unwrap() {
        all.extend(block.data);
    }
    assert_eq!(bits(&all), bits(&whole.array.data));
    let error = io::read(&path).unwrap_err().to_string();
    assert!(error.contains("line 2 has no values"), "{error}");
}

#[test]
fn a_run_on_gaps_has_the_bits_of_a_run_without_their_rows() {
    let folder = files();
    let at = folder.path();
    let theta = |data: &str, options: &str| {
        let words = format!("train --data {data} {options} --steps 12 --hidden 6 --base normal --out run --force");
        let out = cnf(at, &words);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{words}: {err}");
        let model = Model::load(&at.join("run/model.safetensors")).unwrap();
        (model.theta.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), err)
    };
    for (format, options) in
        [("csv", "--drop note --split column:set --condition c:number"), ("npy", "--split NAME_codes.npy"), ("npz", "")]
    {
        let of = |name: &str| theta(&format!("{name}.{format}"), &options.replace("NAME", name));
        let ((ours, notes), (theirs, none)) = (of("gaps"), of("whole"));
        assert_eq!(ours, theirs, "{format}");
        let words = format!("`gaps.{format}`: 5 of 120 rows have a missing cell and are left out: 3 in ");
        assert!(notes.matches(&words).count() == 1 && !none.contains("missing"), "{notes}{none}");
    }
    // The choice is in the run, and a run that lacks it refuses gaps, as it did when it was made.
    let config = std::fs::read_to_string(at.join("run/config.toml")).unwrap();
    assert!(config.contains("missing = \"drop\""), "{config}");
    let old = config.replace("missing = \"drop\"\n", "");
    assert_eq!(Job::of_run(&config).unwrap().data.missing, MissingRows::Drop);
    assert_eq!(Job::of_run(&old).unwrap().data.missing, MissingRows::Refuse);
    assert_eq!(Job::from_toml(&old).unwrap().data.missing, MissingRows::Drop);
    for (words, code, part) in [
        ("--data gaps.csv --drop note --missing refuse", 1, "a value is missing in line 5, column `x`"),
        ("--data gaps.npy --missing refuse", 1, "6 of its 360 numbers are not finite; the first is NaN in row 3"),
        ("--data gaps_xy.npy --condition gaps_c.npy --missing refuse", 1, "cannot read `gaps_c.npy`"),
        ("--data gaps.csv --drop note --missing fill", 2, "unknown treatment of missing cells `fill`"),
        ("--data moons --missing drop", 1, "--missing has no meaning for the toy `moons`"),
    ] {
        let out = cnf(at, &format!("train {words} --steps 1 --out none"));
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(code) && err.contains(part) && err.contains("hint: "), "{words}: {err}");
        assert!(!at.join("none").exists(), "{words}");
    }
}

/// The numbers of a result.
fn result(path: &Path) -> Vec<f64> {
    io::read_with(path, &Dialect::default(), true).unwrap().array.data
}

#[test]
fn rows_with_gaps_have_no_results_and_the_others_keep_their_bits() {
    let folder = files();
    let at = folder.path();
    let words = "train --data whole.csv --drop note,set --condition c --model realnvp --steps 8 --hidden 6 --out m";
    assert!(cnf(at, words).status.success());
    let kept = kept();
    let scatter = |rows: &[f64], width: usize| {
        let mut all = vec![f64::NAN; ROWS * width];
        kept.iter().zip(rows.chunks_exact(width)).for_each(|(row, of)| all[row * width..][..width].copy_from_slice(of));
        bits(&all)
    };
    for (points, given) in [
        ("NAME.csv", ""),
        ("NAME.csv.gz", ""),
        ("NAME.npy", "--condition 2"),
        ("NAME_xy.npy", "--condition NAME_c.npy"),
    ] {
        for (command, width, extra) in [
            ("density m POINTS", 1, "--error-bars bars.npy"),
            ("density m POINTS", 1, "--block 7"),
            ("invert POINTS --model m", 2, "--block 7"),
        ] {
            let run = |name: &str, output: &str| {
                let words = format!("{command} {given} {extra} -o {output} --json")
                    .replace("POINTS", points)
                    .replace("NAME", name);
                let out = cnf(at, &words);
                let err = String::from_utf8_lossy(&out.stderr).into_owned();
                assert!(out.status.success(), "{words}: {err}");
                (serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap(), err, result(&at.join(output)))
            };
            let (ours, note, all) = run("gaps", "a.npy");
            let (theirs, none, some) = run("whole", "b.npy");
            assert_eq!(bits(&all), scatter(&some, width), "{command} {points} {extra}");
            assert!(
                note.contains("5 of 120 rows have a missing cell: NaN in the results") && !none.contains("missing"),
                "{note}"
            );
            for (facts, missing, n) in [(&ours, 5, 120), (&theirs, 0, 115)] {
                assert_eq!((&facts["missing"], &facts["n"]), (&missing.into(), &n.into()), "{facts}");
            }
            for key in ["mean_log_prob", "se", "inside", "nfe_mean", "failed", "overflowed", "latent_mean", "returned"]
            {
                assert_eq!(ours[key], theirs[key], "{key}");
            }
        }
    }
    let bars = result(&at.join("bars.npy"));
    assert!(bars.len() == 3 * 115 || bars.len() == 3 * ROWS);
    // Samples under conditions with gaps, the checks, the picture of the way.
    let facts = json(at, "sample m --condition gaps_c.npy -o s.npy");
    assert_eq!((&facts["missing"], &facts["failed"]), (&1.into(), &0.into()));
    json(at, "sample m --condition whole_c.npy -o w.npy");
    let gone = |row: usize| result(&at.join("s.npy"))[2 * row].is_nan();
    assert!((0..ROWS).all(|row| gone(row) == (row == 55)));
    let out = cnf(at, "check m gaps.csv -n 50");
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(err.contains("`gaps.csv`: 5 rows with a missing cell are left out"), "{err}");
    let out = cnf(at, "trajectory m gaps.csv -o way.svg");
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && err.contains("5 rows with a missing cell are left out"), "{err}");
    // The one row of conditions for all rows cannot be missing.
    std::fs::write(at.join("one.csv"), "c\nNA\n").unwrap();
    let out = cnf(at, "sample m --condition one.csv -n 3 -o s.npy");
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        out.status.code() == Some(1) && err.contains("the one row of conditions for all points has no value in `c`"),
        "{err}"
    );
    // Nothing but gaps.
    std::fs::write(at.join("none.csv"), "x,y,c\nNA,1,2\n1,NA,2\n").unwrap();
    let out = cnf(at, "density m none.csv -o n.npy");
    assert!(out.status.success() && result(&at.join("n.npy")).iter().all(|v| v.is_nan()));
    for command in ["check m none.csv", "trajectory m none.csv -o way.svg", "data none.csv"] {
        let out = cnf(at, command);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && err.contains("has a missing cell") && err.contains("hint: "), "{err}");
    }
    let facts = json(at, "data gaps.npy");
    assert_eq!((&facts["rows"], &facts["missing"]), (&115.into(), &5.into()));
}

#[test]
fn a_comparison_leaves_gaps_out_and_an_infinity_is_none() {
    let folder = files();
    let at = folder.path();
    let run = |data: &str, out: &str| {
        let words =
            format!("compare --data {data} --split 0.6,0.2 --models gaussian,mixture --time 1s --out {out} --json");
        let out = cnf(at, &words);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{words}: {err}");
        (serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap(), err)
    };
    let ((ours, note), (theirs, _)) = (run("gaps_xy.npy", "a"), run("whole_xy.npy", "b"));
    assert!(note.contains("`gaps_xy.npy`: 4 of 120 rows have a missing cell and are left out"), "{note}");
    // The row without its condition has both columns.
    assert_eq!((ours["n"].as_u64(), theirs["n"].as_u64()), (Some(23), Some(23)));
    let golden = self::folder_with_infinity();
    for command in [
        "density m.safetensors inf.npy -o o.npy",
        "invert inf.npy --model m.safetensors -o o.npy",
        "train --data inf.npy --steps 1 --out r",
    ] {
        let out = cnf(golden.path(), command);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && err.contains("not finite") && err.contains("inf"), "{command}: {err}");
    }
}

/// The golden net, and points of which one is infinite and one is missing.
fn folder_with_infinity() -> TempDir {
    let folder = folder();
    let x = vec![0.0, f64::NAN, 1.0, f64::INFINITY, 0.5, 0.25];
    io::write(&folder.path().join("inf.npy"), &Array::table(x, 2, Dtype::F64).unwrap()).unwrap();
    folder
}
