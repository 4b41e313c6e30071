//! `cnf import`: the weights of a PyTorch net → a model file.
//!
//! A file that describes its flow, as `cnf export` writes it for images, becomes that flow. Of others the options say
//! what net they are: an nn.Sequential of Linear layers, or with `--image` the net of images.

mod image;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use cnflow::continuous::SolverSpec;
use cnflow::io::safetensors::ModelFile;
use cnflow::io::torch::{self, Sequential};
use cnflow::model::{FlowSpec, Model, Moments, state_dict};
use cnflow::transform::Standardise;
use cnflow::velocity::{Activation, MlpSpec, TimeInput, VelocitySpec};
use cnflow::{Error, words};
use serde_json::json;

use self::image::ImageArgs;
use super::output::{self, Kind};
use super::{Context, info, interrupt};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf import weights.safetensors --activation tanh -o model.safetensors
  cnf import mlp.safetensors --activation silu --condition-dim 10 -o model.safetensors
  cnf import pixels.safetensors -o model.safetensors        images, as `cnf export` wrote them

In Python: safetensors.torch.save_file(net.state_dict(), \"weights.safetensors\"), with net an nn.Sequential of Linear \
layers and one activation between each and the next, as torchcfm's MLP. Its input columns are x, the condition, and t; \
without t the field is autonomous. Weights of more than 32 bits are rounded. Where standardise.mean and standardise.std \
lie beside the layers, as `cnf export` writes them, the model standardises its columns with them. The names of its columns \
come from the file too.

Images: a file that `cnf export` wrote describes its net, pixels, conditions and solver in its metadata, and needs no \
options. A state dict without these metadata needs --image, and has to have the names and shapes that `cnf export` \
writes for `--net convolution`; the model's rows are then real numbers in the order [y][x][channel], and the conditions \
are columns of numbers.";

/// Arguments of `cnf import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Weights, saved by safetensors.torch.save_file.
    weights: PathBuf,
    /// The activation between the layers: tanh, softplus, silu, elu or relu; needed where the file has none.
    #[arg(long)]
    activation: Option<String>,
    /// The model file, .safetensors.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Number of condition columns among the inputs.
    #[arg(long, value_name = "N", default_value_t = 0)]
    condition_dim: usize,
    /// Number of frequencies of the time features: t, and a sine and a cosine of each.
    #[arg(long, value_name = "N", default_value_t = 0)]
    time_features: usize,
    #[command(flatten)]
    image: ImageArgs,
}

/// Runs the command.
pub fn run(args: ImportArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    args.image.check()?;
    output::check(&[(Kind::Model, Some(&args.output))], &[Some(&args.weights)])?;
    let file = read(&args)?;
    let (mut model, words) = if file.metadata.contains_key(state_dict::DESCRIPTION) {
        described(&args, &file)?
    } else if let Some(size) = &args.image.image {
        let velocity = args.image.velocity(size, args.condition_dim)?;
        let theta = args.image.theta(&args.weights, &file, &velocity)?;
        let words = info::velocity(&velocity);
        (plain(&args, &file, velocity, theta)?, words)
    } else {
        mlp(&args, &file)?
    };
    let source = args.weights.file_name().map(|name| name.to_string_lossy().into_owned());
    model.provenance.insert("imported_from".into(), json!(source));
    interrupt::critical_section(|| model.save(&args.output))?;
    report(&args, &words, &model, context)
}

fn read(args: &ImportArgs) -> Result<ModelFile> {
    let file = ModelFile::read(&args.weights)?;
    if file.metadata.contains_key("cnf") {
        let hint = "use it as it is: `cnf sample MODEL -o sample.npy`";
        return Err(Error::read(&args.weights, "it is already a model of cnf", hint).into());
    }
    Ok(file)
}

/// The model that the file describes, in words too.
fn described(args: &ImportArgs, file: &ModelFile) -> Result<(Model, String)> {
    let given = [
        ("--activation", args.activation.is_some()),
        ("--condition-dim", args.condition_dim > 0),
        ("--time-features", args.time_features > 0),
        ("--image", args.image.image.is_some()),
    ];
    if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
        let problem = format!("its metadata describe its net, and {option} was given");
        return Err(Error::read(&args.weights, problem, format!("leave out {option}")).into());
    }
    let mut model = Model::of_state_dict(&args.weights, file)?;
    // Scores and counts of steps belong to the weights that were exported, and these may be others.
    model.provenance.retain(|key, _| key == "precision");
    let words = match model.spec.architecture.as_velocity() {
        Some(velocity) => info::velocity(velocity),
        None => model.spec.architecture.name().to_owned(),
    };
    Ok((model, words))
}

/// An nn.Sequential of Linear layers, in words too.
fn mlp(args: &ImportArgs, file: &ModelFile) -> Result<(Model, String)> {
    let named = args.activation.as_ref().or(file.metadata.get("activation")).ok_or_else(|| {
        let hint = "give --activation tanh, softplus, silu, elu or relu; or --image HEIGHTxWIDTH for a net of images";
        Error::read(&args.weights, "the activation of its layers is unknown", hint)
    })?;
    let activation: Activation = named.parse().map_err(cnflow::Error::from)?;
    let net = torch::sequential(&args.weights, file)?;
    let velocity = VelocitySpec::Mlp(spec(args, &net, activation)?);
    velocity.validate()?;
    let sizes = net.sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" → ");
    Ok((plain(args, file, velocity, net.theta())?, format!("{sizes}, {activation}")))
}

/// A velocity with its weights, and the standardisation and the names that lie beside them.
fn plain(args: &ImportArgs, file: &ModelFile, velocity: VelocitySpec, theta: Vec<f32>) -> Result<Model> {
    let moments = torch::standardisation(&args.weights, file, velocity.dim())?;
    let moments = moments.map(|(mean, std)| Standardise::new(mean, std)).transpose()?;
    let mut spec = FlowSpec::plain(velocity, SolverSpec::default());
    spec.standardise = moments.as_ref().map(Moments::from);
    spec.names = torch::columns(&args.weights, file, spec.dim())?;
    Ok(Model { spec, theta, provenance: serde_json::Map::new() })
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

fn report(args: &ImportArgs, what: &str, model: &Model, context: &Context) -> Result<()> {
    let mut facts = json!({
        "dim": model.dim(),
        "condition_dim": model.condition_dim(),
        "velocity": what,
        "standardised": model.spec.standardise.is_some(),
        "pixels": model.spec.pixels.is_some(),
        "names": model.spec.names,
        "n_params": model.theta.len(),
        "output": args.output,
    });
    if let Some(VelocitySpec::Mlp(net)) = model.spec.architecture.as_velocity() {
        facts["sizes"] = json!(net.layer_sizes());
        facts["activation"] = json!(net.activation.to_string());
    }
    let (params, out) = (words::count(model.theta.len() as u64, "parameter"), args.output.display());
    let scaled = if model.spec.standardise.is_some() { ", columns standardised" } else { "" };
    context.report(&format!("{what}, {params}{scaled}\nwrote {out}"), &facts)
}
