//! `cnf export`: a model file → the weights of its net as PyTorch names them.
//!
//! The inverse of `cnf import`: `net.0.weight`, `net.0.bias`, `net.2.weight`, … of an nn.Sequential, in f32 bit by bit.
//! Beside them lie `standardise.mean` and `standardise.std` (f64, one a column) where the model standardises: the net
//! moves u = (x − mean)/std. The file's metadata hold what the tensors cannot: the activation, the condition's columns,
//! how time enters, and the names of the data's columns. A state dict has no place for other parts: the report lists
//! them. A velocity of images goes out with all of them: its metadata describe the whole flow
//! ([`cnflow::model::state_dict`]).

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use cnflow::io::safetensors::{ModelFile, NamedTensor, Values};
use cnflow::io::torch;
use cnflow::model::{Architecture, FlowSpec, Model};
use cnflow::velocity::{MlpSpec, TimeInput, VelocitySpec};
use cnflow::{Error, words};
use serde_json::json;

use super::output::{self, Kind};
use super::{Context, info, interrupt, setup};

/// Shown below the help.
pub const EXAMPLES: &str = concat!(
    "\
Examples:
  cnf export model.safetensors -o weights.safetensors
  cnf export runs/gauss -o weights.safetensors
  cnf export runs/pixels -o pixels.safetensors              images

The file holds net.0.weight, net.0.bias, net.2.weight, … of an nn.Sequential, in f32. Where the model standardises its \
columns, standardise.mean and standardise.std (f64) lie beside them: the net's first inputs are u = (x − mean)/std, and \
its value is du/dt; the columns of a condition follow, then t, then with time features sin 2πt, cos 2πt, sin 4πt, … \
`cnf import` makes a model of the file again.

In Python, with torch and safetensors (examples/load_in_torch.py):

",
    include_str!("../../examples/load_in_torch.py"),
    "
Images: the file holds embedding.0.weight, … and ops.1.weight [out, in, ky, kx], …; the metadata describe the net and the \
flow around it. examples/image_net_in_torch.py is an nn.Module that reads them; docs/guide/images.md shows it."
);

/// Arguments of `cnf export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A model file or a run folder; the newest run if left out.
    model: Option<PathBuf>,
    /// The weights, .safetensors.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Runs the command.
pub fn run(args: ExportArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    let output = [(Kind::Model, Some(&*args.output))];
    output::check(&output, &[args.model.as_deref()])?;
    let path = setup::find(args.model.as_deref(), context)?;
    output::check(&output, &[Some(&path)])?;
    let model = Model::load(&path)?;
    if let Some(VelocitySpec::Image(_)) = model.spec.architecture.as_velocity().map(VelocitySpec::net) {
        let file = model.to_state_dict(&path)?;
        interrupt::critical_section(|| file.write(&args.output))?;
        return report_image(&args, &model, context);
    }
    let Architecture::Velocity(VelocitySpec::Mlp(net)) = &model.spec.architecture else {
        let problem = match model.spec.architecture.as_velocity().and_then(VelocitySpec::gaussian) {
            Some(_) => "its velocity is more than its net, which is all that an nn.Sequential can hold",
            None => "its net has layers that an nn.Sequential of Linear layers cannot hold",
        };
        let hint = "export an MLP; this model file can be read by safetensors.torch.load_file as it is";
        return Err(Error::read(&path, problem, hint).into());
    };
    if model.spec.base_flow.is_some() {
        let problem = "its velocity begins at a discrete flow, which an nn.Sequential cannot hold";
        let hint = "train with --base normal; this model file can be read by safetensors.torch.load_file as it is";
        return Err(Error::read(&path, problem, hint).into());
    }
    if !model.spec.simplexes.is_empty() {
        let problem = "its columns are parts of a whole, of which an nn.Sequential has the log-ratios alone";
        let hint = "this model file can be read by safetensors.torch.load_file as it is; `cnf info` shows the parts";
        return Err(Error::read(&path, problem, hint).into());
    }
    if model.spec.condition.is_some() {
        let problem = "it encodes its conditions (classes, standardised columns), which an nn.Sequential cannot hold";
        let hint = "this model file can be read by safetensors.torch.load_file as it is; `cnf info` shows the encoding";
        return Err(Error::read(&path, problem, hint).into());
    }
    let file = ModelFile { tensors: tensors(&model), metadata: about(net, &model.spec.names)? };
    interrupt::critical_section(|| file.write(&args.output))?;
    report(&args, &model, net, context)
}

/// θ under PyTorch's names, and the standardisation.
fn tensors(model: &Model) -> Vec<NamedTensor> {
    let mut rest = &model.theta[..];
    let mut named = Vec::new();
    for (name, shape) in model.spec.architecture.tensor_names() {
        let (values, after) = rest.split_at(shape.iter().product());
        named.push(NamedTensor { name, shape, values: Values::F32(values.to_vec()) });
        rest = after;
    }
    if let Some(moments) = &model.spec.standardise {
        for (name, values) in torch::STANDARDISE.into_iter().zip([&moments.mean, &moments.std]) {
            let (shape, values) = (vec![values.len()], Values::F64(values.clone()));
            named.push(NamedTensor { name: name.into(), shape, values });
        }
    }
    named
}

/// The metadata beside the tensors, as text; `format` is what PyTorch's own files have.
fn about(net: &MlpSpec, names: &[String]) -> Result<BTreeMap<String, String>> {
    let time = match net.time {
        TimeInput::Plain => "t".into(),
        TimeInput::None => "none".into(),
        TimeInput::Fourier { frequencies } => format!("t and {frequencies} frequencies"),
    };
    let mut about: BTreeMap<String, String> = [
        ("format", "pt".into()),
        ("activation", net.activation.to_string()),
        ("condition_dim", net.condition_dim.to_string()),
        ("time", time),
    ]
    .map(|(key, value): (&str, String)| (key.to_owned(), value))
    .into();
    if !names.is_empty() {
        about.insert(torch::COLUMNS.to_owned(), serde_json::to_string(names)?);
    }
    Ok(about)
}

/// The parts of a flow that a state dict cannot hold, by their names in the model file.
fn left_out(spec: &FlowSpec) -> Result<Vec<String>> {
    let parts = serde_json::to_value(spec)?;
    let held = |name: &&String| !matches!(name.as_str(), "velocity" | "standardise" | "names");
    Ok(parts.as_object().into_iter().flat_map(|parts| parts.keys()).filter(held).cloned().collect())
}

fn report_image(args: &ExportArgs, model: &Model, context: &Context) -> Result<()> {
    let velocity = model.spec.architecture.as_velocity().map_or_else(String::new, info::velocity);
    let back = format!("cnf import {} -o model.safetensors", args.output.display());
    let facts = json!({
        "n_params": model.theta.len(),
        "velocity": velocity,
        "standardised": model.spec.standardise.is_some(),
        "left_out": [],
        "back": back,
        "output": args.output,
    });
    let words = format!(
        "{velocity}, {}\nthe metadata describe the net, pixels, conditions and solver\nback: {back}\nwrote {}",
        words::count(model.theta.len() as u64, "parameter"),
        args.output.display(),
    );
    context.report(&words, &facts)
}

fn report(args: &ExportArgs, model: &Model, net: &MlpSpec, context: &Context) -> Result<()> {
    let left_out = left_out(&model.spec)?;
    let mut back = format!("cnf import {} --activation {} -o model.safetensors", args.output.display(), net.activation);
    if net.condition_dim > 0 {
        back += &format!(" --condition-dim {}", net.condition_dim);
    }
    if let TimeInput::Fourier { frequencies } = net.time {
        back += &format!(" --time-features {frequencies}");
    }
    let facts = json!({
        "n_params": model.theta.len(),
        "sizes": net.layer_sizes(),
        "activation": net.activation.to_string(),
        "standardised": model.spec.standardise.is_some(),
        "left_out": left_out,
        "back": back,
        "output": args.output,
    });
    let sizes = net.layer_sizes().iter().map(usize::to_string).collect::<Vec<_>>().join(" → ");
    let inputs = match &model.spec.standardise {
        Some(_) => "the net takes u = (x − mean)/std: standardise.mean and standardise.std are in the file",
        None => "the net takes x as it is: the model does not standardise",
    };
    let words = format!(
        "{sizes}, {}, {}\n{inputs}\nnot in the file: {}\nback: {back}\nwrote {}",
        net.activation,
        words::count(model.theta.len() as u64, "parameter"),
        left_out.join(", "),
        args.output.display(),
    );
    context.report(&words, &facts)
}
