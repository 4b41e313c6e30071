//! The flags of `cnf train`, in the sections of a [`Job`](cnflow::train::Job).
//!
//! An option is a field of a section (`src/train/job/`), with its default and its validation, and a flag here that sets it.
//! What a flag may conflict with, and how an error names it, follows from these lists.

use std::path::PathBuf;

use clap::Args;
use cnflow::discrete::Split;
use cnflow::train::{
    DataSection, Family, FarRows, ModelSection, Net, Objective, ObjectiveSection, OptimiserSection, OutputSection,
    Pairing, Path,
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
        /// A toy or digits (`cnf data` lists them), a .npy, .npz, .csv or -idx3-ubyte file, or a folder of PNG images [default: 8gaussians]
        #[arg(id = "data", long = "data", value_name = "NAME|FILE")]
        source: String,
        /// Split of a table: auto (NAME_split.npy beside it, else 80/10/10), a file of codes, column:NAME, or shares as 0.8,0.1 [default: auto]
        #[arg(long, value_name = "RULE")]
        split: String,
        /// Columns of the table to leave out, by name, or by number from 0
        #[arg(long, value_name = "COLUMNS", value_delimiter = ',', num_args = 1)]
        drop: Vec<String>,
        /// Columns to condition on: NAME or NAME:KIND (or numbers from 0), KIND class or number; or a file with a row for each of the table's
        #[arg(long, value_name = "COLUMNS|FILE", value_delimiter = ',', num_args = 1)]
        condition: Vec<String>,
        /// Column type, NAME:KIND (or number from 0, not counting those of --condition), where KIND is angle[:PERIOD], unit[:LOW,HIGH] or positive
        #[arg(id = "column", long = "column", value_name = "NAME:KIND", conflicts_with = "init")]
        columns: Vec<String>,
        /// Map of the grey levels of images: pieces (by their frequencies), linear, or logit[:ALPHA] [default: pieces]
        #[arg(long, value_name = "NAME", conflicts_with = "init")]
        pixel_map: LevelScale,
        /// Noise within a grey level of images: normal (truncated) or uniform [default: normal]
        #[arg(long, value_name = "NAME", conflicts_with = "init")]
        pixel_noise: BinNoise,
        /// Rows far beyond all others: leave-out or keep [default: leave-out]
        #[arg(long, value_name = "RULE")]
        far_rows: FarRows,
    }
    switches {
        /// Leave the columns unscaled instead of standardising them inside the model
        #[arg(id = "no_standardise", long = "no-standardise")]
        standardise = false,
    }
}

flags! {
    /// What is trained.
    #[command(next_help_heading = "Model")]
    ModelFlags of model: ModelSection {
        /// Model family: cnf (continuous flow), nice, realnvp, glow, spline (discrete flows), or a baseline without a net: gaussian, gaussian-fixed (only its mean is fitted), mixture, histogram (one or two columns) [default: cnf]
        #[arg(id = "model", long = "model", value_name = "NAME")]
        family: Family,
        /// Net of the velocity: mlp, or concatsquash (FFJORD's, of candle layers; slower) [default: mlp]
        #[arg(long, value_name = "NAME")]
        net: Net,
        /// Widths of the hidden layers [default: 48,48,48,48,48 up to 16 dimensions, 256,256 beyond]
        #[arg(long, value_name = "WIDTHS", value_delimiter = ',', num_args = 1)]
        hidden: Vec<usize>,
        /// Activation: tanh, softplus, silu, elu or relu [default: silu; relu for the nets of discrete flows]
        #[arg(long, value_name = "NAME")]
        activation: Activation,
        /// Number of sine and cosine frequencies of time as additional inputs [default: 0]
        #[arg(long, value_name = "N")]
        time_features: usize,
        /// Number of couplings of a discrete flow [default: 8; 12 for nice]
        #[arg(long, value_name = "N")]
        depth: usize,
        /// Columns that a coupling leaves unchanged: random, halves or parity [default: random]
        #[arg(long, value_name = "NAME")]
        halves: Split,
        /// Number of bins of a spline [default: 8]
        #[arg(long, value_name = "N")]
        bins: usize,
        /// Standard deviation of gaussian-fixed, in the data's units [default: 1]
        #[arg(long, value_name = "X")]
        sigma: f64,
        /// Base distribution of the velocity: normal, mixture (of Gaussians, chosen by validation NLL), mixture:K, or auto: normal, but for a table the better of the flow and a mixture [default: auto]
        #[arg(long, value_name = "NAME", conflicts_with = "init")]
        base: String,
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
        /// Objective: matching (a regression, fast), likelihood (through the solver), or mixed (matching, then likelihood) [default: matching]
        #[arg(id = "objective", long = "objective", value_name = "NAME")]
        kind: Objective,
        /// Matching path from latent to row: straight, or vp (variance preserving) [default: straight]
        #[arg(long, value_name = "NAME")]
        path: Path,
        /// Matching pairs of latents and rows: independent, or optimal (transport within the batch, within a class, near in numbers) [default: independent]
        #[arg(long, value_name = "NAME")]
        pairing: Pairing,
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
        /// Number of steps
        #[arg(long, value_name = "N", conflicts_with = "time")]
        steps: usize,
        /// Duration of the run, such as 60s, 2m or 1h [default: 25s]
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        time: f64,
        /// Rows per batch [default: 1024 for matching, 256 beyond 16 dimensions; 512 for likelihood]
        #[arg(long, value_name = "N")]
        batch: usize,
        /// Peak learning rate, after a linear rise and before a cosine fall [default: 1e-2 up to 16 dimensions, 2e-3 beyond; 5e-3 and 1e-3 for discrete flows]
        #[arg(long)]
        lr: f64,
        /// Stop after N held-out scores without a better one; 0 for never [default: five clearly worse ones in a row, for tables]
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
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, unit) =
        units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1.0));
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number * unit),
        _ => Err("write a time above 0, such as 60s, 2m or 1h".into()),
    }
}

/// Words of the library, with flags in place of the fields that have one: `` `optimiser.lr` `` becomes --lr.
pub fn with_flags(words: &str) -> String {
    let solver = SolverArgs::augment_args(clap::Command::new(""));
    let solver = solver.get_arguments().map(|flag| {
        let flag = flag.get_long().unwrap_or_default();
        (format!("solver.{}", flag.replace('-', "_")), flag.to_owned())
    });
    let others = [
        ("seed", "seed"),
        ("model.precision", "precision"),
        ("data.header", "header"),
        ("data.layout", "layout"),
        ("solver.method", "solver"),
    ];
    let others = others.map(|(field, flag)| (field.to_owned(), flag.to_owned()));
    let sections = [
        DataFlags::named(),
        ModelFlags::named(),
        ObjectiveFlags::named(),
        OptimiserFlags::named(),
        OutputFlags::named(),
    ];
    let named = sections.into_iter().flatten().chain(solver).chain(others);
    named.fold(words.to_owned(), |words, (field, flag)| words.replace(&format!("`{field}`"), &format!("--{flag}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_with_a_flag_is_named_by_it_and_another_stays() {
        let words =
            "`optimiser.lr`, `data.columns` `x`, `data.standardise`, `model.family`, `optimiser.clip`, `solver.rtol`";
        let named = "--lr, --column `x`, --no-standardise, --model, `optimiser.clip`, --rtol";
        assert_eq!(with_flags(words), named);
    }
}
