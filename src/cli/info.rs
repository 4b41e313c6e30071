//! `cnf info`: what a model file holds.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use cnf::flow::{Model, VelocitySpec};
use serde_json::{Value, json};

use super::{Context, setup, text};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf info                                                  the newest run
  cnf info model.safetensors
  cnf info runs/gauss --json";

/// Arguments of `cnf info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// A model file or a run folder; the newest run if left out.
    model: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: InfoArgs, context: &Context) -> Result<()> {
    let path = setup::find(args.model.as_deref(), context)?;
    let model = Model::load(&path)?;
    let tensors = model.spec.velocity.tensor_names();
    let listed: Vec<Value> = tensors.iter().map(|(name, shape)| json!({ "name": name, "shape": shape })).collect();
    let facts = json!({
        "model": path,
        "dim": model.dim(),
        "condition_dim": model.condition_dim(),
        "n_params": model.theta.len(),
        "velocity": serde_json::to_value(&model.spec.velocity)?,
        "standardise": serde_json::to_value(&model.spec.standardise)?,
        "columns": serde_json::to_value(&model.spec.columns)?,
        "base_components": model.spec.base.as_ref().map(|base| base.components()),
        "solver": serde_json::to_value(&model.spec.solver)?,
        "story": model.story,
        "tensors": listed,
    });
    let mut words = format!("{}\n{}", path.display(), about(&model));
    words += &model.story.iter().map(|(key, value)| line(key, &plain(value))).collect::<String>();
    words += &tensors.iter().map(|(name, shape)| line(name, &format!("{shape:?}"))).collect::<String>();
    context.report(&words, &facts)
}

fn line(key: &str, value: &str) -> String {
    format!("  {key:<18} {value}\n")
}

/// A JSON value as people read it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn about(model: &Model) -> String {
    let solver = &model.spec.solver;
    let net = match &model.spec.velocity {
        VelocitySpec::Mlp(spec) => {
            let sizes = spec.layer_sizes().iter().map(usize::to_string).collect::<Vec<_>>().join(" → ");
            format!("{sizes}, {}, time {}", spec.activation, plain(&json!(spec.time)))
        }
        VelocitySpec::Layers(spec) => plain(&json!(spec)),
    };
    let steps = match solver.fixed_steps {
        Some(steps) => format!("{} in {steps} steps", solver.method),
        None => format!("{}, rtol {:e}, atol {:e}", solver.method, solver.rtol, solver.atol),
    };
    let mut words = line("dimension", &model.dim().to_string());
    if model.condition_dim() > 0 {
        words += &line("condition", &format!("{} columns", model.condition_dim()));
    }
    words += &line("net", &net);
    words += &line("parameters", &model.theta.len().to_string());
    match &model.spec.standardise {
        None => words += &line("preprocessing", "none"),
        Some(moments) => {
            words += &line("column means", &text::few(&moments.mean));
            words += &line("column deviations", &text::few(&moments.std));
        }
    }
    if let Some(columns) = &model.spec.columns {
        let kinds: Vec<String> = columns.iter().map(|column| column.kind().to_string()).collect();
        words += &line("columns", &kinds.join(", "));
    }
    if let Some(base) = &model.spec.base {
        words += &line("base", &format!("a mixture of {} Gaussians", base.components()));
    }
    words += &line("solver", &steps);
    let by_quadrature = !solver.coupled();
    if by_quadrature {
        words += &line("log-density", &format!("by quadrature, atol {:e} nats", solver.log_density_atol()));
    } else {
        words += &line("log-density", "coupled to the path");
    }
    words + &line("trace", &solver.trace.to_string())
}
