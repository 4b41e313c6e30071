//! The arguments of `cnf train`, and the job that they make.

use std::path::PathBuf;

use clap::Args as _;
use cnflow::Error;
use cnflow::model::Model;
use cnflow::train::{Job, Net, Objective};
use cnflow::velocity::TimeInput;

use super::flags::{DataFlags, ModelFlags, Names, ObjectiveFlags, OptimiserFlags, OutputFlags, TableArgs};
use crate::cli::picture::Shown;
use crate::cli::solver::SolverArgs;
use crate::cli::{Context, setup};

/// Train a flow, continuous or discrete, on a toy or a table.
#[derive(clap::Args, Debug)]
pub struct TrainArgs {
    #[command(flatten)]
    data: DataFlags,
    #[command(flatten)]
    pub tables: TableArgs,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    objective: ObjectiveFlags,
    #[command(flatten)]
    optimiser: OptimiserFlags,
    #[command(flatten)]
    solver: SolverArgs,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    picture: PictureArgs,
    #[command(flatten)]
    place: PlaceArgs,
    /// Resume the interrupted run in this folder, with its own options
    #[arg(long, value_name = "RUN", conflicts_with_all = decided(), help_heading = "Run")]
    pub(super) resume: Option<PathBuf>,
    /// Watch the run over the whole terminal: curves, and in two dimensions the density
    #[arg(long, conflicts_with = "quiet", help_heading = "Run")]
    pub(super) watch: bool,
}

/// How pictures are drawn.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Pictures")]
struct PictureArgs {
    /// Names of the columns in pictures
    #[arg(long, value_name = "NAME", num_args = 1..)]
    names: Vec<String>,
    /// Let the second axis of pictures grow downwards, as magnitudes do
    #[arg(long)]
    invert_y: bool,
    #[command(flatten)]
    shown: Shown,
}

/// Where a new run gets its job, and where it is written.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Run")]
struct PlaceArgs {
    /// Read options from a TOML file, such as the config.toml of a run; flags override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the run [default: runs/DATA-OBJECTIVE-N, or runs/DATA-MODEL-N, with the next free N]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Overwrite the run that is already there
    #[arg(long)]
    force: bool,
}

/// What a run that goes on has decided already: every option of a new one.
fn decided() -> Vec<clap::Id> {
    let groups = [
        DataFlags::augment_args,
        TableArgs::augment_args,
        ModelFlags::augment_args,
        ObjectiveFlags::augment_args,
        OptimiserFlags::augment_args,
        SolverArgs::augment_args,
        OutputFlags::augment_args,
        PictureArgs::augment_args,
        PlaceArgs::augment_args,
    ];
    let command = groups.into_iter().fold(clap::Command::new(""), |command, add| add(command));
    command.get_arguments().map(|flag| flag.get_id().clone()).collect()
}

impl TrainArgs {
    /// The files that are read beside those that the job names.
    pub fn read(&self) -> Vec<&std::path::Path> {
        self.place.config.as_deref().into_iter().collect()
    }

    /// The given folder, and whether a run that is there may be overwritten.
    pub(super) fn out(&self) -> (Option<&std::path::Path>, bool) {
        (self.place.out.as_deref(), self.place.force)
    }

    /// The job: flags over the file over the defaults; and the model it starts from.
    pub(super) fn job(&self, context: &Context) -> anyhow::Result<(Job, Option<Model>)> {
        let mut job = match &self.place.config {
            None => Job::default(),
            Some(path) => {
                let bytes = cnflow::io::read_bytes(path)?;
                let text = String::from_utf8_lossy(&bytes);
                // Nothing has named a field yet.
                let _ = context.names.set(Names::of_config(&text, &self.given()));
                Job::from_toml(&text).map_err(|e| Error::read(path, e.to_string(), e.hint().unwrap_or_default()))?
            }
        };
        if let Some(family) = self.model.family.filter(|family| *family != job.model.family) {
            // The net and training that a file sets for another model do not apply to this one.
            job = job.of_family(family);
        }
        if self.objective.nfe_target.is_some() && job.objective.kind == Objective::Matching {
            job.objective.kind = Objective::Mixed;
        }
        if self.optimiser.steps.is_some() || self.optimiser.time.is_some() {
            // One of them ends the run.
            (job.optimiser.steps, job.optimiser.time) = (None, None);
        }
        self.data.set(&mut job.data);
        self.model.set(&mut job.model);
        self.objective.set(&mut job.objective);
        self.optimiser.set(&mut job.optimiser);
        self.output.set(&mut job.output);
        self.tables.set(&mut job.data);
        job.seed = self.solver.seed.unwrap_or(job.seed);
        job.model.precision = self.solver.precision.unwrap_or(job.model.precision);
        self.solver.apply(&mut job.solver)?;
        let picture = &mut job.output.picture;
        if !self.picture.names.is_empty() {
            picture.names.clone_from(&self.picture.names);
        }
        picture.invert_y |= self.picture.invert_y;
        if !self.picture.shown.axes.is_empty() {
            picture.columns.clone_from(&self.picture.shown.axes);
        }
        picture.log = self.picture.shown.log.log.or(picture.log);
        let start = match &job.model.init {
            None => None,
            Some(path) => {
                let path = setup::find(Some(path), context)?;
                let model = Model::load(&path)?;
                self.check_start(&model)?;
                job.model.init = Some(path);
                job.adopt(&model)?;
                Some(model)
            }
        };
        // Also a flag whose value is the default has to have a meaning.
        self.given().into_iter().try_for_each(|field| job.check_applies(field))?;
        self.check_toy(&job)?;
        if let (Some(kind), Some(Objective::Matching)) = (job.model.family.discrete(), self.objective.kind) {
            return Err(Error::invalid(
                format!("{} has no velocity to match", kind.name()),
                "leave out --objective: a discrete flow is trained by likelihood",
            )
            .into());
        }
        Ok((job, start))
    }

    /// Whether the tolerance is somebody's choice: by a flag, by a file, or that of a model to start from.
    pub(super) fn sets_tolerance(&self) -> bool {
        let flags = self.solver.rtol.is_some() || self.solver.atol.is_some();
        flags || self.place.config.is_some() || self.model.init.is_some()
    }

    /// Whether nobody has named a model, or a number of steps, which only one of them has.
    pub(super) fn leaves_model_open(&self) -> bool {
        self.model.family.is_none() && self.place.config.is_none() && self.optimiser.steps.is_none()
    }

    /// The fields whose flags were given.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let others = [("seed", self.solver.seed.is_some()), ("model.precision", self.solver.precision.is_some())];
        let others = others.into_iter().filter(|(_, given)| *given).map(|(field, _)| field);
        let sections = [
            self.data.given(),
            self.tables.given(),
            self.model.given(),
            self.objective.given(),
            self.optimiser.given(),
            self.solver.given(),
            self.output.given(),
        ];
        sections.into_iter().flatten().chain(others).collect()
    }

    /// Rejects flags about the file of a table where the data are a toy.
    fn check_toy(&self, job: &Job) -> cnflow::Result<()> {
        let toy = &job.data.source;
        if cnflow::rows::toys::find(toy).is_err() {
            return Ok(());
        }
        let of_tables = ["data.split", "data.keep", "data.drop", "data.missing"];
        let given = self.given().into_iter().filter(|field| of_tables.contains(field));
        match given.chain(self.tables.given()).next() {
            None => Ok(()),
            Some(field) => Err(Error::invalid(
                format!("`{field}` has no meaning for the toy `{toy}`, which has no file"),
                format!("leave out `{field}`, or set `data.source` to a table"),
            )),
        }
    }

    /// Rejects flags that set another net than that of the model to start from.
    fn check_start(&self, model: &Model) -> cnflow::Result<()> {
        let flags = &self.model;
        let velocity = model.spec.architecture.as_velocity();
        let net = velocity.and_then(Net::of);
        let of_velocity = |differs: bool| velocity.is_some() && differs;
        let frequencies = net.as_ref().map(|(_, net)| match net.time {
            TimeInput::Fourier { frequencies } => frequencies,
            TimeInput::Plain | TimeInput::None => 0,
        });
        let images = model.spec.architecture.as_discrete().map(|spec| spec.image.is_some());
        let of_couplings = images.map(|images| if images { Net::Convolution } else { Net::Mlp });
        let (kind, hidden) =
            (net.as_ref().map(|(kind, _)| *kind).or(of_couplings), net.as_ref().map(|(_, net)| &net.hidden));
        let activation = net.as_ref().map(|(_, net)| net.activation);
        let differs = [
            ("--model", flags.family.is_some_and(|family| family.name() != model.spec.architecture.name())),
            ("--net", flags.net.is_some_and(|given| Some(given) != kind)),
            ("--hidden", flags.hidden.as_ref().is_some_and(|given| of_velocity(Some(given) != hidden))),
            ("--activation", flags.activation.is_some_and(|given| of_velocity(Some(given) != activation))),
            ("--time-features", flags.time_features.is_some_and(|n| frequencies != Some(n))),
            ("--no-standardise", self.data.standardise && model.spec.standardise.is_some()),
        ];
        match differs.into_iter().find(|(_, differs)| *differs) {
            None => Ok(()),
            Some((flag, _)) => Err(Error::invalid(
                format!("{flag} contradicts the model to start from"),
                format!("leave out {flag}: the start decides the net; `cnf info MODEL` shows it"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_resumed_refuses_every_option_of_a_new_one() {
        let command = TrainArgs::augment_args(clap::Command::new("train"));
        let own = command.get_arguments().map(|flag| flag.get_id().clone());
        let mut new: Vec<clap::Id> = own.filter(|id| id != "resume" && id != "watch").collect();
        let mut decided = decided();
        new.sort();
        decided.sort();
        assert_eq!(decided, new);
    }
}
