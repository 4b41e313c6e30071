//! The solver's options at the command line; what is left out stays as the model has it.

use anyhow::Result;
use candle_core::DType;
use clap::{Args, ValueEnum};
use cnf::Error;
use cnf::flow::{LogDensity, Method, Model, TraceSpec};

/// In which arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
}

/// How the log-density is accumulated.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Accumulated {
    /// By quadrature where steps adapt, coupled where they are fixed.
    Auto,
    /// A quadrature along the path, with an error estimate.
    Quadrature,
    /// An extra state of the ODE.
    Coupled,
}

/// Options of the solve.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Solver (what is left out stays as the model has it)")]
pub struct SolverArgs {
    /// The method: dopri5, tsit5, vern7, dopri8, rk4, bdf, … (an unknown name lists them all).
    #[arg(long, value_name = "NAME")]
    pub solver: Option<String>,
    /// Relative tolerance.
    #[arg(long, value_name = "X")]
    pub rtol: Option<f64>,
    /// Absolute tolerance.
    #[arg(long, value_name = "X")]
    pub atol: Option<f64>,
    /// So many equal steps instead of step control.
    #[arg(long, value_name = "N", conflicts_with_all = ["rtol", "atol"])]
    pub fixed_steps: Option<usize>,
    /// The trace of the Jacobian: auto, exact, hutchinson[:K], gaussian[:K] with K probes.
    #[arg(long, value_name = "HOW", value_parser = trace)]
    pub trace: Option<TraceSpec>,
    /// How the log-density is accumulated.
    #[arg(long, value_name = "HOW")]
    pub log_density: Option<Accumulated>,
    /// The arithmetic; that of the training if left out, else f32. Implicit solvers compute in f64 inside.
    #[arg(long)]
    pub precision: Option<Precision>,
    /// Fixes every draw.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// More probes cost more than the exact trace.
const MOST_PROBES: usize = 4096;

fn trace(text: &str) -> Result<TraceSpec, String> {
    match text.parse()? {
        TraceSpec::Hutchinson(k) | TraceSpec::Gaussian(k) if k > MOST_PROBES => {
            Err(format!("{k} probes are too many: at most {MOST_PROBES}, or exact"))
        }
        trace => Ok(trace),
    }
}

impl SolverArgs {
    /// Changes the model's solver as asked, and returns the arithmetic.
    ///
    /// # Errors
    /// As [`cnf::flow::SolverSpec::validate`].
    pub fn apply(&self, model: &mut Model) -> Result<DType> {
        let solver = &mut model.spec.solver;
        if let Some(name) = &self.solver {
            solver.method = name.clone();
        }
        let adaptive = match solver.method()? {
            Method::Explicit(tableau) => tableau.adaptive(),
            Method::Implicit(_) => true,
        };
        let tolerances = self.rtol.is_some() || self.atol.is_some();
        if tolerances && !adaptive {
            let problem = format!("`{}` takes fixed steps: a tolerance means nothing to it", solver.method);
            return Err(Error::invalid(problem, "give --fixed-steps N, or an adaptive --solver such as dopri5").into());
        }
        if adaptive && (tolerances || self.solver.is_some()) {
            // Who names a method with step control, or a tolerance, wants step control.
            solver.fixed_steps = None;
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
        solver.trace = self.trace.unwrap_or(solver.trace);
        solver.probe_seed = self.seed.unwrap_or(solver.probe_seed);
        solver.log_density = match self.log_density {
            None => solver.log_density,
            Some(Accumulated::Auto) => LogDensity::Auto,
            Some(Accumulated::Quadrature) => LogDensity::Quadrature,
            Some(Accumulated::Coupled) => LogDensity::Coupled,
        };
        if !adaptive && solver.fixed_steps.is_none() {
            let problem = format!("`{}` takes fixed steps, and their number was not given", solver.method);
            return Err(Error::invalid(problem, "give --fixed-steps N, or an adaptive --solver such as dopri5").into());
        }
        solver.validate()?;
        let trained_wide = model.story.get("precision").and_then(|p| p.as_str()) == Some("f64");
        let dtype = match self.precision {
            Some(Precision::F64) => DType::F64,
            None if trained_wide => DType::F64,
            _ => DType::F32,
        };
        Ok(dtype)
    }
}
