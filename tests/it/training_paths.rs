//! Laws of the ways from latents to data, over every path.

use cnflow::continuous::SolverSpec;
use cnflow::rng;
use cnflow::train::{Batch, Criterion, LossContext, LossGradient, Path};
use cnflow::transform::StandardNormal;
use cnflow::velocity::layers::{Layer, LayerNetSpec};
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};

fn times() -> impl Iterator<Item = f64> {
    (0..=40).map(|i| f64::from(i) / 40.0)
}

#[test]
fn a_path_leads_from_the_latent_to_the_data() {
    for path in Path::ALL {
        let ((a0, s0, ..), (a1, s1, ..)) = (path.at(0.0), path.at(1.0));
        assert_eq!([a0, s0, a1, s1], [0.0, 1.0, 1.0, 0.0], "{}", path.name());
    }
}

#[test]
fn its_velocity_is_its_derivative() {
    let eps = 1e-5;
    for path in Path::ALL {
        for t in times() {
            let ((a, s, ..), (b, q, ..)) = (path.at(t - eps), path.at(t + eps));
            let (.., a_dot, s_dot) = path.at(t);
            // Truncation (π/2)³ ε²/6 = 6e-11, round-off 1e-16/ε = 1e-11.
            let off = ((b - a) / (2.0 * eps) - a_dot).abs().max(((q - s) / (2.0 * eps) - s_dot).abs());
            assert!(off < 2e-10, "{} at {t}: {off}", path.name());
        }
    }
}

#[test]
fn the_variance_preserving_path_preserves_it() {
    for t in times() {
        let (a, s, ..) = Path::Vp.at(t);
        assert!((a * a + s * s - 1.0).abs() < 4.0 * f64::EPSILON);
    }
}

#[test]
fn a_path_has_one_name_everywhere() {
    for path in Path::ALL {
        assert_eq!(path.name().parse::<Path>().unwrap(), path);
        assert_eq!(serde_json::to_value(path).unwrap(), path.name());
    }
    assert_eq!(Path::default(), Path::Straight);
    let error = "sideways".parse::<Path>().unwrap_err();
    assert!(error.to_string().contains("unknown path `sideways`") && error.hint().unwrap().contains("straight, vp"));
}

/// For data N(m, σ²) what matching learns is E[u | x_t] = a′m + (aa′σ² + ss′)/(a²σ² + s²) (x_t − a m). Its flow is
/// linear and keeps the order, so it carries z to m + σz.
#[test]
fn the_flow_of_the_mean_velocity_carries_the_normal_to_the_data() {
    for path in Path::ALL {
        for (m, sigma) in [(0.0, 1.0), (0.7, 2.0), (-3.0, 0.4)] {
            let field = |x: f64, t: f64| {
                let (a, s, a_dot, s_dot) = path.at(t);
                let slope = (a * a_dot * sigma * sigma + s * s_dot) / (a * a * sigma * sigma + s * s);
                a_dot * m + slope * (x - a * m)
            };
            for z in [-2.0, -0.5, 0.0, 1.3] {
                let (steps, mut x) = (400, z);
                let h = 1.0 / f64::from(steps);
                for i in 0..steps {
                    let t = f64::from(i) * h;
                    let k1 = field(x, t);
                    let k2 = field(x + 0.5 * h * k1, t + 0.5 * h);
                    let k3 = field(x + 0.5 * h * k2, t + 0.5 * h);
                    let k4 = field(x + h * k3, t + h);
                    x += h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4);
                }
                // h⁴ = 4e-11, times derivatives that reach (σ + 1/σ)⁵ = 60.
                let off = (x - (m + sigma * z)).abs();
                assert!(off < 1e-8, "{}: {z} went to {x}, off by {off}", path.name());
            }
        }
    }
}

fn batch(d: usize) -> Batch {
    // More rows than a chunk, and not a multiple of anything.
    let n = 131;
    let normal = |stream| StandardNormal::new(d).draw(n, &mut rng::stream(7, stream));
    let t = (0..n).map(|i| i as f64 / (n - 1) as f64).collect();
    Batch { x: normal(1), z: normal(2), t, ..Batch::default() }
}

fn loss(path: Path, velocity: &VelocitySpec, theta: &[f64], batch: &Batch) -> LossGradient {
    let context = LossContext { path, ..LossContext::new(velocity.clone(), SolverSpec::default()) };
    Criterion::Matching.gradient(&context, theta, Precision::F64, batch).unwrap()
}

/// A linear net sees x_t and is held to u.
#[test]
fn matching_regresses_on_the_velocity_of_its_path() {
    let layers = vec![Layer::ConcatLinear { inputs: 2, outputs: 2 }];
    let velocity = VelocitySpec::Layers(LayerNetSpec { dim: 2, condition_dim: 0, layers });
    // v = W x_t + w t + b with the weights [W | w or w | W] and b: the net itself tells which.
    let theta: Vec<f64> = velocity.init(&mut rng::stream(8, 0)).into_iter().map(f64::from).collect();
    let batch = batch(2);
    let net = velocity.bind_here(&theta).unwrap();
    for path in Path::ALL {
        let mut sum = 0.0;
        for (i, t) in batch.t.iter().enumerate() {
            let (a, s, a_dot, s_dot) = path.at(*t);
            let (x, z) = (&batch.x[2 * i..][..2], &batch.z[2 * i..][..2]);
            let x_t = [a * x[0] + s * z[0], a * x[1] + s * z[1]];
            let v = value(&*net, x_t, *t);
            sum += (0..2).map(|j| (v[j] - (a_dot * x[j] + s_dot * z[j])).powi(2)).sum::<f64>();
        }
        let found = loss(path, &velocity, &theta, &batch).loss;
        let expected = sum / batch.x.len() as f64;
        assert!((found - expected).abs() < 1e-13 * expected, "{}: {found} against {expected}", path.name());
    }
}

/// m_θ at one point.
fn value(net: &dyn cnflow::velocity::Velocity<f64>, x: [f64; 2], t: f64) -> [f64; 2] {
    use cnflow::velocity::{Batch, Trace};
    let mut evaluator = net.evaluator(Batch { condition: &[], keys: &[], trace: Trace::Exact, lanes: 1 });
    let stride = cnflow_solvers::lanes::stride_for(1);
    let (mut tile, mut out) = (vec![0.0; 2 * stride], vec![0.0; 2 * stride]);
    (tile[0], tile[stride]) = (x[0], x[1]);
    evaluator.value(
        cnflow_solvers::At::new(&[t], &[0]),
        cnflow_solvers::Lanes::new(&tile, 2, 1, stride),
        cnflow_solvers::LanesMut::new(&mut out, 2, 1, stride),
    );
    [out[0], out[stride]]
}

#[test]
fn the_gradient_on_every_path_is_that_of_central_differences() {
    let (activation, time) = (Activation::Silu, TimeInput::Plain);
    let velocity = VelocitySpec::Mlp(MlpSpec { dim: 3, condition_dim: 0, hidden: vec![5, 4], activation, time });
    let theta: Vec<f64> = velocity.init(&mut rng::stream(7, 3)).into_iter().map(f64::from).collect();
    let (batch, eps) = (batch(3), 1e-5);
    for path in Path::ALL {
        let gradient = loss(path, &velocity, &theta, &batch).gradient;
        for i in 0..theta.len() {
            let at = |step: f64| {
                let mut theta = theta.clone();
                theta[i] += step;
                loss(path, &velocity, &theta, &batch).loss
            };
            // Truncation ε² = 1e-10, round-off 1e-15/ε = 1e-10.
            let difference = (at(eps) - at(-eps)) / (2.0 * eps);
            assert!((difference - gradient[i]).abs() < 1e-8, "{} θ[{i}]", path.name());
        }
    }
}
