//! The options of a training and of a solver, by the names that they have as keywords: those of the command's flags.

use cnflow::continuous::{LogDensity, Method, SolverSpec};
use cnflow::train::{Job, Objective};
use cnflow::velocity::Precision;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyString};
use toml::{Table, Value};

use crate::error::{Outcome, Raised, Trouble};

/// A keyword, and the field of a job that it sets.
const OPTIONS: &[(&str, &str)] = &[
    ("seed", "seed"),
    ("model", "model.family"),
    ("steps", "optimiser.steps"),
    ("time", "optimiser.time"),
    ("split", "data.split"),
    ("split_seed", "data.split_seed"),
    ("copies_together", "data.copies_together"),
    ("columns", "data.keep"),
    ("drop", "data.drop"),
    ("header", "data.header"),
    ("sep", "data.sep"),
    ("decimal", "data.decimal"),
    ("na", "data.na"),
    ("comment", "data.comment"),
    ("layout", "data.layout"),
    ("column", "data.columns"),
    ("column_types", "data.column_types"),
    ("pixel_map", "data.pixel_map"),
    ("pixel_noise", "data.pixel_noise"),
    ("standardise", "data.standardise"),
    ("spread", "data.spread"),
    ("far_rows", "data.far_rows"),
    ("missing", "data.missing"),
    ("net", "model.net"),
    ("preconditioning", "model.preconditioning"),
    ("hidden", "model.hidden"),
    ("activation", "model.activation"),
    ("time_features", "model.time_features"),
    ("depth", "model.depth"),
    ("levels", "model.levels"),
    ("mask", "model.mask"),
    ("linear", "model.linear"),
    ("bins", "model.bins"),
    ("bound", "model.bound"),
    ("log_scale", "model.log_scale"),
    ("sigma", "model.sigma"),
    ("base", "model.base"),
    ("base_share", "model.base_share"),
    ("whitening", "model.whitening"),
    ("init", "model.init"),
    ("precision", "model.precision"),
    ("objective", "objective.kind"),
    ("path", "objective.path"),
    ("pairing", "objective.pairing"),
    ("pairing_block", "objective.pairing_block"),
    ("matching_weight", "objective.matching_weight"),
    ("time_exponent", "objective.time_exponent"),
    ("likelihood_share", "objective.likelihood_share"),
    ("likelihood_batch", "objective.likelihood_batch"),
    ("likelihood_lr", "objective.likelihood_lr"),
    ("likelihood_tol", "objective.likelihood_tol"),
    ("kinetic", "objective.kinetic"),
    ("jacobian", "objective.jacobian"),
    ("steer", "objective.steer"),
    ("nfe_target", "objective.nfe_target"),
    ("optimiser", "optimiser.kind"),
    ("batch", "optimiser.batch"),
    ("lr", "optimiser.lr"),
    ("warm_up", "optimiser.warm_up"),
    ("lr_end", "optimiser.lr_end"),
    ("betas", "optimiser.betas"),
    ("weight_decay", "optimiser.weight_decay"),
    ("clip", "optimiser.clip"),
    ("ema", "optimiser.ema"),
    ("validations", "optimiser.validations"),
    ("validation", "optimiser.validation"),
    ("validation_rows", "optimiser.validation_rows"),
    ("keep_best", "optimiser.keep_best"),
    ("patience", "optimiser.patience"),
    ("checkpoint_every", "output.checkpoint"),
    ("solver", "solver.method"),
    ("controller", "solver.controller"),
    ("max_steps", "solver.max_steps"),
    ("lanes", "solver.lanes"),
    ("condition", "data.condition"),
    ("weights", "data.weights"),
];

/// Keywords that change the solver as [`SolverChanges`] do.
const OF_SOLVER: [&str; 9] =
    ["solver", "rtol", "atol", "fixed_steps", "max_step", "trace", "log_density", "log_density_atol", "probe_seed"];

/// Keywords that are given apart.
const APART: [&str; 6] = ["seed", "model", "steps", "time", "condition", "weights"];

/// Words of the engine, which name fields, with keywords in their place: `` `optimiser.lr` `` becomes `lr`.
pub fn named(words: &str) -> String {
    let solver = OF_SOLVER.iter().map(|name| (format!("`solver.{name}`"), *name));
    let all = OPTIONS.iter().map(|(name, field)| (format!("`{field}`"), *name)).chain(solver);
    all.fold(words.to_owned(), |words, (field, name)| words.replace(&field, &format!("`{name}`")))
}

/// The precision of a name.
pub fn parsed_precision(name: &str) -> Outcome<Precision> {
    match name {
        "f32" => Ok(Precision::F32),
        "f64" => Ok(Precision::F64),
        _ => Err(Trouble::invalid(format!("unknown precision `{name}`"), "choose one of f32, f64")),
    }
}

/// Changes of a solver; what is left out stays.
#[derive(Clone, Debug, Default)]
pub struct SolverChanges {
    /// The method.
    pub method: Option<String>,
    /// Relative tolerance.
    pub rtol: Option<f64>,
    /// Absolute tolerance.
    pub atol: Option<f64>,
    /// Equal steps.
    pub fixed_steps: Option<usize>,
    /// The longest step.
    pub max_step: Option<f64>,
    /// How the trace is taken.
    pub trace: Option<String>,
    /// How the log-density is integrated.
    pub log_density: Option<String>,
    /// The tolerance of the log-density.
    pub log_density_atol: Option<f64>,
    /// The key of random probes.
    pub probe_seed: Option<u64>,
}

impl SolverChanges {
    /// Whether there is one.
    pub fn any(&self) -> bool {
        let numbers = self.rtol.is_some() || self.atol.is_some() || self.max_step.is_some();
        let names = self.method.is_some() || self.trace.is_some() || self.log_density.is_some();
        numbers || names || self.fixed_steps.is_some() || self.log_density_atol.is_some() || self.probe_seed.is_some()
    }

    /// Whether somebody chose a tolerance.
    pub fn tolerances(&self) -> bool {
        self.rtol.is_some() || self.atol.is_some()
    }

    /// Applies them, by the command's rules.
    pub fn apply(&self, solver: &mut SolverSpec) -> Outcome<()> {
        if self.fixed_steps.is_some() && (self.tolerances() || self.max_step.is_some()) {
            let problem = "equal steps exclude tolerances and a longest step";
            return Err(Trouble::invalid(problem, "leave out `fixed_steps`, or `rtol`, `atol` and `max_step`"));
        }
        if let Some(name) = &self.method {
            solver.method.clone_from(name);
        }
        let adaptive = match solver.method()? {
            Method::Explicit(tableau) => tableau.adaptive(),
            Method::Implicit(_) => true,
        };
        let controls = self.tolerances() || self.max_step.is_some();
        if controls && !adaptive {
            let problem =
                format!("`{}` takes fixed steps: it has no use for a tolerance or a longest step", solver.method);
            return Err(Trouble::invalid(problem, "give `fixed_steps`, or an adaptive method such as dopri5"));
        }
        if adaptive && (controls || self.method.is_some()) {
            // A method with step control, a tolerance or a longest step turns step control on.
            solver.fixed_steps = None;
            if solver.exact() && self.fixed_steps.is_none() {
                // Only equal steps are a flow of their own.
                solver.log_density = LogDensity::Auto;
            }
        }
        if self.tolerances() {
            // The log-density follows the new tolerance, not the one it was trained with.
            solver.log_density_atol = None;
        }
        if self.method.is_some() && matches!(solver.method()?, Method::Implicit(_)) {
            solver.log_density = LogDensity::Auto;
        }
        solver.rtol = self.rtol.unwrap_or(solver.rtol);
        solver.atol = self.atol.unwrap_or(solver.atol);
        solver.fixed_steps = self.fixed_steps.or(solver.fixed_steps);
        // Equal steps have their own length.
        let equal = solver.fixed_steps.is_some() || !adaptive;
        solver.max_step = if equal { None } else { self.max_step.or(solver.max_step) };
        if let Some(trace) = &self.trace {
            solver.trace = trace
                .parse()
                .map_err(|problem: String| Trouble::invalid(problem, "give auto, exact, hutchinson:8 or gaussian:8"))?;
        }
        solver.probe_seed = self.probe_seed.unwrap_or(solver.probe_seed);
        solver.log_density = match self.log_density.as_deref() {
            None => solver.log_density,
            Some("auto") => LogDensity::Auto,
            Some("quadrature") => LogDensity::Quadrature,
            Some("coupled") => LogDensity::Coupled,
            Some("exact") => LogDensity::Exact,
            Some(name) => {
                let problem = format!("unknown log_density `{name}`");
                return Err(Trouble::invalid(problem, "choose one of auto, quadrature, coupled, exact"));
            }
        };
        solver.log_density_atol = self.log_density_atol.or(solver.log_density_atol);
        if !adaptive && solver.fixed_steps.is_none() {
            let problem = format!("`{}` takes fixed steps, and their number was not given", solver.method);
            return Err(Trouble::invalid(problem, "give `fixed_steps`, or an adaptive method such as dopri5"));
        }
        Ok(solver.validate()?)
    }
}

/// What a call of `train` sets.
pub struct Given {
    /// The job.
    pub job: Job,
    /// The fields that were set, as the engine names them.
    pub fields: Vec<&'static str>,
    /// Whether somebody chose a tolerance.
    pub tolerances: bool,
}

/// The job of the options of `train`.
pub fn job(
    py: Python<'_>,
    model: Option<&str>,
    (steps, time): (Option<usize>, Option<f64>),
    seed: u64,
    condition: Vec<String>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Given> {
    let mut job = Job { seed, ..Job::default() };
    let family = model.map(str::parse).transpose().raised(py)?;
    if let Some(family) = family.filter(|family| *family != job.model.family) {
        job = job.of_family(family);
    }
    if steps.is_some() && time.is_some() {
        return Err(Trouble::invalid("`steps` and `time` were both given", "give one of them").raise(py));
    }
    let mut fields = Vec::new();
    fields.extend(model.map(|_| "model.family"));
    fields.extend(steps.map(|_| "optimiser.steps"));
    fields.extend(time.map(|_| "optimiser.time"));
    let (mut solver, mut set) = (SolverChanges::default(), Vec::new());
    for (name, value) in options.into_iter().flatten() {
        let name: String = name.extract()?;
        if value.is_none() {
            // As if it were left out.
            continue;
        }
        if OF_SOLVER.contains(&&*name) {
            let field = of_solver(py, &mut solver, &name, &value)?;
            fields.push(field);
            continue;
        }
        let Some((_, field)) = OPTIONS.iter().find(|(known, _)| *known == name && !APART.contains(known)) else {
            return Err(unknown(&name).raise(py));
        };
        fields.push(field);
        set.push((name, *field, toml_of(&value)?));
    }
    if fields.contains(&"objective.nfe_target") && !fields.contains(&"objective.kind") {
        job.objective.kind = Objective::Mixed;
    }
    for (name, field, value) in set {
        job = with_field(job, &name, field, value).raised(py)?;
    }
    (job.optimiser.steps, job.optimiser.time) = (steps, time);
    if !condition.is_empty() {
        fields.push("data.condition");
        job.data.condition = condition;
    }
    // The command's seed is that of the probes too, where it is given; here it is always given.
    job.solver.probe_seed = solver.probe_seed.unwrap_or(seed);
    solver.apply(&mut job.solver).raised(py)?;
    Ok(Given { job, fields, tolerances: solver.tolerances() })
}

/// The beginning of a long text.
fn shortened(text: String) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Sets a change of the solver; its field.
fn of_solver(
    py: Python<'_>,
    solver: &mut SolverChanges,
    name: &str,
    value: &Bound<'_, PyAny>,
) -> PyResult<&'static str> {
    let refuse = |_| {
        let shown = shortened(value.repr().map_or_else(|_| "?".into(), |text| text.to_string()));
        Trouble::invalid(format!("the option `{name}` is {shown}"), "see `help(cnflow.train)` for its values").raise(py)
    };
    Ok(match name {
        "solver" => {
            solver.method = Some(value.extract().map_err(refuse)?);
            "solver.method"
        }
        "rtol" => {
            solver.rtol = Some(value.extract().map_err(refuse)?);
            "solver.rtol"
        }
        "atol" => {
            solver.atol = Some(value.extract().map_err(refuse)?);
            "solver.atol"
        }
        "fixed_steps" => {
            solver.fixed_steps = Some(value.extract().map_err(refuse)?);
            "solver.fixed_steps"
        }
        "max_step" => {
            solver.max_step = Some(value.extract().map_err(refuse)?);
            "solver.max_step"
        }
        "trace" => {
            solver.trace = Some(value.extract().map_err(refuse)?);
            "solver.trace"
        }
        "log_density" => {
            solver.log_density = Some(value.extract().map_err(refuse)?);
            "solver.log_density"
        }
        "log_density_atol" => {
            solver.log_density_atol = Some(value.extract().map_err(refuse)?);
            "solver.log_density_atol"
        }
        _ => {
            solver.probe_seed = Some(value.extract().map_err(refuse)?);
            "solver.probe_seed"
        }
    })
}

/// A value as TOML has it.
fn toml_of(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if value.is_instance_of::<PyBool>() {
        return Ok(Value::Boolean(value.extract()?));
    }
    if value.is_instance_of::<PyString>() {
        return Ok(Value::String(value.extract()?));
    }
    if value.is_instance_of::<PyFloat>() {
        return Ok(Value::Float(value.extract()?));
    }
    if let Ok(whole) = value.extract::<i64>() {
        return Ok(Value::Integer(whole));
    }
    if let Ok(number) = value.extract::<f64>() {
        return Ok(Value::Float(number));
    }
    if value.hasattr("__fspath__")? {
        return Ok(Value::String(value.call_method0("__fspath__")?.extract()?));
    }
    let items = value.try_iter()?;
    Ok(Value::Array(items.map(|item| toml_of(&item?)).collect::<PyResult<_>>()?))
}

/// The job with a field.
fn with_field(job: Job, name: &str, field: &str, value: Value) -> Outcome<Job> {
    let shown = shortened(value.to_string());
    // Maps of grey levels have an argument behind their name; lists may be one name.
    if let ("data.pixel_map", Value::String(text)) = (field, &value) {
        let map = text.parse()?;
        return Ok(job.with(|job| job.data.pixel_map = map));
    }
    let value = match (field, value) {
        ("data.drop" | "data.keep" | "data.columns" | "data.na", one @ Value::String(_)) => Value::Array(vec![one]),
        ("data.drop" | "data.keep" | "data.na", Value::Array(all)) => {
            Value::Array(all.into_iter().map(as_text).collect())
        }
        ("data.drop" | "data.keep" | "data.na", one @ (Value::Integer(_) | Value::Float(_))) => {
            Value::Array(vec![as_text(one)])
        }
        ("model.hidden" | "optimiser.betas", one @ (Value::Integer(_) | Value::Float(_))) => Value::Array(vec![one]),
        ("output.checkpoint", one @ Value::Integer(_)) => as_text(one),
        (_, value) => value,
    };
    let internal = |problem: String| Trouble::internal(&problem);
    let mut all = Table::try_from(&job).map_err(|e| internal(e.to_string()))?;
    let (section, key) = field.split_once('.').ok_or_else(|| internal(field.to_owned()))?;
    let Some(Value::Table(fields)) = all.get_mut(section) else { return Err(internal(field.to_owned())) };
    fields.insert(key.to_owned(), value);
    all.try_into().map_err(|e: toml::de::Error| {
        let what = e.message().trim_end().to_owned();
        Trouble::invalid(format!("the option `{name}` is {shown}: {what}"), "see `help(cnflow.train)` for its values")
    })
}

fn as_text(value: Value) -> Value {
    Value::String(if let Value::String(text) = value { text } else { value.to_string() })
}

/// The error of a keyword that does not exist, with those that are spelt alike.
fn unknown(name: &str) -> Trouble {
    let known = || OPTIONS.iter().map(|(known, _)| *known).chain(OF_SOLVER).filter(|known| *known != "seed");
    let mut near: Vec<(usize, &'static str)> = known().map(|known| (distance(name, known), known)).collect();
    near.sort_unstable();
    near.dedup();
    let alike = |(distance, known): &(usize, &str)| {
        *distance <= 2.max(known.len() / 3) || known.contains(name) || name.contains(known)
    };
    let first = |near: Vec<(usize, &'static str)>| near.into_iter().take(3).map(|(_, known)| known).collect::<Vec<_>>();
    let hint = match near.iter().any(alike) {
        true => format!("did you mean {}?", first(near.into_iter().filter(alike).collect()).join(", ")),
        false => format!("the nearest are {}; `help(cnflow.train)` tells them all", first(near).join(", ")),
    };
    Trouble::unknown_option(format!("`train` has no option `{name}`"), hint)
}

/// Letters to insert, to delete or to replace.  Ref: Levenshtein (1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
