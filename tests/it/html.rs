//! A report in HTML: what stands in it, that no text of it can run, and how it behaves in a real browser.
//!
//! The browser is `$CNF_BROWSER` or the first Chromium in the PATH; where there is none, its tests say so and pass.
//! `CNF_KEEP=FOLDER` leaves the page there, for eyes.
#![cfg(feature = "plot")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cnflow::html::{Better, Cell, Column, Figure, Image, Mime, Report, Slides, Strip, Table, render, write};
use cnflow::{Error, plot, rng};
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};

const NASTY: &str = "<script>document.title=\"run\"</script>' onclick='x\" onload=\"x & \u{0} &lt;";

/// A figure of our own kind.
fn drawn(ending: &str, spread: f64, size: (u32, u32)) -> Image {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("a.{ending}"));
    let mut rng = rng::stream(2, 0);
    let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
    let rows: Vec<f64> = (0..600)
        .flat_map(|i| {
            let turn = f64::from(i % 8) * std::f64::consts::FRAC_PI_4;
            let noise = (normal(), normal());
            let far = (1.0 - spread) * 2.2;
            [far * turn.cos() + (0.3 + 0.7 * spread) * noise.0, far * turn.sin() + (0.3 + 0.7 * spread) * noise.1]
        })
        .collect();
    let options = plot::Options { size: Some(size), ..Default::default() };
    let axis = |name| plot::Axis::new(name, (-4.0, 4.0));
    let dots = plot::Layer::Dots { points: rows, tone: plot::Tone::Model, label: String::new() };
    let (x, y, aspect) = (axis("x₁"), axis("x₂"), plot::Aspect::Equal);
    let panel = plot::Panel { title: String::new(), x, y, layers: vec![dots], aspect };
    plot::panels(&path, &[panel], 1, &options).unwrap();
    let mime = if ending == "svg" { Mime::Svg } else { Mime::Png };
    Image { mime, bytes: std::fs::read(path).unwrap() }
}

fn column(title: &str, unit: &str, about: &str, better: Better) -> Column {
    Column { title: title.into(), unit: unit.into(), about: about.into(), better }
}

fn cell(text: &str, value: impl Into<Option<f64>>) -> Cell {
    Cell { text: text.into(), value: value.into() }
}

/// A page as the program would make it.
fn report() -> Report {
    let columns = vec![
        column("Model", "", "", Better::Neither),
        column("NLL", "nats", "Mean negative log-likelihood of 10 000 test rows.", Better::Lower),
        column("Energy distance", "", "2E|X−Y| − E|X−X'| − E|Y−Y'| of 5 000 draws; unbiased.", Better::Lower),
        column("Rows", "1/s", "Samples drawn in a second, on one core.", Better::Higher),
        column("Parameters", "", "", Better::Neither),
    ];
    let rows = vec![
        vec![
            cell("Spline couplings", None),
            cell("2.902 ± 0.006", 2.902),
            cell("0.0019", 0.0019),
            cell("181 000", 181_000.0),
            cell("52 480", 52_480.0),
        ],
        vec![
            cell("Continuous flow, matching", None),
            cell("2.851 ± 0.006", 2.851),
            cell("0.0004", 4e-4),
            cell("9 400", 9400.0),
            cell("17 410", 17_410.0),
        ],
        vec![
            cell("Affine couplings", None),
            cell("3.118 ± 0.007", 3.118),
            cell("0.0102", 0.0102),
            cell("240 000", 240_000.0),
            cell("35 088", 35_088.0),
        ],
        vec![
            cell("Diffusion, sampled only", None),
            cell("—", None),
            cell("0.0007", 7e-4),
            cell("1 200", 1200.0),
            cell("17 410", 17_410.0),
        ],
    ];
    let strip = |name: &str, n: usize, label: fn(usize, usize) -> String| Strip {
        name: name.into(),
        frames: (0..n)
            .map(|i| {
                let part = 1.0 - i as f64 / (n - 1) as f64;
                (label(i, n), drawn("png", part, (480, 480)))
            })
            .collect(),
    };
    let time = |i: usize, n: usize| format!("t = {:.2}", i as f64 / (n - 1) as f64);
    let layer = |i: usize, _: usize| if i == 0 { "the latent".into() } else { format!("layer {i}") };
    Report {
        title: "Eight Gaussians: four models at equal budget".into(),
        lead:
            "With ten minutes of one core each, the continuous flow comes within 0.02 nats of the true density; spline \
               couplings draw twenty times as fast."
                .into(),
        facts: [
            ("Data", "8gaussians, drawn afresh; true entropy 2.831 nats"),
            ("Budget", "10 min of training each, one core"),
            ("Machine", "2 cores of an EPYC 7763, AVX2"),
            ("Seed", "7"),
            ("Program", "cnf 0.1.0"),
        ]
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .into(),
        table: Table { caption: "Likelihood, quality of samples, speed.".into(), columns, rows },
        figures: vec![Figure {
            caption: "Samples of the continuous flow.".into(),
            alt: "A scatter plot of eight clusters on a circle.".into(),
            image: drawn("svg", 0.1, (600, 600)),
        }],
        slides: vec![Slides {
            caption: "From the latent to the data. The continuous flow moves with time, the couplings layer by layer."
                .into(),
            strips: vec![
                strip("Continuous flow, matching", 11, time),
                strip("Spline couplings", 5, layer),
                strip("Affine couplings", 5, layer),
            ],
        }],
        notes: vec!["Intervals are one standard error over the test rows.".into()],
    }
}

/// Everything that takes text, given this one.
fn filled_with(text: &str) -> Report {
    let t = || text.to_owned();
    let image = || Image { mime: Mime::Svg, bytes: b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec() };
    Report {
        title: t(),
        lead: t(),
        facts: vec![(t(), t())],
        table: Table {
            caption: t(),
            columns: vec![column(text, text, text, Better::Lower)],
            rows: vec![vec![cell(text, 1.0)]],
        },
        figures: vec![Figure { caption: t(), alt: t(), image: image() }],
        slides: vec![Slides {
            caption: t(),
            strips: vec![Strip { name: t(), frames: vec![(t(), image()), (t(), image())] }],
        }],
        notes: vec![t()],
    }
}

/// The values of an attribute.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    page.split(start.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn no_text_becomes_markup() {
    let page = render(&filled_with(NASTY));
    let quiet = render(&filled_with("x"));
    // The same tags as with a harmless word, and as many quotes: nothing was opened, nothing closed.
    for mark in ["<", ">", "\"", "<script", "'"] {
        assert_eq!(page.matches(mark).count(), quiet.matches(mark).count(), "{mark}");
    }
    assert_eq!(page.matches("<script").count(), 1);
    assert!(!page.contains('\0'));
    assert!(page.contains("&lt;script&gt;document.title=&quot;run&quot;&lt;/script&gt;&#39; onclick=&#39;x"));
    assert!(page.contains("&amp;   &amp;lt;"), "an ampersand is one");
}

#[test]
fn the_page_needs_nothing_else() {
    let page = render(&report());
    let sources = attributes(&page, "src");
    assert_eq!(sources.len(), 1 + 11 + 5 + 5);
    assert!(sources.iter().all(|s| s.starts_with("data:image/")));
    assert!(attributes(&page, "href").is_empty());
    let bare = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for far in ["http://", "https://", "//cdn", "@import", "url(", "fetch(", "<link", "<iframe"] {
        assert!(!bare.contains(far), "{far}");
    }
}

#[test]
fn the_policy_names_the_script_that_is_there() {
    let page = render(&report());
    let script = page.split("<script>").nth(1).unwrap().split("</script>").next().unwrap();
    // Base64 as the page itself writes it.
    let hash = Image { mime: Mime::Png, bytes: Sha256::digest(script).to_vec() };
    let figure = Figure { caption: String::new(), alt: String::new(), image: hash };
    let other = render(&Report { figures: vec![figure], ..Default::default() });
    let hash = attributes(&other, "src")[0].strip_prefix("data:image/png;base64,").unwrap();
    assert!(page.contains(&format!("script-src 'sha256-{hash}'")), "SCRIPT_HASH in src/html/page.rs must be {hash}");
}

#[test]
fn the_script_finds_what_it_looks_for() {
    let page = render(&report());
    let (markup, script) =
        (page.split("</head>").nth(1).unwrap(), std::fs::read_to_string("src/html/page.js").unwrap());
    let quoted = |call: &str| -> Vec<String> {
        script.split(call).skip(1).filter_map(|rest| rest.split('"').next().map(str::to_owned)).collect()
    };
    let mut selectors = [quoted("querySelector(\""), quoted("querySelectorAll(\"")].concat();
    assert!(selectors.len() > 5, "{selectors:?}");
    // The three parts of a slider are looked for by a list of their names.
    assert!(script.contains("[\"button\", \"input\", \"output\"]"));
    selectors.extend(["button", "input", "output", "thead", "tbody"].map(str::to_owned));
    for selector in &selectors {
        let there = match selector.strip_prefix('.') {
            Some(class) => attributes(markup, "class").iter().any(|classes| classes.split(' ').any(|c| c == class)),
            None => markup.contains(&format!("<{selector}>")) || markup.contains(&format!("<{selector} ")),
        };
        assert!(there, "no `{selector}` in the page");
    }
    // What is sorted by, and which way first.
    assert!(script.contains("dataset.value") && markup.contains("data-value=\""));
    assert!(script.contains("dataset.better") && markup.contains("data-better=\"higher\""));
    assert!(
        script.contains("contains(\"number\")") && attributes(markup, "class").iter().any(|c| c.contains("number"))
    );
}

#[test]
fn every_picture_has_words_and_every_head_its_scope() {
    let page = render(&report());
    assert_eq!(attributes(&page, "alt").len(), page.matches("<img").count());
    assert!(attributes(&page, "alt").iter().all(|alt| !alt.is_empty()));
    assert_eq!(page.matches("<figure").count(), page.matches("<figcaption").count());
    assert_eq!(page.matches("scope=\"col\"").count(), 5);
    assert_eq!(page.matches("scope=\"row\"").count(), 4);
    assert!(page.contains("<caption id=\"table-1\"><b>Table 1.</b>") && page.contains("<html lang=\"en\">"));
    assert!(page.contains("<b>Figure 1.</b>") && page.contains("<b>Figure 2.</b>"));
    // Sizes keep the page from jumping while pictures are decoded.
    assert!(page.contains("width=\"600\" height=\"600\"") && page.contains("width=\"480\" height=\"480\""));
    let ids = attributes(&page, "id");
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len(), "{ids:?}");
    // Of eleven frames every other one stands in a row where nothing moves.
    for (n, expected) in
        [(1, "0"), (2, "0 1"), (3, "0 1 2"), (8, "0 2 4 5 7"), (11, "0 2 4 6 8 10"), (21, "0 5 10 15 20")]
    {
        let frame = (String::new(), Image { mime: Mime::Png, bytes: vec![] });
        let strips = vec![Strip { name: String::new(), frames: vec![frame; n] }];
        let page = render(&Report { slides: vec![Slides { caption: String::new(), strips }], ..Default::default() });
        let keys = page.split("<li").skip(1).zip(0..).filter(|(item, _)| item.starts_with(" class=\"key"));
        assert_eq!(keys.map(|(_, i)| i.to_string()).collect::<Vec<_>>().join(" "), expected);
    }
}

#[test]
fn the_best_finite_value_is_bold() {
    let page = render(&report());
    let bold: Vec<&str> = page.split("<strong>").skip(1).map(|rest| rest.split("</strong>").next().unwrap()).collect();
    assert_eq!(bold, ["2.851 ± 0.006", "0.0004", "240 000"]);

    let one = |better, values: &[f64]| {
        let rows = values.iter().map(|v| vec![cell(&v.to_string(), *v)]).collect();
        let table = Table { columns: vec![column("c", "", "", better)], rows, ..Default::default() };
        let page = render(&Report { table, ..Default::default() });
        page.split("<strong>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Those that tie are bold together.
    assert_eq!(one(Better::Lower, &[f64::NAN, 2.0, f64::NEG_INFINITY, 1.0, 1.0]), ["1", "1"]);
    assert_eq!(one(Better::Higher, &[f64::INFINITY, -3.0]), ["-3"]);
    assert!(one(Better::Neither, &[1.0]).is_empty() && one(Better::Lower, &[f64::NAN]).is_empty());
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    write(&path, &report()).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), render(&report()));
    let mut short = report();
    short.table.rows[2].pop();
    let refused = write(&path, &short).unwrap_err();
    assert!(
        matches!(&refused, Error::Dimension { what, expected: 5, found: 4 } if what.starts_with("row 2")),
        "{refused}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), render(&report()));
    assert!(matches!(write(&folder.path().join("no/report.html"), &report()), Err(Error::Write { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // Nothing to say is a page too.
    let empty = render(&Report::default());
    assert!(empty.contains("<h1></h1>") && !empty.contains("<section") && !empty.contains("<table"));
}

// ---- In a browser ----

/// The browser to ask; `None`, and a word about it, where there is none.
fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CNF_BROWSER") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found =
        names.iter().flat_map(|name| std::env::split_paths(&path).map(move |p| p.join(name))).find(|p| p.is_file());
    if found.is_none() {
        println!("no Chromium in the PATH: not tried in a browser (name one in CNF_BROWSER)");
    }
    found
}

/// What the browser prints; it is stopped after a minute.
fn browse(browser: &Path, page: &Path, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("stdout");
    let mut profile = std::ffi::OsString::from("--user-data-dir=");
    profile.push(folder.path().join("profile"));
    let quiet = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
                 --disable-component-update --disable-sync --hide-scrollbars";
    let mut child = Command::new(browser)
        .args(quiet.split_whitespace())
        .arg(profile)
        .args(more)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&output).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", browser.display()));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the browser had not finished after a minute");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "{}: {status}", browser.display());
    std::fs::read_to_string(output).unwrap()
}

/// Acts on the page inside of a frame, in which its own policy holds, and tells what became of it.
const DRIVER: &str = r#"
const said = [];
const say = (name, value) => said.push(`${name}: ${value}`);
const done = () => { document.querySelector("pre").textContent = said.join("\n"); };
addEventListener("error", (e) => { say("error", e.message); done(); });
document.querySelector("iframe").addEventListener("load", (e) => {
  const page = e.target.contentDocument, win = e.target.contentWindow;
  const heads = [...page.querySelectorAll("thead th")];
  const names = () => [...page.querySelectorAll("tbody tr")].map((r) => r.cells[0].textContent.split(/\W/)[0]).join(" ");
  const sorted = () => heads.map((h) => h.getAttribute("aria-sort") ?? "-").join(" ");
  say("title", page.title);
  say("given", names());
  heads[1].querySelector("button").click();
  say("nll once", names()); say("aria once", sorted());
  heads[1].querySelector("button").click();
  say("nll twice", names()); say("aria twice", sorted());
  heads[3].querySelector("button").click();
  say("rows once", names()); say("aria rows", sorted());
  heads[0].querySelector("button").click();
  say("name once", names());
  say("status", page.querySelector("[role=status]").textContent);
  heads[2].querySelector("button").focus();
  say("focus", page.activeElement.textContent.trim());
  const slider = page.querySelector("input"), play = page.querySelector(".way button");
  const shown = () => [...page.querySelectorAll(".strip")].map((s) => [...s.querySelectorAll("li")]
    .filter((li) => win.getComputedStyle(li).display !== "none").map((li) => li.innerText.trim()).join("+")).join(", ");
  say("at the end", shown());
  const move = (v) => { slider.value = v; slider.dispatchEvent(new win.Event("input", { bubbles: true })); };
  move(0); say("at the start", shown());
  move(5); say("in the middle", shown()); say("said", slider.getAttribute("aria-valuetext"));
  say("label", slider.labels[0].textContent);
  play.click(); say("button", play.textContent); play.click(); say("again", play.textContent);
  move(10); play.click(); say("played from", slider.value);
  setTimeout(() => { say("played to", `${slider.value} ${play.textContent} ${shown()}`); done(); }, 6000);
});
"#;

/// The page inside of a frame, with the driver beside it.
fn driven(folder: &Path, page: &str, width: u32, driver: &str) -> PathBuf {
    let inner = page.replace('&', "&amp;").replace('"', "&quot;");
    let path = folder.join("driver.html");
    let frame = format!("<iframe srcdoc=\"{inner}\" style=\"width:{width}px;height:880px;border:0\"></iframe>");
    std::fs::write(&path, format!("<!DOCTYPE html><meta charset=utf-8><pre></pre>{frame}<script>{driver}</script>"))
        .unwrap();
    path
}

/// What the driver said.
fn said(dom: &str) -> Vec<(&str, &str)> {
    let text = dom.split("<pre>").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap_or("");
    text.lines().filter_map(|line| line.split_once(": ")).collect()
}

#[test]
fn a_browser_sorts_the_table_and_moves_the_slider() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let page = driven(folder.path(), &render(&report()), 1000, DRIVER);
    let dom = browse(&browser, &page, &["--virtual-time-budget=10000", "--dump-dom"]);
    let said = said(&dom);
    let expected = [
        ("title", "Eight Gaussians: four models at equal budget"),
        ("given", "Spline Continuous Affine Diffusion"),
        ("nll once", "Continuous Spline Affine Diffusion"),
        ("aria once", "- ascending - - -"),
        // Without a value it stays last.
        ("nll twice", "Affine Spline Continuous Diffusion"),
        ("aria twice", "- descending - - -"),
        // More is better: the first click brings the most to the top.
        ("rows once", "Affine Spline Continuous Diffusion"),
        ("aria rows", "- - - descending -"),
        ("name once", "Affine Continuous Diffusion Spline"),
        ("status", "Sorted by Model, ascending."),
        ("focus", "Energy distance"),
        ("at the end", "t = 1.00, layer 4, layer 4"),
        ("at the start", "t = 0.00, the latent, the latent"),
        ("in the middle", "t = 0.50, layer 2, layer 2"),
        ("said", "50 %"),
        ("label", "Along the way"),
        ("button", "Pause"),
        ("again", "Play"),
        ("played from", "0"),
        ("played to", "10 Play t = 1.00, layer 4, layer 4"),
    ];
    assert_eq!(said, expected);
}

#[test]
fn no_script_of_a_name_runs_in_a_browser() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    write(&path, &filled_with(NASTY)).unwrap();
    let dom = browse(&browser, &path, &["--dump-dom"]);
    // Our own ran, and put a button into the head; that of the name is a word.
    assert!(dom.contains("class=\"js\"") && dom.contains("<button"), "{dom}");
    assert!(dom.contains("<title>&lt;script&gt;document.title="), "{dom}");
    // Even where markup slips in, the policy lets it neither run nor load.
    let page = render(&filled_with("HERE"));
    let slipped = page.replacen("HERE</h1>", "<script>document.title = 'run'</script><b onclick='x'></b></h1>", 1);
    assert_ne!(page, slipped);
    std::fs::write(&path, slipped).unwrap();
    assert!(browse(&browser, &path, &["--dump-dom"]).contains("<title>HERE</title>"));
}

/// A phone: nothing but the table's own box is wider than the screen.
const NARROW: &str = r#"
document.querySelector("iframe").addEventListener("load", (e) => {
  const page = e.target.contentDocument;
  const box = page.querySelector(".scroll");
  document.querySelector("pre").textContent =
    `page: ${page.documentElement.scrollWidth <= 420}\ntable: ${box.scrollWidth > box.clientWidth}`;
});
"#;

#[test]
fn a_phone_scrolls_the_table_and_nothing_else() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let page = driven(folder.path(), &render(&report()), 420, NARROW);
    let dom = browse(&browser, &page, &["--window-size=700,900", "--dump-dom"]);
    assert_eq!(said(&dom), [("page", "true"), ("table", "true")]);
}

#[test]
fn a_browser_draws_it() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    write(&path, &report()).unwrap();
    if let Some(keep) = std::env::var_os("CNF_KEEP") {
        std::fs::copy(&path, Path::new(&keep).join("report.html")).unwrap();
    }
    let shot = folder.path().join("shot.png");
    browse(&browser, &path, &["--window-size=1200,900", &format!("--screenshot={}", shot.display())]);
    let image = image::open(&shot).unwrap().to_luma8();
    assert_eq!(image.dimensions(), (1200, 900));
    // Words and rules cover some of every page, and leave most of it.
    let ground = image.get_pixel(2, 2)[0];
    let inked = image.pixels().filter(|p| p[0].abs_diff(ground) > 60).count() as f64 / (1200.0 * 900.0);
    assert!(inked > 0.005 && inked < 0.5, "{inked} of the page is inked");
}
