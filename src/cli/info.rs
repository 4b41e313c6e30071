//! `cnf info`: what a model file holds, its provenance, and how steep its velocity is.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use cnflow::discrete::{DiscreteSpec, ImagePlan, LayerSpec, Transform};
use cnflow::model::{Architecture, BaseFlow, Model};
use cnflow::stats::Dominance;
use cnflow::train::Net;
use cnflow::transform::{ContextColumn, Range, Simplex};
use cnflow::velocity::{GaussianPath, ImageShape, Steepest, VelocitySpec, lipschitz_bound};
use cnflow::{rng, words};
use serde_json::{Map, Value, json};

use super::{Context, setup, text};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf info                                                  the newest run
  cnf info model.safetensors
  cnf info runs/gauss --json

Steepness: the largest ‖∂m/∂x‖₂ over points along sampled paths, in the flow's own coordinates. It limits an explicit step \
and the growth of errors. It is a lower estimate: the Lipschitz constant lies between it and the bound, the product of the \
layers' norms, which is usually far larger.";

/// The stream of the latents of the paths.
const PATHS_STREAM: u64 = 0x11bf_0001;
/// Paths and times of the search, where Jacobians are formed and where they are iterated on.
const FORMED: (usize, usize) = (128, 33);
const ITERATED: (usize, usize) = (32, 9);

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
    let mut tensors = model.spec.architecture.tensor_names();
    tensors.extend(model.spec.base_flow.iter().flat_map(BaseFlow::tensor_names));
    let listed: Vec<Value> = tensors.iter().map(|(name, shape)| json!({ "name": name, "shape": shape })).collect();
    let steepness = Steepness::of(&model);
    let facts = json!({
        "model": path,
        "dim": model.dim(),
        "condition_dim": model.condition_dim(),
        "n_params": model.n_params(),
        "kind": model.spec.architecture.name(),
        "architecture": serde_json::to_value(&model.spec.architecture)?,
        "velocity": serde_json::to_value(model.spec.architecture.as_velocity())?,
        "net": model.spec.architecture.as_velocity().and_then(Net::of).map(|(net, _)| net.name()),
        "names": model.spec.names,
        "condition": serde_json::to_value(&model.spec.condition)?,
        "condition_ranges": serde_json::to_value(&model.spec.condition_ranges)?,
        "class_counts": model.spec.class_counts,
        "class_words": model.spec.class_words,
        "classes": serde_json::to_value(&model.spec.classes)?,
        "simplexes": serde_json::to_value(&model.spec.simplexes)?,
        "layers": layers(&model),
        "standardise": serde_json::to_value(&model.spec.standardise)?,
        "columns": serde_json::to_value(&model.spec.columns)?,
        "pixels": serde_json::to_value(&model.spec.pixels)?,
        "base_flow": serde_json::to_value(model.spec.base_flow.as_ref().map(|flow| &flow.layers))?,
        "base_components": model.spec.base.as_ref().map(|base| base.components()),
        "solver": serde_json::to_value(&model.spec.solver)?,
        "story": model.provenance,
        "lipschitz": steepness.json(),
        "tensors": listed,
    });
    let mut words = format!("{}\n{}", path.display(), about(&model));
    words += &provenance(&model.provenance);
    words += &steepness.words();
    words += &heading("tensors");
    words += &tensors.iter().map(|(name, shape)| line(name, &format!("{shape:?}"))).collect::<String>();
    context.report(&words, &facts)
}

fn heading(words: &str) -> String {
    format!("{words}\n")
}

fn line(key: &str, value: &str) -> String {
    format!("  {key:<18} {value}\n")
}

/// A JSON value as people read it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The units of each layer of an MLP, the input first.
fn layers(model: &Model) -> Option<Vec<usize>> {
    match model.spec.architecture.as_velocity().map(VelocitySpec::net) {
        Some(VelocitySpec::Mlp(spec)) => Some(spec.layer_sizes()),
        _ => None,
    }
}

/// A discrete flow in a line.
fn couplings(spec: &DiscreteSpec) -> String {
    let first = spec.layers.iter().find_map(LayerSpec::conditioner);
    let has = |wanted: bool| {
        let is = |layer: &LayerSpec| matches!(layer, LayerSpec::Linear { fixed, .. } if *fixed == wanted);
        spec.layers.iter().any(is)
    };
    let with = if has(false) { " with activation norms and linear maps" } else { "" };
    let white = if has(true) { " behind a linear map that makes columns uncorrelated" } else { "" };
    let heavy = spec.layers.iter().find_map(|layer| match layer {
        LayerSpec::Tails { columns } => Some(columns.iter().flatten().count() as u64),
        _ => None,
    });
    let tails = heavy.map_or(String::new(), |n| format!(" and maps of {} with heavy tails", words::count(n, "column")));
    let with = format!("{with}{white}{tails}");
    let Some((hidden, activation, transform)) = first else {
        return format!("{}{with}", words::count(spec.layers.len() as u64, "layer"));
    };
    let hidden = hidden.iter().map(usize::to_string).collect::<Vec<_>>().join("-");
    let transform = match transform {
        Transform::Additive => "additive".to_owned(),
        Transform::Affine { most } => format!("affine, log-scales within ±{most}"),
        Transform::Spline { bins, bound } => format!("splines of {bins} bins within ±{bound}"),
    };
    let (name, depth) = (spec.kind.name(), words::count(spec.depth() as u64, "coupling"));
    let (levels, nets) = match ImagePlan::of(spec) {
        Some((plan, _)) => (format!(" on {}", words::count(plan.levels as u64, "level")), "convolutions"),
        None => (String::new(), "nets"),
    };
    format!("{name}: {depth}{levels}{with}, {transform}; {nets} of {hidden}, {activation}")
}

/// What a model is conditioned on.
fn conditions(model: &Model) -> String {
    let Some(condition) = &model.spec.condition else { return words::count(model.condition_dim() as u64, "column") };
    let one = |(j, given): (usize, &ContextColumn)| {
        let name = condition.name(j);
        match given {
            ContextColumn::Number { .. } => match model.spec.condition_ranges.get(j).copied().flatten() {
                Some(Range { low, high }) => {
                    format!("{name} ({} to {} in training)", words::exact(low), words::exact(high))
                }
                None => name,
            },
            ContextColumn::Class { .. } => format!("{name} (classes {})", model.spec.class_labels(j).join(", ")),
        }
    };
    condition.columns.iter().enumerate().map(one).collect::<Vec<_>>().join("; ")
}

/// A velocity in a line.
pub(super) fn velocity(spec: &VelocitySpec) -> String {
    match spec {
        VelocitySpec::Mlp(spec) => {
            let sizes = spec.layer_sizes().iter().map(usize::to_string).collect::<Vec<_>>().join(" → ");
            format!("{sizes}, {}, time {}", spec.activation, plain(&json!(spec.time)))
        }
        VelocitySpec::Image(spec) => {
            let ImageShape { height, width, channels } = spec.shape();
            let (channels, ops) = (words::count(channels as u64, "channel"), spec.net.ops.len() as u64);
            format!("images of {height} × {width} pixels, {channels}; {}", words::count(ops, "operation"))
        }
        VelocitySpec::Preconditioned(spec) => {
            let GaussianPath { path, deviation } = spec.gaussian;
            let deviation = words::exact(deviation);
            let net = velocity(&spec.net);
            format!("{net}, beside the velocity of a Gaussian (deviation {deviation}, path {})", path.name())
        }
        other => match Net::of(other) {
            Some((net, mlp)) => {
                let sizes = [vec![mlp.dim + mlp.condition_dim], mlp.hidden, vec![mlp.dim]].concat();
                let sizes = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" → ");
                format!("{}, {sizes}, {} (candle layers)", net.name(), mlp.activation)
            }
            None => match other {
                VelocitySpec::Layers(spec) => plain(&json!(spec)),
                other => plain(&json!(other)),
            },
        },
    }
}

/// The parts of each simplex, and their total.
fn simplexes(model: &Model) -> String {
    let classes = model.spec.classes.as_ref().map_or(&[][..], |table| &table.places);
    // Places count the columns without classes.
    let others: Vec<usize> = (0..model.dim()).filter(|j| !classes.contains(j)).collect();
    let name = |j: &usize| model.spec.names.get(others[*j]).cloned().unwrap_or_else(|| others[*j].to_string());
    let one = |simplex: &Simplex| {
        let parts = simplex.places.iter().map(name).collect::<Vec<_>>().join(", ");
        line("simplex", &format!("{parts} sum to {}", words::exact(simplex.total)))
    };
    model.spec.simplexes.iter().map(one).collect()
}

fn about(model: &Model) -> String {
    let solver = &model.spec.solver;
    let net = match &model.spec.architecture {
        Architecture::Velocity(spec) => velocity(spec),
        Architecture::Discrete(spec) => couplings(spec),
        Architecture::Identity { .. } => "none: the base is the distribution".into(),
        Architecture::Histogram(table) => {
            let bins = table.bins().iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
            format!("a table of {bins} probabilities")
        }
    };
    let steps = match solver.fixed_steps {
        Some(steps) => format!("{} in {}", solver.method, words::count(steps as u64, "step")),
        None => format!("{}, rtol {:e}, atol {:e}", solver.method, solver.rtol, solver.atol),
    };
    let mut words = line("dimension", &model.dim().to_string());
    if !model.spec.names.is_empty() {
        words += &line("names", &model.spec.names.join(", "));
    }
    if model.condition_dim() > 0 {
        words += &line("condition", &conditions(model));
    }
    if let Some(table) = &model.spec.classes {
        let name = |j: &usize| model.spec.names.get(*j).cloned().unwrap_or_else(|| j.to_string());
        let one = |(k, place): (usize, &usize)| format!("{} ({})", name(place), model.spec.class_labels(k).join(", "));
        let all = table.places.iter().enumerate().map(one).collect::<Vec<_>>().join("; ");
        let cells = words::count(table.cells.len() as u64, "combination");
        words += &line("classes", &format!("{all}: a table of {cells}"));
    }
    words += &simplexes(model);
    words += &line("net", &net);
    words += &line("parameters", &model.n_params().to_string());
    if let Some(pixels) = &model.spec.pixels {
        let size = cnflow::words::image(pixels.shape);
        words += &line("images", &format!("{size}, {} grey levels", pixels.levels()));
        words += &line("pixels", &format!("map {}, noise {}", pixels.scale, pixels.noise.name()));
    }
    match &model.spec.standardise {
        None if model.spec.pixels.is_some() => {}
        None => words += &line("preprocessing", "none"),
        Some(moments) => {
            words += &line("preprocessing", "x = mean + scale · y, y the flow's own coordinates");
            words += &line("column means", &text::few(&moments.mean));
            words += &line("column scales", &text::few(&moments.std));
        }
    }
    if let Some(columns) = &model.spec.columns {
        let kinds: Vec<String> = columns.iter().map(|column| column.kind().to_string()).collect();
        words += &line("columns", &kinds.join(", "));
    }
    if let Some(base) = &model.spec.base {
        let components = words::count(base.components() as u64, "Gaussian");
        words += &line("base", &format!("a mixture of {components}"));
    }
    if let Some(flow) = &model.spec.base_flow {
        words += &line("base", &format!("{}: {}", flow.layers.kind.name(), couplings(&flow.layers)));
    }
    if model.spec.architecture.as_velocity().is_none() {
        return words;
    }
    words += &line("solver", &steps);
    if solver.exact() {
        return words + &line("log-density", "exact: that of the steps themselves");
    }
    if solver.coupled() {
        words += &line("log-density", "coupled to the path");
    } else {
        words += &line("log-density", &format!("by quadrature, atol {:e} nats", solver.log_density_atol()));
    }
    words + &line("trace", &solver.trace.to_string())
}

/// The provenance of the model: the record of its training, then all other entries.
fn provenance(provenance: &Map<String, Value>) -> String {
    let number = |key: &str| provenance.get(key).and_then(Value::as_f64);
    let word = |key: &str| provenance.get(key).map(plain);
    let mut shown = vec!["job", "n_params", "data_warnings"];
    let mut words = String::new();
    let mut say = |key: &str, text: Option<String>, keys: &[&'static str]| {
        if let Some(text) = text {
            words += &line(key, &text);
            shown.extend(keys);
        }
    };
    say("data", word("data"), &["data"]);
    let warned = provenance.get("data_warnings").and_then(Value::as_array);
    for text in warned.into_iter().flatten().filter_map(|finding| finding.get("text")?.as_str()) {
        say("data warning", Some(text.to_owned()), &[]);
    }
    say("objective", word("objective"), &["objective"]);
    let steps = word("steps").zip(number("seconds")).map(|(steps, seconds)| {
        let each =
            number("seconds_per_step").map_or(String::new(), |s| format!(" ({} ms each)", words::number(1e3 * s, 3)));
        format!("{steps} in {}{each}", words::duration(seconds))
    });
    say("steps", steps, &["steps", "seconds", "seconds_per_step"]);
    let seed = word("seed").zip(word("precision")).map(|(seed, precision)| format!("{seed}, in {precision}"));
    say("seed", seed, &["seed", "precision"]);
    let n = provenance.get("n").and_then(Value::as_u64);
    let on = n.zip(word("scored")).map_or(String::new(), |(n, set)| {
        format!(" on {}{}", words::count(n, &format!("{set} row")), words::no_error(n))
    });
    let of = |key: &str, se: &str| {
        number(key).map(|value| format!("{} nats", words::estimate(value, number(se).unwrap_or(f64::NAN), 4)))
    };
    say("NLL", of("nll", "nll_se").map(|nll| nll + &on), &["nll", "nll_se", "n", "scored"]);
    let few = provenance.get("nll_carried_by").and_then(Value::as_u64).zip(n).zip(number("nll_median"));
    let few = few.and_then(|((few, n), median)| Dominance { n, median, few: Some(few), farthest: 0 }.brief(""));
    say("", few, &["nll_carried_by", "nll_median"]);
    let inside = number("nll_standardised").map(|nll| format!("{} nats in units of variance 1", words::number(nll, 4)));
    say("", inside, &["nll_standardised"]);
    let excess = of("excess", "excess_se").map(|excess| excess + " over the true density");
    say("excess", excess, &["excess", "excess_se"]);
    say("NFE", number("nfe_mean").filter(|nfe| *nfe > 0.0).map(|nfe| format!("{nfe:.1} a row")), &["nfe_mean"]);
    let of_set = |set: &str| provenance.get("far")?.get(set)?.as_u64();
    let far: u64 = ["training", "validation", "test"].into_iter().filter_map(of_set).sum();
    say("far", (far > 0).then(|| format!("{} far out", words::count(far, "row"))), &["far"]);
    // Entries that report no problem are not shown.
    shown.push("nll_median");
    shown.extend((far == 0).then_some("far"));
    shown.extend(["failed", "falls", "outside", "nfe_mean"].into_iter().filter(|key| number(key) == Some(0.0)));
    shown.extend(["stopped"].into_iter().filter(|key| provenance.get(*key) == Some(&Value::Bool(false))));
    let rest = provenance.iter().filter(|(key, value)| !shown.contains(&key.as_str()) && !value.is_null());
    // Whole numbers have all their digits.
    let short = |value: &Value| match value.as_f64().filter(|_| value.is_f64()) {
        Some(number) => words::number(number, 6),
        None => plain(value),
    };
    words += &rest.map(|(key, value)| line(key, &short(value))).collect::<String>();
    if words.is_empty() { words } else { heading("training") + &words }
}

/// How steep the velocity is.
struct Steepness {
    found: Option<Steepest>,
    bound: Option<f64>,
    /// Why nothing was found.
    why: Option<String>,
}

impl Steepness {
    fn of(model: &Model) -> Self {
        let (paths, times) = if model.dim() <= 16 { FORMED } else { ITERATED };
        let bound = match &model.spec.architecture {
            Architecture::Velocity(VelocitySpec::Mlp(spec)) => {
                lipschitz_bound(spec, &model.theta).filter(|b| b.is_finite())
            }
            _ => None,
        };
        let (found, why) = match model.lipschitz(paths, times, &mut rng::stream(0, PATHS_STREAM)) {
            Ok(Some(found)) => (Some(found), None),
            Ok(None) if model.spec.architecture.as_velocity().is_none() => {
                (None, Some("there is no velocity".to_owned()))
            }
            Ok(None) if model.condition_dim() > 0 => (None, Some("depends on the condition".to_owned())),
            Ok(None) => (None, Some("none is finite".to_owned())),
            // A model that cannot be solved can still be read.
            Err(error) => (None, Some(format!("unknown: {error}"))),
        };
        Self { found, bound, why }
    }

    fn json(&self) -> Value {
        let bound = self.bound;
        match &self.found {
            None => json!({ "estimate": null, "bound": bound, "why": self.why }),
            Some(s) => json!({
                "estimate": s.norm,
                "t": s.t,
                "x": s.x,
                "mean": s.mean,
                "points": s.points,
                "exact_jacobians": s.exact,
                "bound": bound,
            }),
        }
    }

    fn words(&self) -> String {
        let mut words = heading("steepness in x");
        words += &match (&self.found, &self.why) {
            (Some(s), _) => {
                let how = if s.exact { "" } else { ", by power iteration" };
                let (norm, points) = (words::number(s.norm, 3), words::count(s.points as u64, "point"));
                line("largest found", &format!("{norm} at t = {:.3}, of {points}{how}", s.t))
                    + &line("mean", &words::number(s.mean, 3))
            }
            (None, Some(why)) => line("largest found", why),
            (None, None) => String::new(),
        };
        if let Some(bound) = self.bound {
            words += &line("bound", &format!("{bound:.3e} (the product of the layers' norms)"));
        }
        words
    }
}
