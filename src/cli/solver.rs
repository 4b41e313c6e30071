//! The solver's options at the command line; options left out keep the model's settings.

use anyhow::Result;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use cnflow::Error;
use cnflow::continuous::{LogDensity, Method, SolverSpec, TraceSpec};
use cnflow::velocity::Precision;
use serde_json::{Map, Value};

/// Options of the solve.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Solver (defaults: the settings of the model or --config)")]
pub struct SolverArgs {
    /// The method: dopri5, tsit5, vern7, dop853, rk4, bdf, … (an unknown name lists them all).
    #[arg(long, value_name = "NAME")]
    pub solver: Option<String>,
    /// Relative tolerance.
    #[arg(long, value_name = "X")]
    pub rtol: Option<f64>,
    /// Absolute tolerance.
    #[arg(long, value_name = "X")]
    pub atol: Option<f64>,
    /// Take N equal steps instead of adapting the step size.
    #[arg(long, value_name = "N", conflicts_with_all = ["rtol", "atol"])]
    pub fixed_steps: Option<usize>,
    /// Longest step, in units of time; a flow runs from 0 to 1.
    #[arg(long, value_name = "H", conflicts_with = "fixed_steps")]
    pub max_step: Option<f64>,
    /// The trace of the Jacobian: auto, exact, hutchinson[:K], gaussian[:K] with K probes; of images also
    /// lattice[:K[:N]], K² probes on every K-th row and column, N times.
    #[arg(long, value_name = "HOW")]
    pub trace: Option<TraceSpec>,
    /// Method for the log-density: quadrature (along the path, with an error estimate), coupled (a state of the ODE),
    /// exact (of the --fixed-steps themselves, up to 16 columns) or auto (quadrature for adaptive steps, coupled for
    /// fixed ones).
    #[arg(long, value_name = "HOW", value_parser = log_density())]
    pub log_density: Option<LogDensity>,
    /// Absolute tolerance of the log-density in nats; if left out, --atol times 100 for a quadrature, times 10 for a
    /// coupled state.
    #[arg(long, value_name = "X")]
    pub log_density_atol: Option<f64>,
    /// Arithmetic; that of the training if left out, else f32. Implicit solvers compute in f64.
    #[arg(long, value_name = "HOW", value_parser = precision())]
    pub precision: Option<Precision>,
    /// Random seed of every draw.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

fn precision() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(["f32", "f64"]).map(|name| if name == "f64" { Precision::F64 } else { Precision::F32 })
}

fn log_density() -> impl TypedValueParser<Value = LogDensity> {
    PossibleValuesParser::new(["auto", "quadrature", "coupled", "exact"]).map(|name| match &*name {
        "quadrature" => LogDensity::Quadrature,
        "coupled" => LogDensity::Coupled,
        "exact" => LogDensity::Exact,
        _ => LogDensity::Auto,
    })
}

impl SolverArgs {
    /// The fields of a solver whose flags were given, as errors of the library name them.
    pub fn given(&self) -> Vec<&'static str> {
        let all = [
            ("solver.method", self.solver.is_some()),
            ("solver.rtol", self.rtol.is_some()),
            ("solver.atol", self.atol.is_some()),
            ("solver.fixed_steps", self.fixed_steps.is_some()),
            ("solver.max_step", self.max_step.is_some()),
            ("solver.trace", self.trace.is_some()),
            ("solver.log_density", self.log_density.is_some()),
            ("solver.log_density_atol", self.log_density_atol.is_some()),
        ];
        all.into_iter().filter(|(_, given)| *given).map(|(field, _)| field).collect()
    }

    /// Applies the options to a solver.
    ///
    /// # Errors
    /// As [`SolverSpec::validate`].
    pub fn apply(&self, solver: &mut SolverSpec) -> Result<()> {
        if let Some(name) = &self.solver {
            solver.method = name.clone();
        }
        let adaptive = match solver.method()? {
            Method::Explicit(tableau) => tableau.adaptive(),
            Method::Implicit(_) => true,
        };
        let tolerances = self.rtol.is_some() || self.atol.is_some();
        let controls = tolerances || self.max_step.is_some();
        if controls && !adaptive {
            let problem =
                format!("`{}` takes fixed steps: it has no use for a tolerance or a longest step", solver.method);
            return Err(Error::invalid(problem, "give --fixed-steps N, or an adaptive --solver such as dopri5").into());
        }
        if adaptive && (controls || self.solver.is_some()) {
            // A method with step control, a tolerance or a longest step turns step control on.
            solver.fixed_steps = None;
            if solver.exact() && self.fixed_steps.is_none() {
                // Only equal steps are a flow of their own.
                solver.log_density = LogDensity::Auto;
            }
        }
        if tolerances {
            // The log-density follows the new tolerance, not the one it was trained with.
            solver.log_density_atol = None;
        }
        if self.solver.is_some() && matches!(solver.method()?, Method::Implicit(_)) {
            solver.log_density = LogDensity::Auto;
        }
        solver.rtol = self.rtol.unwrap_or(solver.rtol);
        solver.atol = self.atol.unwrap_or(solver.atol);
        solver.fixed_steps = self.fixed_steps.or(solver.fixed_steps);
        // Equal steps have their own length.
        let equal = solver.fixed_steps.is_some() || !adaptive;
        solver.max_step = if equal { None } else { self.max_step.or(solver.max_step) };
        solver.trace = self.trace.unwrap_or(solver.trace);
        solver.probe_seed = self.seed.unwrap_or(solver.probe_seed);
        solver.log_density = self.log_density.unwrap_or(solver.log_density);
        solver.log_density_atol = self.log_density_atol.or(solver.log_density_atol);
        if !adaptive && solver.fixed_steps.is_none() {
            let problem = format!("`{}` takes fixed steps, and their number was not given", solver.method);
            return Err(Error::invalid(problem, "give --fixed-steps N, or an adaptive --solver such as dopri5").into());
        }
        Ok(solver.validate()?)
    }

    /// The arithmetic: `--precision`, else that of the training.
    pub fn precision(&self, provenance: &Map<String, Value>) -> Precision {
        let trained_wide = provenance.get("precision").and_then(Value::as_str) == Some("f64");
        self.precision.unwrap_or(if trained_wide { Precision::F64 } else { Precision::F32 })
    }
}
