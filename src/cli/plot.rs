//! `cnf plot`: the pictures of a run again, in another size, format or theme.
//!
//! They are drawn as `cnf train` draws them: from the run's model, job and metrics, and from the data at the path in
//! the job.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use cnflow::Error;
use cnflow::model::Model;
use cnflow::plot::Theme;
use cnflow::rows::Dataset;
use cnflow::train::{Family, Job};
use serde_json::json;

use super::files::{CONFIG, METRICS};
use super::picture::{FormerName, Shown};
use super::train::curves::Curves;
use super::train::pictures::{Look, draw};
use super::train::run::Run;
use super::{Context, interrupt, picture, place, setup};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf plot runs/gauss --theme dark --out slides
  cnf plot runs/gauss --format svg --out figures
  cnf plot runs/gauss --size 900x450 --scale 2 --out figures
  cnf plot runs/gauss --axes 1,0 --log=8 --out figures    columns swapped; log p, 8 decades
  cnf plot                                                  the newest run, in its own folder

The pictures are density (or latents, in more than two dimensions), samples and training; for \
images samples, nearest, latents, interpolation and training. Their data are read from the path of the training, or \
from --data.";

/// Arguments of `cnf plot`.
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// A run folder; the newest run if left out.
    run: Option<PathBuf>,
    /// Folder for the pictures, created if needed; the run's own if left out.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// png or svg
    #[arg(long, value_name = "NAME", default_value = "png", value_parser = format())]
    format: &'static str,
    /// light or dark
    #[arg(long, value_name = "NAME", default_value = "light", value_parser = picture::theme)]
    theme: Theme,
    /// Size of each picture in pixels; chosen by its content if left out.
    #[arg(long, value_name = "WxH", value_parser = picture::size)]
    size: Option<(u32, u32)>,
    /// Enlarge the pictures N times, letters and lines too.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    scale: Option<u32>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    former: FormerName,
    /// Current path of the run's data.
    #[arg(long, value_name = "FILE")]
    data: Option<String>,
}

fn format() -> impl TypedValueParser<Value = &'static str> {
    PossibleValuesParser::new(["png", "svg"]).map(|name| if name == "svg" { "svg" } else { "png" })
}

/// Runs the command.
pub fn run(args: PlotArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    let model_file = setup::find(args.run.as_deref(), context)?;
    let folder = model_file.parent().unwrap_or(Path::new("."));
    let model = Model::load(&model_file)?;
    let job = job(folder)?;
    // Where a model was chosen among several, its own.
    let of_model = || Job::of_provenance(&model.provenance).map(|own| own.with(|own| own.output = job.output.clone()));
    let job = if job.model.family == Family::Auto { of_model().unwrap_or(job) } else { job };
    let data = data(&job, &model, args.data.as_deref(), context)?;
    if data.dim != model.dim() {
        let what = format!("the data `{}`", data.name);
        return Err(Error::Dimension { what, expected: model.dim(), found: data.dim }.into());
    }
    let metrics = folder.join(METRICS);
    let text = cnflow::io::read_bytes(&metrics)?;
    let hint = "train again with `cnf train`: the file was changed after the training";
    let curves = Curves::parse(&String::from_utf8_lossy(&text)).map_err(|e| Error::read(&metrics, e, hint))?;
    let (_, held_out) = cnflow::train::held_out(&data);

    // What cannot be drawn is refused before a folder is made.
    args.shown.style(&model)?;
    let (theme, size, enlarged, ending) = (args.theme, args.size, args.scale, args.format);
    let look = Look { theme, size, enlarged, ending, shown: args.shown };
    let out = args.out.as_deref().unwrap_or(folder);
    let names = ["density", "interpolation", "latents", "nearest", "samples", "training"];
    let names = names.map(|name| out.join(format!("{name}.{}", args.format)));
    let data_file = Path::new(args.data.as_deref().unwrap_or(&job.data.source));
    place::spared(&names.each_ref().map(PathBuf::as_path), &[folder, data_file])?;
    let there = out.exists();
    std::fs::create_dir_all(out).map_err(|e| Error::write(out, e.kind()))?;
    let run = Run { job: &job, model: &model, data: &data, held_out, curves: &curves, context };
    let drawn = draw(&run, &look, &|name| out.join(name)).inspect_err(|_| {
        // A new folder without any picture is removed.
        if !there {
            let _ = std::fs::remove_dir(out);
        }
    })?;
    let words: String = drawn.iter().map(|path| format!("wrote {}\n", path.display())).collect();
    context.report(&words, &json!({ "run": folder, "data": data.name, "files": drawn }))
}

/// The job of the run.
fn job(folder: &Path) -> Result<Job> {
    let path = folder.join(CONFIG);
    if !path.is_file() {
        let hint = "give the folder of a run; for a model file alone, use `cnf sample --plot` or `cnf density --plot`";
        return Err(Error::read(folder, format!("it holds no `{CONFIG}`: it is not a run of `cnf train`"), hint).into());
    }
    let bytes = cnflow::io::read_bytes(&path)?;
    let job = Job::of_run(&String::from_utf8_lossy(&bytes));
    Ok(job.map_err(|e| Error::read(&path, e.to_string(), e.hint().unwrap_or_default()))?)
}

/// Its data, where they still exist.
fn data(job: &Job, model: &Model, given: Option<&str>, context: &Context) -> Result<Dataset> {
    let found = job.dataset_of(&model.spec, given).map(|(data, notes)| {
        context.notes_on_tables(&notes);
        data
    });
    Ok(found.map_err(|error| match error {
        Error::Read { path, .. } if !path.exists() => {
            let place = std::env::current_dir().map_or_else(|_| ".".into(), |here| here.display().to_string());
            let problem = format!("the run was trained on this file, which does not exist as seen from `{place}`");
            Error::read(&path, problem, "run from the folder of the training, or give the file with --data")
        }
        other => other,
    })?)
}
