//! The report page of a comparison.

use cnflow::html::{Figure, Image, Mime, Report};
use cnflow::rows::Dataset;
use cnflow::words;

use super::Comparison;
use super::pictures::Drawn;
use super::table::{self, Row};
use crate::cli::findings;

/// What a row is.
fn what(data: &Dataset) -> String {
    match data.shape {
        Some(shape) => format!("images of {}", words::image(shape)),
        None => words::count(data.dim as u64, "column"),
    }
}

/// Table, figure and the path through t on one page; the table alone where nothing was drawn.
pub fn page(
    comparison: &Comparison,
    rows: &[Row<'_>],
    drawn: Option<&Drawn>,
    skipped: usize,
    broken: &[String],
) -> Report {
    let data = &comparison.data;
    let best = rows.iter().min_by(|a, b| a.nll().0.total_cmp(&b.nll().0));
    let lead = best.map_or_else(String::new, |best| {
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        let (nll, n) = (best.nll().0, best.seeds[0].metrics.n);
        let (names, data, set) = (names.join(", "), &data.name, comparison.set);
        let (nll, over) = (words::number(nll, 4), words::count(n as u64, &format!("{set} row")));
        let bits = best.bits().map_or_else(String::new, |(bits, _)| format!(" ({} bits/dim)", words::number(bits, 3)));
        format!("{names} on {data}: the best NLL is that of {}, {nll} nats{bits} over {over}.", best.name)
    });
    let budget = comparison.jobs.first().map(|job| match (job.optimiser.steps, job.optimiser.time) {
        (Some(steps), _) => format!("{} each", words::count(steps as u64, "step")),
        (None, time) => format!("{} s of wall-clock each", time.unwrap_or_default()),
    });
    let mut facts = vec![
        ("data".to_owned(), format!("{}, {}", data.name, what(data))),
        (
            "scored on".to_owned(),
            format!("{} ({} set)", words::count(rows[0].seeds[0].metrics.n as u64, "row"), comparison.set),
        ),
        ("budget".to_owned(), budget.unwrap_or_else(|| "trained before".to_owned())),
        ("seeds".to_owned(), rows[0].seeds.len().to_string()),
        ("precision".to_owned(), format!("{:?}", comparison.precision).to_lowercase()),
        ("threads".to_owned(), rayon::current_num_threads().to_string()),
        ("version".to_owned(), format!("cnf {}", env!("CARGO_PKG_VERSION"))),
    ];
    if let Some(toy) = data.toy() {
        facts.push(("true entropy".to_owned(), format!("{:.4} nats", toy.entropy)));
    }
    let mut notes = vec![
        "All models are scored on the same rows and sampled from the same latents. If they were trained for this comparison, \
         each flow had the same budget; models fitted without gradient steps took less. A continuous flow is integrated \
         with the solver settings of its model file; the others have closed forms."
            .to_owned(),
        "Distances of samples are taken on columns scaled by the deviations of the held-out rows. The number in brackets \
         is the distance between two halves of the data: samples of a perfect model would be about as far from the data."
            .to_owned(),
    ];
    notes.extend(comparison.warned.iter().map(|finding| format!("The data: {}.", finding.text)));
    notes.extend(findings::caution(&comparison.warned).map(|caution| format!("Warning: {caution}.")));
    if skipped > 0 {
        let left = words::count(skipped as u64, "training");
        notes.push(format!("The comparison was ended early: {left} skipped."));
    }
    notes.extend(table::dominated(rows, comparison.set));
    notes.extend(broken.iter().cloned());
    notes.extend(comparison.left_out.iter().map(|(name, why)| format!("{name} is left out: {why}.")));
    for row in rows.iter().filter(|row| row.seeds.iter().any(|one| one.entry.stopped)) {
        notes.push(format!("The training of {} was interrupted.", row.name));
    }
    let figures = drawn.into_iter().flat_map(figures).collect();
    Report {
        title: format!("Flows on {}", data.name),
        lead,
        facts,
        table: table::cells(rows, "What each model reaches, and what it costs"),
        figures,
        slides: drawn.and_then(|drawn| drawn.slides.clone()).into_iter().collect(),
        notes,
    }
}

/// The pictures that stand still.
fn figures(drawn: &Drawn) -> Vec<Figure> {
    let figure = |caption: &str, alt: &str, bytes: &[u8]| Figure {
        caption: caption.into(),
        alt: alt.into(),
        image: Image { mime: Mime::Png, bytes: bytes.to_vec() },
    };
    let coverage = drawn.coverage.as_deref().map(|bytes| {
        let caption = "The expected coverage under the rows' own conditions: the share of held-out rows in the region of highest \
                       density that holds a share of the samples, the level. It is the level where a model is calibrated, below \
                       it where a model is too sharp.";
        figure(caption, "expected coverage of all models against the level", bytes)
    });
    std::iter::once(figure(&drawn.caption, drawn.alt, &drawn.figure)).chain(coverage).collect()
}
