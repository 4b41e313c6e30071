//! The flags of `cnf train`, in the sections of a [`Job`](cnflow::train::Job).
//!
//! An option is a field of a section (`src/train/job/`), with its default and its validation, and a flag here that sets
//! it. What a flag may conflict with, and how an error names it, follows from these lists.

use std::path::PathBuf;

use clap::Args;
use cnflow::discrete::Mask;
use cnflow::io::{Decimal, Header, Layout, Separator};
use cnflow::rows::MissingRows;
use cnflow::train::{
    ColumnTypes, DataSection, Family, FarRows, Job, ModelSection, Net, Objective, ObjectiveSection, Optimiser,
    OptimiserSection, OutputSection, Pairing, Path, Preconditioning, TimeWeight, ValidationScore, Whitening,
};
use cnflow::transform::{BinNoise, LevelScale};
use cnflow::velocity::Activation;

use crate::cli::solver::SolverArgs;

/// Flags of a section. Each sets the field of its name; a switch sets it to the value that is named here.
macro_rules! flags {
    (
        $(#[$about:meta])*
        $name:ident of $section:ident: $target:ty {
            $($(#[$flag:meta])* $field:ident: $kind:ty,)*
        }
        switches {
            $($(#[$switched:meta])* $switch:ident = $value:expr,)*
        }
    ) => {
        #[derive(Clone, Debug, Default, clap::Args)]
        $(#[$about])*
        pub struct $name {
            $($(#[$flag])* pub $field: Option<$kind>,)*
            $($(#[$switched])* pub $switch: bool,)*
        }

        impl $name {
            /// Sets the fields whose flags were given.
            pub fn set(&self, section: &mut $target) {
                $(if let Some(value) = &self.$field {
                    section.$field = value.clone().into();
                })*
                $(if self.$switch {
                    section.$switch = $value;
                })*
            }

            /// The fields whose flags were given, as errors of the library name them.
            pub fn given(&self) -> Vec<&'static str> {
                let mut given = Vec::new();
                $(if self.$field.is_some() {
                    given.push(concat!(stringify!($section), ".", stringify!($field)));
                })*
                $(if self.$switch {
                    given.push(concat!(stringify!($section), ".", stringify!($switch)));
                })*
                given
            }

            /// The fields that have a flag, as errors of the library name them, each with its flag.
            fn named() -> Vec<(String, String)> {
                let fields = [$(stringify!($field),)* $(stringify!($switch),)*];
                let command = Self::augment_args(clap::Command::new(""));
                let flags = command.get_arguments().map(|flag| flag.get_long().unwrap_or_default().to_owned());
                let named = |field: &str| format!("{}.{field}", stringify!($section));
                fields.into_iter().map(named).zip(flags).collect()
            }
        }
    };
}

flags! {
    /// Which rows.
    #[command(next_help_heading = "Data")]
    DataFlags of data: DataSection {
        /// A toy or digits (`cnf data` lists them), a .npy, .npz, .csv or -idx3-ubyte file (.parquet with the feature
        /// parquet), or a folder of PNG images [default: 8gaussians]
        #[arg(id = "data", long = "data", value_name = "NAME|FILE")]
        source: String,
        /// Split of a table: auto (NAME_split.npy beside it, else 80/10/10, of images at most 2500 each for validation
        /// and test), a file of codes, column:NAME, or shares as 0.8,0.1 [default: auto]
        #[arg(long, value_name = "RULE")]
        split: String,
        /// Columns of the table to model, in this order, by name, or by number from 0; if left out, all but those of
        /// --condition and --weights
        #[arg(id = "columns", long = "columns", value_name = "COLUMNS", value_delimiter = ',', num_args = 1,
            conflicts_with = "drop")]
        keep: Vec<String>,
        /// Columns of the table to leave out, by name, or by number from 0
        #[arg(long, value_name = "COLUMNS", value_delimiter = ',', num_args = 1)]
        drop: Vec<String>,
        /// Columns to condition on: NAME or NAME:KIND (or numbers from 0), KIND class or number; or a file with a row
        /// for each of the table's
        #[arg(long, value_name = "COLUMNS|FILE", value_delimiter = ',', num_args = 1)]
        condition: Vec<String>,
        /// How much each row counts: a column, by name or number, or a file with a number for each row [default: 1 each]
        #[arg(long, value_name = "COLUMN|FILE")]
        weights: String,
        /// Column type, NAME:KIND (or number from 0, not counting those of --condition), where KIND is angle[:PERIOD],
        /// unit[:LOW,HIGH], positive, heavy (heavy tails), integer[:LOW,HIGH] or
        /// class (words or whole numbers, given out by a table); or A,B,C:simplex for the parts of a constant sum
        #[arg(id = "column", long = "column", value_name = "NAME:KIND", conflicts_with = "init")]
        columns: Vec<String>,
        /// Types of the columns without --column: auto (positive or heavy where held-out rows clearly gain), or plain
        /// [default: auto]
        #[arg(long, value_name = "RULE", conflicts_with = "init")]
        column_types: ColumnTypes,
        /// Map of the grey levels of images: pieces (by their frequencies), linear, or logit[:ALPHA] [default: pieces]
        #[arg(long, value_name = "NAME", conflicts_with = "init")]
        pixel_map: LevelScale,
        /// Noise within a grey level of images: normal (truncated) or uniform [default: normal]
        #[arg(long, value_name = "NAME", conflicts_with = "init")]
        pixel_noise: BinNoise,
        /// Rows far beyond all others: leave-out or keep [default: leave-out]
        #[arg(long, value_name = "RULE")]
        far_rows: FarRows,
        /// Rows with a missing cell: drop, refuse, or marginal (the other cells count; gaussian, gaussian-shrunk, mixture)
        /// [default: drop]
        #[arg(long, value_name = "RULE")]
        missing: MissingRows,
    }
    switches {
        /// Leave the columns unscaled instead of standardising them inside the model
        #[arg(id = "no_standardise", long = "no-standardise")]
        standardise = false,
    }
}

flags! {
    /// How tables are read.
    TableArgs of data: DataSection {
        /// First line of text tables: auto (names or numbers), none (numbers) or first (names) [default: auto]
        #[arg(long, value_name = "RULE")]
        header: Header,
        /// Mark between the cells of text tables: a comma, ;, tab, | or space [default: by the first rows]
        #[arg(long, value_name = "MARK")]
        sep: Separator,
        /// Decimal mark of text tables: . or a comma [default: .]
        #[arg(long, value_name = "MARK")]
        decimal: Decimal,
        /// Words of missing cells in text tables beside NA, NaN, null and the like, such as -999
        #[arg(long, value_name = "WORDS", value_delimiter = ',', num_args = 1, allow_hyphen_values = true)]
        na: Vec<String>,
        /// Beginning of the lines that are skipped in text tables; none: no line is [default: #]
        #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
        comment: String,
        /// Axes of images: hwc (channels last), chw (channels first) or auto (by their sizes) [default: auto]
        #[arg(long, value_name = "ORDER")]
        layout: Layout,
    }
    switches {}
}

flags! {
    /// What is trained.
    #[command(next_help_heading = "Model")]
    ModelFlags of model: ModelSection {
        /// Model family: cnf (continuous flow), nice, realnvp, glow, spline (discrete flows), or a baseline without a
        /// net: gaussian, gaussian-shrunk (smaller correlations), gaussian-fixed (only its mean is fitted), mixture,
        /// histogram (one or two columns); or auto, the best of several in the time given [default: cnf; auto for a
        /// table, if no option of one model is given]
        #[arg(id = "model", long = "model", value_name = "NAME")]
        family: Family,
        /// Net of a velocity or of a discrete flow's couplings: mlp, concatsquash (FFJORD's, of candle layers; slower),
        /// or convolution (of images) [default: mlp; convolution for images]
        #[arg(long, value_name = "NAME")]
        net: Net,
        /// Preconditioning of the velocity: none, or gaussian (the exact velocity of a Gaussian, and the net for the
        /// rest) [default: none; gaussian where --base is a discrete flow]
        #[arg(long, value_name = "NAME")]
        preconditioning: Preconditioning,
        /// Widths of the hidden layers [default: 48,48,48,48,48 up to 16 dimensions, 256,256 beyond; 64,64 for discrete
        /// flows; of images channels, 16,32,32 at full, half and a quarter of the size, 48,48 for discrete flows]
        #[arg(long, value_name = "WIDTHS", value_delimiter = ',', num_args = 1)]
        hidden: Vec<usize>,
        /// Activation: tanh, softplus, silu, elu or relu [default: silu; relu for the nets of discrete flows]
        #[arg(long, value_name = "NAME")]
        activation: Activation,
        /// Number of sine and cosine frequencies of time as additional inputs [default: 0]
        #[arg(long, value_name = "N")]
        time_features: usize,
        /// Number of couplings of a discrete flow; of images in each level [default: 8; 12 for nice of rows]
        #[arg(long, value_name = "N")]
        depth: usize,
        /// Number of levels of a discrete flow of images [default: 2]
        #[arg(long, value_name = "N")]
        levels: usize,
        /// Columns that a coupling leaves unchanged: random, halves or parity [default: random]
        #[arg(long, value_name = "NAME", alias = "halves")]
        mask: Mask,
        /// Number of bins of a spline [default: 8]
        #[arg(long, value_name = "N")]
        bins: usize,
        /// Standard deviation of gaussian-fixed, in the data's units [default: 1]
        #[arg(long, value_name = "X")]
        sigma: f64,
        /// Base distribution of the velocity: normal, mixture (of Gaussians, chosen by validation NLL), mixture:K, a
        /// discrete flow that is trained first (spline, realnvp, glow, nice), best (a spline, or a mixture where held-out
        /// rows prefer one), or auto: for a table of more than two columns best, with --steps spline; else normal, but for a
        /// table the better of the flow and a mixture [default: auto]
        #[arg(long, value_name = "NAME", conflicts_with = "init")]
        base: String,
        /// Part of the run in which the discrete flow of --base is trained [default: 0.7]
        #[arg(long, value_name = "PART", conflicts_with = "init")]
        base_share: f64,
        /// Linear map before the couplings of a discrete flow of a table, which makes its columns uncorrelated: auto (before
        /// a spline, where held-out rows gain by it), none or cholesky [default: auto]
        #[arg(long, value_name = "RULE", conflicts_with = "init")]
        whitening: Whitening,
        /// Start from the weights, net and standardisation of a model file or a run
        #[arg(long, value_name = "MODEL")]
        init: PathBuf,
    }
    switches {
        /// Put an activation norm and an invertible linear map before each coupling, as in Glow
        #[arg(long)]
        linear = true,
    }
}

flags! {
    /// What is minimised.
    #[command(next_help_heading = "Objective")]
    ObjectiveFlags of objective: ObjectiveSection {
        /// Objective: matching (a regression, fast), likelihood (through the solver), or mixed (matching, then
        /// likelihood) [default: matching]
        #[arg(id = "objective", long = "objective", value_name = "NAME")]
        kind: Objective,
        /// Matching path from latent to row: straight, or vp (variance preserving) [default: straight; vp where --base is a
        /// discrete flow]
        #[arg(long, value_name = "NAME")]
        path: Path,
        /// Matching pairs of latents and rows: independent, or optimal (transport within the batch, within a class,
        /// near in numbers) [default: independent]
        #[arg(long, value_name = "NAME")]
        pairing: Pairing,
        /// Matching weight of the error at time t: sampled (as often as t is drawn), uniform, inverse (1/(1 - t)) or
        /// likelihood (t/(1 - t)) [default: sampled]
        #[arg(long, value_name = "NAME")]
        matching_weight: TimeWeight,
        /// Matching times t = 1 - (1 - u)^X, u uniform; above 1 they are more often near the data [default: 1; 2 for
        /// the weights inverse and likelihood]
        #[arg(long, value_name = "X")]
        time_exponent: f64,
        /// Share of a mixed run that is trained by likelihood, at its end [default: 0.2]
        #[arg(long, value_name = "PART")]
        likelihood_share: f64,
        /// Likelihood: weight of the paths' kinetic energy (RNODE) [default: 0]
        #[arg(long, value_name = "X")]
        kinetic: f64,
        /// Likelihood: weight of the squared Jacobian along the paths (RNODE) [default: 0]
        #[arg(long, value_name = "X")]
        jacobian: f64,
        /// Likelihood: end each path at a random time within 1 ± X (STEER) [default: 0]
        #[arg(long, value_name = "X")]
        steer: f64,
        /// Target of about N velocity evaluations per row, reached by adjusting the penalties; makes the run mixed
        #[arg(long, value_name = "N")]
        nfe_target: f64,
    }
    switches {}
}

flags! {
    /// How long, and with which steps.
    #[command(next_help_heading = "Optimiser")]
    OptimiserFlags of optimiser: OptimiserSection {
        /// Optimiser: adamw, or muon (orthogonal steps of the weight matrices) [default: adamw; muon for continuous flows
        /// of images and where --base is a discrete flow]
        #[arg(id = "optimiser", long = "optimiser", value_name = "NAME")]
        kind: Optimiser,
        /// Number of steps
        #[arg(long, value_name = "N", conflicts_with = "time")]
        steps: usize,
        /// Duration of the run, such as 60s, 2m or 1h [default: 25s]
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        time: f64,
        /// Rows per batch [default: 1024 for matching, 256 beyond 16 dimensions; 512 for likelihood; 32 for images]
        #[arg(long, value_name = "N")]
        batch: usize,
        /// Peak learning rate, after a linear rise and before a cosine fall [default: 1e-2 up to 16 dimensions, 2e-3
        /// beyond; 5e-3 and 1e-3 for discrete flows; 4e-3 for images, 8e-3 for discrete flows of them]
        #[arg(long)]
        lr: f64,
        /// Number of steps in which the learning rate rises [default: 2 % of the run]
        #[arg(long, value_name = "N")]
        warm_up: usize,
        /// Decay rates of the optimiser's two moments (AdamW) [default: 0.9,0.999]
        #[arg(long, value_name = "X,X", value_delimiter = ',', num_args = 1)]
        betas: Vec<f64>,
        /// Held-out score during the run: likelihood, or bound (of the NLL by matching, one evaluation per row)
        /// [default: likelihood]
        #[arg(long, value_name = "NAME")]
        validation: ValidationScore,
        /// Stop after N held-out scores without a better one; 0 for never [default: five clearly worse ones in a row,
        /// for tables]
        #[arg(long, value_name = "N")]
        patience: usize,
    }
    switches {}
}

flags! {
    /// What is kept on the way.
    #[command(next_help_heading = "Output")]
    OutputFlags of output: OutputSection {
        /// Interval between checkpoints, in steps (100) or time (10s) [default: 10s]
        #[arg(id = "checkpoint_every", long = "checkpoint-every", value_name = "STEPS|TIME")]
        checkpoint: String,
    }
    switches {}
}

/// `90`, `90s`, `1.5m`, `1h`.
pub fn seconds(text: &str) -> Result<f64, String> {
    let seconds = cnflow::words::seconds(text).or_else(|| text.parse().ok());
    let positive = seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    positive.ok_or_else(|| "write a time above 0, such as 60s, 2m or 1h".into())
}

/// How errors name the fields of a job.
#[derive(Clone, Debug)]
pub struct Names(Vec<(String, String)>);

impl Default for Names {
    /// Each field by its flag, where it has one.
    fn default() -> Self {
        Self(flags().into_iter().map(|(field, flag)| (field, format!("--{flag}"))).collect())
    }
}

impl Names {
    /// For a job from a file of `--config`, of this text: only the fields whose flags were `given` are named by them,
    /// the others by the keys of the file.
    pub fn of_config(text: &str, given: &[&str]) -> Self {
        let named_by_flag = flags().into_iter().filter(|(field, _)| given.contains(&field.as_str()));
        let mut names: Vec<_> = named_by_flag.map(|(field, flag)| (field, format!("--{flag}"))).collect();
        if Job::is_flat(text) {
            let keys = Job::flat_keys().filter(|(field, _)| !given.contains(&field.as_str()));
            names.extend(keys.map(|(field, key)| (field, format!("`{key}`"))));
        }
        Self(names)
    }

    /// Words of the library, with these names in place of the fields: `` `optimiser.lr` `` becomes --lr.
    pub fn put_into(&self, words: &str) -> String {
        self.0.iter().fold(words.to_owned(), |words, (field, name)| words.replace(&format!("`{field}`"), name))
    }
}

/// Each field that has a flag, with that.
fn flags() -> Vec<(String, String)> {
    let solver = SolverArgs::augment_args(clap::Command::new(""));
    let solver = solver.get_arguments().map(|flag| {
        let flag = flag.get_long().unwrap_or_default();
        (format!("solver.{}", flag.replace('-', "_")), flag.to_owned())
    });
    let others = [("seed", "seed"), ("model.precision", "precision"), ("solver.method", "solver")];
    let others = others.map(|(field, flag)| (field.to_owned(), flag.to_owned()));
    let sections = [
        DataFlags::named(),
        TableArgs::named(),
        ModelFlags::named(),
        ObjectiveFlags::named(),
        OptimiserFlags::named(),
        OutputFlags::named(),
    ];
    sections.into_iter().flatten().chain(solver).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    #[test]
    fn a_renamed_flag_keeps_its_old_name() {
        let command = ModelFlags::augment_args(clap::Command::new("cnf"));
        let matches = command.try_get_matches_from(["cnf", "--halves", "parity"]).unwrap();
        assert_eq!(ModelFlags::from_arg_matches(&matches).unwrap().mask, Some(Mask::Parity));
    }

    #[test]
    fn a_field_with_a_flag_is_named_by_it_and_another_stays() {
        let words =
            "`optimiser.lr`, `data.columns` `x`, `data.standardise`, `model.family`, `optimiser.clip`, `solver.rtol`";
        let named = "--lr, --column `x`, --no-standardise, --model, `optimiser.clip`, --rtol";
        assert_eq!(Names::default().put_into(words), named);
    }

    #[test]
    fn beside_a_file_only_flags_that_were_given_are_named() {
        let words = "`optimiser.lr`, `optimiser.batch`, `objective.time_exponent`, `model.family`";
        let sections = Names::of_config("[optimiser]\nlr = 0.1", &["optimiser.batch"]);
        assert_eq!(sections.put_into(words), words.replace("`optimiser.batch`", "--batch"));
        let flat = Names::of_config("lr = 0.1\nlate = 2.0", &["optimiser.batch"]);
        assert_eq!(flat.put_into(words), "`lr`, --batch, `late`, `model`");
    }

    #[test]
    fn flags_that_were_given_are_fields_of_a_job() {
        let job = Job::default();
        let named = flags().into_iter().map(|(field, _)| field);
        for field in named.filter(|field| field != "seed" && !field.ends_with(".seed") && field != "solver.precision") {
            // Unknown names have another error than those without a meaning.
            let known = !matches!(job.check_applies(&field), Err(cnflow::Error::Unknown { .. }));
            assert!(known || field == "solver.solver", "{field}");
        }
    }
}
