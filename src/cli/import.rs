//! `cnf import`: the weights of a PyTorch net → a model file.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use cnflow::continuous::SolverSpec;
use cnflow::io::safetensors::ModelFile;
use cnflow::io::torch::{self, Sequential};
use cnflow::model::{FlowSpec, Model, Moments};
use cnflow::transform::Standardise;
use cnflow::velocity::{Activation, MlpSpec, TimeInput, VelocitySpec};
use cnflow::{Error, words};
use serde_json::json;

use super::output::{self, Kind};
use super::{Context, interrupt};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf import weights.safetensors --activation tanh -o model.safetensors
  cnf import mlp.safetensors --activation silu --condition-dim 10 -o model.safetensors

In Python: safetensors.torch.save_file(net.state_dict(), \"weights.safetensors\"), with net an nn.Sequential of Linear \
layers and one activation between each and the next, as torchcfm's MLP. Its input columns are x, the condition, and t; \
without t the field is autonomous. Weights of more than 32 bits are rounded. Where standardise.mean and standardise.std \
lie beside the layers, as `cnf export` writes them, the model standardises its columns with them. The names of its columns \
come from the file too.";

/// Arguments of `cnf import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Weights, saved by safetensors.torch.save_file.
    weights: PathBuf,
    /// The activation between the layers: tanh, softplus, silu, elu or relu.
    #[arg(long)]
    activation: String,
    /// The model file, .safetensors.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Number of condition columns among the inputs.
    #[arg(long, value_name = "N", default_value_t = 0)]
    condition_dim: usize,
    /// Number of frequencies of the time features: t, and a sine and a cosine of each.
    #[arg(long, value_name = "N", default_value_t = 0)]
    time_features: usize,
}

/// Runs the command.
pub fn run(args: ImportArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    output::check(&[(Kind::Model, Some(&args.output))], &[Some(&args.weights)])?;
    let activation: Activation = args.activation.parse().map_err(cnflow::Error::from)?;
    let (net, file) = read(&args)?;
    let velocity = VelocitySpec::Mlp(spec(&args, &net, activation)?);
    velocity.validate()?;
    let moments = torch::standardisation(&args.weights, &file, velocity.dim())?;
    let moments = moments.map(|(mean, std)| Standardise::new(mean, std)).transpose()?;
    let source = args.weights.file_name().map(|name| name.to_string_lossy().into_owned());
    let provenance = json!({ "imported_from": source }).as_object().cloned().unwrap_or_default();
    let mut spec = FlowSpec::plain(velocity, SolverSpec::default());
    spec.standardise = moments.as_ref().map(Moments::from);
    spec.names = torch::columns(&args.weights, &file, spec.dim())?;
    let model = Model { spec, theta: net.theta(), provenance };
    interrupt::critical_section(|| model.save(&args.output))?;
    report(&args, &net, &model, context)
}

fn read(args: &ImportArgs) -> Result<(Sequential, ModelFile)> {
    let file = ModelFile::read(&args.weights)?;
    if file.metadata.contains_key("cnf") {
        let hint = "use it as it is: `cnf sample MODEL -o sample.npy`";
        return Err(Error::read(&args.weights, "it is already a model of cnf", hint).into());
    }
    Ok((torch::sequential(&args.weights, &file)?, file))
}

/// The inputs of the net, from its sizes.
fn spec(args: &ImportArgs, net: &Sequential, activation: Activation) -> Result<MlpSpec> {
    // `sequential` gives at least one layer, hence two sizes.
    let [inputs, ref hidden @ .., dim] = net.sizes[..] else {
        return Err(Error::read(&args.weights, "it holds no layers", "save a whole nn.Sequential").into());
    };
    let condition_dim = args.condition_dim;
    let without_time = dim.saturating_add(condition_dim);
    let frequencies = args.time_features;
    let features = frequencies.saturating_mul(2).saturating_add(1);
    let time = match inputs {
        _ if frequencies > 0 && inputs == without_time.saturating_add(features) => TimeInput::Fourier { frequencies },
        _ if frequencies > 0 => {
            let columns = without_time.saturating_add(features);
            let problem = format!(
                "the net takes {inputs} columns and gives {dim}, but x, a condition of {condition_dim} and time with \
                 {frequencies} frequencies are {columns}"
            );
            return Err(
                Error::read(&args.weights, problem, "give the --time-features that the net was made with").into()
            );
        }
        _ if inputs == without_time.saturating_add(1) => TimeInput::Plain,
        _ if inputs == without_time => TimeInput::None,
        _ => {
            let columns = format!("{} with t, {without_time} without", without_time.saturating_add(1));
            let problem = format!(
                "the net takes {inputs} columns and gives {dim}, but x and a condition of {condition_dim} are {columns}"
            );
            let hint = match inputs.checked_sub(dim + 1) {
                Some(rest) if rest != condition_dim => {
                    format!("give --condition-dim {rest}, with t last among the inputs")
                }
                _ => "save a net with as many outputs as x has columns".into(),
            };
            return Err(Error::read(&args.weights, problem, hint).into());
        }
    };
    Ok(MlpSpec { dim, condition_dim, hidden: hidden.to_vec(), activation, time })
}

fn report(args: &ImportArgs, net: &Sequential, model: &Model, context: &Context) -> Result<()> {
    let facts = json!({
        "dim": model.dim(),
        "condition_dim": model.condition_dim(),
        "sizes": net.sizes,
        "activation": args.activation,
        "standardised": model.spec.standardise.is_some(),
        "names": model.spec.names,
        "n_params": model.theta.len(),
        "output": args.output,
    });
    let sizes = net.sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" → ");
    let (params, out) = (words::count(model.theta.len() as u64, "parameter"), args.output.display());
    let scaled = if model.spec.standardise.is_some() { ", columns standardised" } else { "" };
    context.report(&format!("{sizes}, {}, {params}{scaled}\nwrote {out}", args.activation), &facts)
}
