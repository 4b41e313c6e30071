//! Velocities, ways to integrate, the integrals themselves, and a loss of them all.

use cnflow::continuous::taped::{EndBar, transport_taped};
use cnflow::continuous::transport::{Request, transport};
use cnflow::continuous::{LogDensity, SolverSpec};
use cnflow::rng::stream;
use cnflow::transform::Cost;
use cnflow::velocity::layers::{Layer, LayerNetSpec};
use cnflow::velocity::{Activation, Batch, MlpSpec, Number, Penalties, TimeInput, Trace, VelocitySpec};
use cnflow_solvers::lanes::LANE_BLOCK;
use cnflow_solvers::{At, Lanes, LanesMut};
use rand::Rng as _;

pub const BOTH: Penalties = Penalties { kinetic: true, jacobian: true };

pub fn mlp(dim: usize, condition_dim: usize, hidden: &[usize]) -> VelocitySpec {
    let (activation, time) = (Activation::Tanh, TimeInput::Plain);
    VelocitySpec::Mlp(MlpSpec { dim, condition_dim, hidden: hidden.to_vec(), activation, time })
}

pub fn squash(dim: usize) -> VelocitySpec {
    let layer = |inputs, outputs| Layer::ConcatSquash { inputs, outputs };
    VelocitySpec::Layers(LayerNetSpec::stacked(layer, dim, 0, &[5, 4], Activation::Softplus))
}

pub fn tight() -> SolverSpec {
    SolverSpec { rtol: 1e-10, atol: 1e-10, ..SolverSpec::default() }
}

pub fn fixed(method: &str, steps: usize) -> SolverSpec {
    SolverSpec { method: method.into(), fixed_steps: Some(steps), ..SolverSpec::default() }
}

/// Weights three times PyTorch's: a field that bends.
pub fn theta(velocity: &VelocitySpec, seed: u64) -> Vec<f64> {
    velocity.init(&mut stream(seed, 0)).into_iter().map(|w| 3.0 * f64::from(w)).collect()
}

/// `[n, d]`.
pub fn draws(n: usize, d: usize, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, 1);
    (0..n * d).map(|_| rng.random_range(-1.5..1.5)).collect()
}

/// Every way to integrate: quadrature and coupled, adaptive and fixed, methods with and without extra stages.
pub fn every_solver() -> Vec<SolverSpec> {
    let coupled = |solver: SolverSpec| SolverSpec { log_density: LogDensity::Coupled, ..solver };
    let quadrature = |solver: SolverSpec| SolverSpec { log_density: LogDensity::Quadrature, ..solver };
    vec![
        SolverSpec::default(),
        coupled(SolverSpec::default()),
        SolverSpec { method: "vern7".into(), ..SolverSpec::default() },
        SolverSpec { method: "tsit5".into(), lanes: 16, ..SolverSpec::default() },
        coupled(SolverSpec { method: "bosh3".into(), ..SolverSpec::default() }),
        quadrature(fixed("rk4", 8)),
        fixed("rk4", 8),
        fixed("midpoint", 20),
        quadrature(fixed("dopri5", 5)),
    ]
}

/// Every velocity: closed forms, tangents, probes beside them, candle layers.
pub fn every_velocity() -> Vec<VelocitySpec> {
    vec![mlp(2, 0, &[]), mlp(1, 0, &[6]), mlp(3, 2, &[6, 5]), mlp(2, 0, &[6, 5, 4]), mlp(17, 0, &[5, 4]), squash(2)]
}

/// `[n, c]`; empty where the velocity has none.
pub fn condition(velocity: &VelocitySpec, n: usize) -> Vec<f64> {
    draws(n, velocity.condition_dim(), 99)
}

pub fn narrow<T: Number>(numbers: &[f64]) -> Vec<T> {
    numbers.iter().map(|v| T::of(*v)).collect()
}

pub fn wide<T: Number>(numbers: &[T]) -> Vec<f64> {
    numbers.iter().map(|v| cnflow_solvers::Real::to_f64(*v)).collect()
}

/// Rows transported from the first time to the second: points and log-determinants, in f64.
pub fn transported(
    velocity: &VelocitySpec,
    theta: &[f64],
    solver: &SolverSpec,
    span: (f64, f64),
    (x, condition): (&[f64], &[f64]),
) -> (Vec<f64>, Vec<f64>, Cost) {
    let trace = solver.trace.of(velocity).unwrap();
    let request = Request { span, solver, trace, log_density: true, progress: None };
    let found = transport(&*velocity.bind_here(theta).unwrap(), x, condition, &request).unwrap();
    (found.y, found.logdet, found.cost)
}

/// A velocity with its weights, transported from `end` to 0 with a tape.
#[derive(Clone)]
pub struct Inverse {
    pub velocity: VelocitySpec,
    pub solver: SolverSpec,
    pub end: f64,
    pub penalties: Penalties,
}

/// What a taped solve gives, in f64 whatever it computes in.
pub struct Found {
    pub y: Vec<f64>,
    pub logdet: Vec<f64>,
    /// Empty where it was not requested.
    pub kinetic: Vec<f64>,
    pub jacobian: Vec<f64>,
    pub cost: Cost,
}

/// Derivatives by points, log-determinants, and both penalties.
pub type Bars<'a> = [&'a [f64]; 4];

impl Inverse {
    pub fn new(velocity: &VelocitySpec, solver: &SolverSpec, penalties: Penalties) -> Self {
        Self { velocity: velocity.clone(), solver: solver.clone(), end: 1.0, penalties }
    }

    pub fn run<T: Number>(&self, theta: &[f64], rows: (&[f64], &[f64])) -> Found {
        self.run_and_pull_back::<T>(theta, rows, None).0
    }

    /// What is found, and a loss pulled back to the rows and to θ.
    pub fn run_and_pull_back<T: Number>(
        &self,
        theta: &[f64],
        (x, condition): (&[f64], &[f64]),
        bars: Option<Bars<'_>>,
    ) -> (Found, Vec<f64>, Vec<f64>) {
        let Self { velocity, solver, end, penalties } = self;
        let trace = solver.trace.of(velocity).unwrap();
        let request = Request { span: (*end, 0.0), solver, trace, log_density: true, progress: None };
        let bound = velocity.bind_here::<T>(&narrow(theta)).unwrap();
        let condition = narrow(condition);
        let taped = transport_taped(&*bound, &narrow::<T>(x), &condition, &request, *penalties).unwrap();
        let p = penalties.count();
        let column = |wanted: bool, at: usize| -> Vec<f64> {
            if wanted { taped.penalties.iter().skip(at).step_by(p).copied().collect() } else { Vec::new() }
        };
        let found = Found {
            y: wide(&taped.transported.y),
            logdet: taped.transported.logdet.clone(),
            kinetic: column(penalties.kinetic, 0),
            jacobian: column(penalties.jacobian, usize::from(penalties.kinetic)),
            cost: taped.transported.cost.clone(),
        };
        let Some([y, logdet, kinetic, jacobian]) = bars else { return (found, Vec::new(), Vec::new()) };
        let requested = [(penalties.kinetic, kinetic), (penalties.jacobian, jacobian)];
        let of_row = |row: usize| requested.into_iter().filter(|(wanted, _)| *wanted).map(move |(_, bar)| bar[row]);
        let by_penalties: Vec<f64> = (0..logdet.len()).flat_map(of_row).collect();
        let (y, logdet, by_penalties) = (narrow(y), narrow(logdet), narrow(&by_penalties));
        let (x_bar, gradient) = taped.pull_back(EndBar { y: &y, logdet: &logdet, penalties: &by_penalties });
        (found, wide(&x_bar), wide(&gradient))
    }
}

/// |m|² and ‖∂m/∂x‖² at time t, by the value and by tangents along unit vectors.
pub fn squares(velocity: &VelocitySpec, theta: &[f64], t: f64, x: &[f64], condition: &[f64]) -> (f64, f64) {
    fn view(tile: &[f64], d: usize) -> Lanes<'_, f64> {
        Lanes::new(tile, d, 1, LANE_BLOCK)
    }
    let bound = velocity.bind_here(theta).unwrap();
    let d = x.len();
    let mut evaluator = bound.evaluator(Batch { condition, keys: &[], trace: Trace::Exact, lanes: 1 });
    let column = |of: &dyn Fn(usize) -> f64| -> Vec<f64> {
        let mut tile = vec![0.0; d * LANE_BLOCK];
        (0..d).for_each(|i| tile[i * LANE_BLOCK] = of(i));
        tile
    };
    let norm = |out: &[f64]| (0..d).map(|i| out[i * LANE_BLOCK].powi(2)).sum::<f64>();
    let (times, x) = ([t], column(&|i| x[i]));
    let at = At::new(&times, &[0]);
    let mut out = x.clone();
    evaluator.value(at, view(&x, d), LanesMut::new(&mut out, d, 1, LANE_BLOCK));
    let speed = norm(&out);
    let mut jacobian = 0.0;
    for j in 0..d {
        let unit = column(&|i| f64::from(i == j));
        evaluator.tangent(at, view(&x, d), view(&unit, d), LanesMut::new(&mut out, d, 1, LANE_BLOCK));
        jacobian += norm(&out);
    }
    (speed, jacobian)
}

/// K and J of the paths that start in the rows of `z`: five Gauss points on each of eight panels, at the points of a
/// tight solve. The error is below 1e-8.
pub fn along_paths(velocity: &VelocitySpec, theta: &[f64], z: &[f64], condition: &[f64]) -> [Vec<f64>; 2] {
    let (d, c) = (velocity.dim(), velocity.condition_dim());
    let n = z.len() / d;
    let mut sums = [vec![0.0; n], vec![0.0; n]];
    let rule = cnflow_solvers::gauss::Gauss::for_order(9);
    for panel in 0..8 {
        for (node, weight) in rule.nodes.iter().zip(rule.weights) {
            let t = (f64::from(panel) + node) / 8.0;
            let x = transported(velocity, theta, &tight(), (0.0, t), (z, condition)).0;
            for row in 0..n {
                let of_row = &condition[row * c..][..c];
                let (k, j) = squares(velocity, theta, t, &x[row * d..][..d], of_row);
                sums[0][row] += weight * k / 8.0;
                sums[1][row] += weight * j / 8.0;
            }
        }
    }
    sums
}

/// A loss that weighs everything unevenly, row by row.
pub struct Loss {
    pub inverse: Inverse,
    condition: Vec<f64>,
    weights: Vec<f64>,
    row_weights: [Vec<f64>; 3],
}

impl Loss {
    pub fn new(inverse: Inverse, n: usize) -> Self {
        let condition = condition(&inverse.velocity, n);
        let weights = draws(n, inverse.velocity.dim(), 10);
        Self { inverse, condition, weights, row_weights: [11, 12, 13].map(|seed| draws(n, 1, seed)) }
    }

    pub fn at<T: Number>(&self, theta: &[f64], x: &[f64]) -> f64 {
        let Found { y, logdet, kinetic, jacobian, .. } = self.inverse.run::<T>(theta, (x, &self.condition));
        let against = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let parts = [&logdet, &kinetic, &jacobian].into_iter().zip(&self.row_weights);
        parts.fold(against(&y, &self.weights), |sum, (part, weight)| sum + against(part, weight))
    }

    /// By θ and by x.
    pub fn gradients<T: Number>(&self, theta: &[f64], x: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let [logdet, kinetic, jacobian] = &self.row_weights;
        let bars: Bars<'_> = [&self.weights, logdet, kinetic, jacobian];
        let (_, x_bar, gradient) = self.inverse.run_and_pull_back::<T>(theta, (x, &self.condition), Some(bars));
        (gradient, x_bar)
    }
}
