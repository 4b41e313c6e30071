//! The commands that show: trajectories and films, the pictures of a run again, what a model is, completions, the
//! manual.
#![cfg(feature = "cli")]

use std::path::Path;
use std::process::{Command, Stdio};

use cnflow::io::{self, Array, Dtype};

use crate::common::command::{bytes, cnf, conditional, folder, golden, has, json};

/// Frames and the loop of a GIF: its graphic control extensions, in hundredths of a second.
fn delays(gif: &[u8]) -> Vec<u16> {
    assert!(gif.starts_with(b"GIF89a") && gif.ends_with(b";"), "the GIF is cut short");
    assert!(gif.windows(11).any(|w| w == b"NETSCAPE2.0"), "it does not loop");
    let control = gif.windows(8).filter(|w| w[..3] == [0x21, 0xf9, 4] && w[7] == 0);
    control.map(|w| u16::from_le_bytes([w[4], w[5]])).collect()
}

fn size(gif: &[u8]) -> (u16, u16) {
    (u16::from_le_bytes([gif[6], gif[7]]), u16::from_le_bytes([gif[8], gif[9]]))
}

fn names(folder: &Path) -> Vec<String> {
    let mut all: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

#[test]
fn a_trajectory_is_a_picture_and_a_film_that_rests_at_its_end() {
    let folder = folder();
    let at = folder.path();
    let small = "-n 60 --paths 20 --grid 12 --quiet";
    let facts = json(at, &format!("trajectory m.safetensors -o t.png --gif t.gif --frames 5 --size 200x180 {small}"));
    has(&facts, "n of dim columns times frames gif_bytes nfe_mean nfe_max failed seconds model output gif");
    assert_eq!((&facts["times"], &facts["n"]), (&serde_json::json!([0.0, 0.25, 0.5, 0.75, 1.0]), &60.into()));
    let gif = bytes(at, "t.gif");
    assert_eq!((gif.len() as u64, size(&gif)), (facts["gif_bytes"].as_u64().unwrap(), (200, 180)));
    assert_eq!(delays(&gif), [5, 5, 5, 5, 150]);
    // The same request gives the same bytes, on any number of threads; another seed another picture.
    json(at, &format!("trajectory m.safetensors -o u.png --gif u.gif --frames 5 --size 200x180 --threads 1 {small}"));
    assert!(bytes(at, "t.png") == bytes(at, "u.png") && bytes(at, "t.gif") == bytes(at, "u.gif"));
    json(at, &format!("trajectory m.safetensors -o u.png --size 200x180 --seed 1 {small}"));
    assert!(bytes(at, "t.png") != bytes(at, "u.png"));
    // Points are followed to where they came from.
    let facts = json(at, &format!("trajectory m.safetensors x.npy -o p.svg --panels 2 --theme dark {}", "--grid 10"));
    assert_eq!(
        (&facts["n"], &facts["of"], &facts["times"]),
        (&500.into(), &500.into(), &serde_json::json!([0.0, 1.0]))
    );
    assert!(bytes(at, "p.svg").starts_with(b"<svg ") && names(at).iter().all(|n| !n.starts_with('.')));
}

#[test]
fn a_trajectory_knows_one_dimension_many_and_conditions() {
    let folder = folder();
    let at = folder.path();
    conditional(at);
    io::write(&at.join("c1.npy"), &Array::table(vec![0.7], 1, Dtype::F64).unwrap()).unwrap();
    let small = "-n 30 --paths 10 --grid 10 --frames 3 --quiet";
    json(at, &format!("trajectory c.safetensors --condition c1.npy -o c.png {small}"));
    std::fs::copy(golden("d43/model.safetensors"), at.join("w43.safetensors")).unwrap();
    json(at, "import w43.safetensors --activation softplus -o d43.safetensors");
    let out = cnf(at, &format!("trajectory d43.safetensors -o d.png --axes 3,40 {}", small.replace("--quiet", "")));
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && err.contains("particles only, in columns 3 and 40"), "{err}");
    let facts = json(at, &format!("trajectory d43.safetensors --gif d.gif {small}"));
    assert_eq!((&facts["columns"], &facts["densities"]), (&serde_json::json!([0, 1]), &false.into()));
    let rows: String =
        (0..400).map(|i| format!("{}\n", (f64::from(i) * 0.7).sin() + if i % 2 == 0 { 3.0 } else { 0.0 })).collect();
    std::fs::write(at.join("one.csv"), format!("a\n{rows}")).unwrap();
    json(at, "train --data one.csv --base normal --hidden 8 --batch 32 --steps 20 --out one --quiet");
    json(at, &format!("trajectory one -o o.svg --gif o.gif {small}"));
    assert_eq!(delays(&bytes(at, "o.gif")).len(), 3);
}

/// The words of a refusal.
fn refused(at: &Path, words: &str) -> String {
    let out = cnf(at, words);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && err.contains("hint: "), "{words}: {err}");
    err
}

#[test]
fn a_flow_of_layers_is_drawn_by_whole_layers() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let small = "-n 60 --paths 20 --grid 12 --quiet";
    json(at, "train --model realnvp --data moons --hidden 8 --depth 6 --batch 64 --steps 20 --out r --quiet");
    let facts = json(at, &format!("trajectory r -o t.png --gif t.gif --frames 9 --panels 4 --size 300x180 {small}"));
    assert_eq!((&facts["layers"], &facts["n_layers"]), (&serde_json::json!([0, 2, 4, 6]), &6.into()));
    let third = |l: f64| 2.0 * l / 6.0;
    assert_eq!(facts["times"], serde_json::json!([0.0, third(1.0), third(2.0), 1.0]));
    assert_eq!((&facts["n"], &facts["frames"], &facts["nfe_mean"]), (&60.into(), &9.into(), &0.0.into()));
    let gif = bytes(at, "t.gif");
    assert_eq!((gif.len() as u64, size(&gif)), (facts["gif_bytes"].as_u64().unwrap(), (300, 180)));
    assert_eq!(delays(&gif), [5, 5, 5, 5, 5, 5, 5, 5, 150]);
    json(at, &format!("trajectory r -o u.png --gif u.gif --frames 9 --panels 4 --size 300x180 --threads 1 {small}"));
    assert!(bytes(at, "t.png") == bytes(at, "u.png") && bytes(at, "t.gif") == bytes(at, "u.gif"));
    // With more panels than there are layers each has its own; points are followed to where they came from.
    let rows = Array::table(vec![0.0, 1.0, 0.5, -0.5, 1.0, 0.0], 2, Dtype::F64).unwrap();
    io::write(&at.join("x.npy"), &rows).unwrap();
    let facts = json(at, "trajectory r x.npy -o p.svg --panels 12 --grid 10 --theme dark");
    assert_eq!((&facts["layers"], &facts["n"]), (&serde_json::json!([0, 1, 2, 3, 4, 5, 6]), &3.into()));
    let text = String::from_utf8(bytes(at, "p.svg")).unwrap();
    assert!(text.starts_with("<svg ") && names(at).iter().all(|n| !n.starts_with('.')));
    let facts = json(at, &format!("trajectory r --gif few.gif --frames 3 {small}"));
    assert_eq!((delays(&bytes(at, "few.gif")).len(), &facts["layers"]), (3, &serde_json::Value::Null));
    // One column, and many.
    let rows: String = (0..300).map(|i| format!("{},{},{}\n", i % 17, (i * i) % 23, (i * 7) % 29)).collect();
    std::fs::write(at.join("three.csv"), format!("a,b,c\n{rows}")).unwrap();
    let one: String = (0..300).map(|i| format!("{}\n", (f64::from(i) * 0.7).sin())).collect();
    std::fs::write(at.join("one.csv"), format!("a\n{one}")).unwrap();
    json(at, "train --model glow --data three.csv --hidden 8 --depth 2 --batch 32 --steps 10 --out three --quiet");
    json(at, "train --model spline --data one.csv --hidden 8 --depth 3 --batch 32 --steps 10 --out one --quiet");
    let facts = json(at, &format!("trajectory three --axes 0,2 -o three.png --gif three.gif --frames 4 {small}"));
    assert_eq!((&facts["densities"], delays(&bytes(at, "three.gif")).len()), (&false.into(), 4));
    json(at, &format!("trajectory one -o one.svg --gif one.gif --frames 4 {small}"));
    assert_eq!(delays(&bytes(at, "one.gif")).len(), 4);
}

#[test]
fn a_trajectory_takes_a_condition_as_given_and_the_architecture_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows: String = (0..300).map(|i| format!("{},{},{}\n", i % 3, i % 17, (i * i) % 23)).collect();
    std::fs::write(at.join("t.csv"), format!("class,u,v\n{rows}")).unwrap();
    for model in ["cnf", "realnvp"] {
        json(at, &format!("train --model {model} --data t.csv --condition class --hidden 8 --steps 20 --out {model}"));
        let small = "-n 30 --paths 10 --grid 10 --frames 3 --quiet";
        for class in [0, 2] {
            json(at, &format!("trajectory {model} --given {class} -o {class}.png --gif {class}.gif {small}"));
        }
        assert!(bytes(at, "0.png") != bytes(at, "2.png"), "{model}");
        assert!(refused(at, &format!("trajectory {model} --given 3 -o 3.png")).contains("0, 1, 2"), "{model}");
        assert!(refused(at, &format!("trajectory {model} -o 3.png")).contains("no condition was given"), "{model}");
    }
}

#[test]
fn what_does_not_move_has_no_trajectory() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (model, words) in [
        ("gaussian", "one Gaussian"),
        ("gaussian-fixed", "one Gaussian"),
        ("mixture", "a mixture of"),
        ("histogram", "a table of probabilities"),
    ] {
        let base = if model == "mixture" { "t.csv" } else { "moons" };
        let rows: String = (0..200).map(|i| format!("{},{}\n", i % 17, (i * i) % 23)).collect();
        std::fs::write(at.join("t.csv"), format!("a,b\n{rows}")).unwrap();
        json(at, &format!("train --model {model} --data {base} --out {model} --quiet"));
        let err = refused(at, &format!("trajectory {model} -o t.png --gif t.gif"));
        assert!(
            err.contains(words) && err.contains("has no trajectories") && err.contains("draw its density"),
            "{err}"
        );
        assert!(!at.join("t.png").exists() && !at.join("t.gif").exists());
    }
}

#[test]
fn a_particle_that_fails_is_counted_and_the_picture_is_drawn() {
    let folder = folder();
    let at = folder.path();
    let rows = Array::table(vec![0.0, 1.0, 1e300, 0.0, 1.0, 0.0], 2, Dtype::F64).unwrap();
    io::write(&at.join("far.npy"), &rows).unwrap();
    let out = cnf(at, "trajectory m.safetensors far.npy -o far.png --grid 10 --json");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && err.contains("1 of 3") && at.join("far.png").exists(), "{err}");
    let facts: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(facts["failed"], 1);
}

#[test]
fn the_pictures_of_a_run_are_drawn_again_as_they_were_and_in_another_way() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows: String = (0..300).map(|i| format!("{},{}\n", i % 17, (i * i) % 23)).collect();
    std::fs::write(at.join("t.csv"), format!("a,b\n{rows}")).unwrap();
    json(at, "train --data t.csv --hidden 8,8 --batch 64 --steps 30 --out one --quiet");
    let three = ["density.png", "samples.png", "training.png"];
    let facts = json(at, "plot one --out again");
    has(&facts, "run data files");
    assert_eq!(names(&at.join("again")), three);
    for file in three {
        assert!(bytes(&at.join("again"), file) == bytes(&at.join("one"), file), "{file}");
    }
    json(at, "plot one --out dark --theme dark --format svg --size 600x400");
    assert_eq!(names(&at.join("dark")), three.map(|name| name.replace("png", "svg")));
    let text = String::from_utf8(bytes(&at.join("dark"), "training.svg")).unwrap();
    assert!(text.starts_with("<svg") && text.contains("width=\"600\" height=\"400\""));
    json(at, "plot one --out large --scale 2");
    let side = |folder: &str| {
        let png = bytes(&at.join(folder), "samples.png");
        u32::from_be_bytes(png[16..20].try_into().unwrap())
    };
    assert_eq!(side("large"), 2 * side("one"));
    // The data may have moved, or be gone.
    std::fs::rename(at.join("t.csv"), at.join("moved.csv")).unwrap();
    let out = cnf(at, "plot one --out gone");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.code() == Some(1) && err.contains("the run was trained on this file") && err.contains("--data"),
        "{err}"
    );
    assert!(!at.join("gone").exists());
    json(at, "plot one --out moved --data moved.csv");
    assert!(bytes(&at.join("moved"), "samples.png") == bytes(&at.join("one"), "samples.png"));
}

#[test]
fn info_tells_how_steep_a_model_is_and_how_it_was_trained() {
    let folder = folder();
    let at = folder.path();
    let facts = json(at, "info m.safetensors");
    has(&facts, "layers lipschitz");
    let steep = &facts["lipschitz"];
    has(steep, "estimate t x mean points exact_jacobians bound");
    assert!(
        steep["estimate"].as_f64() < steep["bound"].as_f64() && facts == json(at, "info m.safetensors --threads 1")
    );
    conditional(at);
    assert!(json(at, "info c.safetensors")["lipschitz"]["estimate"].is_null());
    json(at, "train --hidden 8,8 --batch 64 --steps 20 --out one --quiet");
    let out = cnf(at, "info one");
    let text = String::from_utf8(out.stdout).unwrap();
    for part in [
        "3 → 8 → 8 → 2, silu",
        "training",
        "8gaussians",
        "matching",
        "20 in ",
        "NLL",
        "nats on 10000 test rows",
        "excess",
        "over the true density",
        "NFE",
        "steepness in x",
        "largest found",
        "bound",
        "tensors",
        "net.0.weight",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    assert!(!text.contains("job"), "{text}");
}

#[test]
fn completions_are_scripts_of_their_shells_and_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let out = cnf(at, &format!("completions {shell}"));
        let script = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success() && out.stderr.is_empty());
        for word in ["trajectory", "completions", "rtol"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
        if shell == "bash" {
            std::fs::write(at.join("cnf.bash"), &script).unwrap();
            let parsed = Command::new("bash").args(["-n", "cnf.bash"]).current_dir(at).stderr(Stdio::piped()).output();
            let parsed = parsed.unwrap();
            assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
        }
    }
}

#[test]
fn every_command_has_a_page_with_its_examples() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let help = String::from_utf8(cnf(at, "--help").stdout).unwrap();
    let listed = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<&str> = listed
        .lines()
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert!(commands.contains(&"trajectory") && commands.contains(&"man"), "{commands:?}");
    let facts = json(at, "man --out pages");
    has(&facts, "files");
    let pages = names(&at.join("pages"));
    for command in commands.iter().filter(|c| **c != "help") {
        let name = format!("cnf-{command}.1");
        assert!(pages.contains(&name), "{name} is not among {pages:?}");
        let page = String::from_utf8(bytes(&at.join("pages"), &name)).unwrap();
        assert!(page.contains(".TH ") && page.contains("Examples:"), "{name}");
    }
    let main = String::from_utf8(cnf(at, "man").stdout).unwrap();
    assert_eq!(main.trim_end(), String::from_utf8(bytes(&at.join("pages"), "cnf.1")).unwrap().trim_end());
}

#[test]
fn watching_without_a_terminal_is_refused_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let out = cnf(folder.path(), "train --watch --hidden 4 --steps 1");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && err.contains("stderr is not one") && err.contains("hint: "), "{err}");
    assert!(names(folder.path()).is_empty());
}
