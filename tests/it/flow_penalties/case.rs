//! Velocities, ways to integrate, the integrals themselves, and a loss of them all.

use candle_core::{DType, Device, Tensor, Var};
use cnf::flow::{Bijection, Continuous, LogDensity, Penalised, Penalties, SolverSpec, VelocitySpec};
use cnf::rng::stream;
use cnf::velocity::layers::{Layer, LayerNetSpec};
use cnf::velocity::{Activation, Batch, MlpSpec, TimeInput, Trace};
use cnf_solvers::lanes::LANE_BLOCK;
use cnf_solvers::{At, Lanes, LanesMut};
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
pub fn theta(velocity: &VelocitySpec, seed: u64) -> Tensor {
    let theta = velocity.init(&mut stream(seed, 0)).into_iter().map(|w| 3.0 * f64::from(w)).collect::<Vec<_>>();
    let n = theta.len();
    Tensor::from_vec(theta, n, &Device::Cpu).unwrap()
}

pub fn draws(n: usize, d: usize, seed: u64) -> Tensor {
    let mut rng = stream(seed, 1);
    let data: Vec<f64> = (0..n * d).map(|_| rng.random_range(-1.5..1.5)).collect();
    Tensor::from_vec(data, (n, d), &Device::Cpu).unwrap()
}

pub fn numbers(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
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

pub fn condition(velocity: &VelocitySpec, n: usize) -> Option<Tensor> {
    (velocity.condition_dim() > 0).then(|| draws(n, velocity.condition_dim(), 99))
}

/// |m|² and ‖∂m/∂x‖² at time t, by the value and by tangents along unit vectors.
pub fn squares(velocity: &VelocitySpec, theta: &[f64], t: f64, x: &[f64], condition: &[f64]) -> (f64, f64) {
    fn view(tile: &[f64], d: usize) -> Lanes<'_, f64> {
        Lanes::new(tile, d, 1, LANE_BLOCK)
    }
    let bound = velocity.bind(theta, &Device::Cpu).unwrap();
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
pub fn along_paths(velocity: &VelocitySpec, theta: &Tensor, z: &Tensor, condition: Option<&Tensor>) -> [Vec<f64>; 2] {
    let (n, d, c) = (z.dim(0).unwrap(), velocity.dim(), velocity.condition_dim());
    let map = Continuous::new(velocity.clone(), theta.clone(), tight()).unwrap();
    let given = condition.map(numbers).unwrap_or_default();
    let mut sums = [vec![0.0; n], vec![0.0; n]];
    let rule = cnf_solvers::gauss::Gauss::for_order(9);
    for panel in 0..8 {
        for (node, weight) in rule.nodes.iter().zip(rule.weights) {
            let t = (f64::from(panel) + node) / 8.0;
            let x = numbers(&map.until(t).unwrap().forward(z, condition).unwrap().y);
            for row in 0..n {
                let of_row = &given[row * c..][..c];
                let (k, j) = squares(velocity, &numbers(theta), t, &x[row * d..][..d], of_row);
                sums[0][row] += weight * k / 8.0;
                sums[1][row] += weight * j / 8.0;
            }
        }
    }
    sums
}

/// A loss that weighs everything unevenly, row by row.
pub struct Loss {
    velocity: VelocitySpec,
    solver: SolverSpec,
    pub penalties: Penalties,
    end: f64,
    condition: Option<Tensor>,
    weights: Tensor,
    row_weights: [Tensor; 3],
}

impl Loss {
    pub fn new(velocity: &VelocitySpec, solver: &SolverSpec, penalties: Penalties, end: f64, n: usize) -> Self {
        Self {
            velocity: velocity.clone(),
            solver: solver.clone(),
            penalties,
            end,
            condition: condition(velocity, n),
            weights: draws(n, velocity.dim(), 10),
            row_weights: [11, 12, 13].map(|seed| draws(n, 1, seed).squeeze(1).unwrap()),
        }
    }

    pub fn at(&self, theta: &Tensor, x: &Tensor) -> Tensor {
        let map = Continuous::new(self.velocity.clone(), theta.clone(), self.solver.clone()).unwrap();
        let map = map.ending_at(self.end).unwrap();
        let Penalised { mapped, kinetic, jacobian } =
            map.inverse_penalised(x, self.condition.as_ref(), self.penalties).unwrap();
        let against = |a: &Tensor, b: &Tensor| (a * b.to_dtype(a.dtype()).unwrap()).unwrap().sum_all().unwrap();
        let ends = against(&mapped.y, &self.weights);
        [&mapped.logdet, &kinetic, &jacobian]
            .into_iter()
            .zip(&self.row_weights)
            .fold(ends, |sum, (part, weight)| (sum + against(part, weight)).unwrap())
    }

    /// By θ and by x.
    pub fn gradients(&self, theta: &Tensor, x: &Tensor) -> (Vec<f64>, Vec<f64>) {
        let (theta, x) = (Var::from_tensor(theta).unwrap(), Var::from_tensor(x).unwrap());
        let store = self.at(theta.as_tensor(), x.as_tensor()).backward().unwrap();
        (numbers(store.get(&theta).unwrap()), numbers(store.get(&x).unwrap()))
    }
}
