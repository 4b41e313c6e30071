//! Laws of every stage of a flow, over every architecture that moves points: its points, its log-density, its ends.

use cnflow::continuous::{End, SolverSpec};
use cnflow::discrete::{Discrete, DiscreteSpec};
use cnflow::model::{Architecture, BaseFlow, FlowSpec, Model, Moments, Solved};
use cnflow::rng::stream;
use cnflow::transform::{Column, Condition, ContextColumn, Mixture, Rosenblatt, StandardNormal};
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};

use crate::common::discrete::{bent, draws, every_discrete};
use crate::common::maps::forward;

/// A frame of other units, and conditions that are encoded: two of a class of two, or a class and a number.
fn framed(architecture: Architecture, theta: Vec<f32>) -> Model {
    let (d, c) = (architecture.dim(), architecture.condition_dim());
    let moments = Moments { mean: vec![5.0; d], std: (0..d).map(|j| 0.5 + j as f64).collect() };
    let number = || ContextColumn::Number { mean: 10.0, std: 4.0 };
    let condition = match c {
        0 => None,
        c => Some(Condition { columns: (0..c).map(|_| number()).collect(), names: Vec::new() }),
    };
    let solver = SolverSpec { rtol: 1e-8, atol: 1e-8, ..SolverSpec::default() };
    let spec = FlowSpec { standardise: Some(moments), condition, solver, ..FlowSpec::bare(architecture) };
    Model { spec, theta, provenance: serde_json::Map::new() }
}

fn velocity(dim: usize, condition_dim: usize) -> (Architecture, Vec<f32>) {
    let (activation, time) = (Activation::Tanh, TimeInput::Plain);
    let spec = VelocitySpec::Mlp(MlpSpec { dim, condition_dim, hidden: vec![16, 16], activation, time });
    let theta = spec.init(&mut stream(11, dim as u64)).iter().map(|w| 2.0 * w).collect();
    (Architecture::Velocity(spec), theta)
}

fn of_layers(spec: DiscreteSpec) -> (Architecture, Vec<f32>) {
    let theta = bent(&spec, 3).iter().map(|w| *w as f32).collect();
    (Architecture::Discrete(spec), theta)
}

/// Every kind of discrete flow and velocities, conditional and not, in frames of several kinds.
fn every_architecture() -> Vec<(String, Model)> {
    let mut all: Vec<(String, Model)> = Vec::new();
    for (name, spec) in every_discrete() {
        let (architecture, theta) = of_layers(spec);
        all.push((name, framed(architecture, theta)));
    }
    for (d, c) in [(1, 0), (2, 0), (2, 2), (5, 0)] {
        let (architecture, theta) = velocity(d, c);
        all.push((format!("cnf d={d} c={c}"), framed(architecture, theta)));
    }
    // A class becomes a column for each of its values.
    let (architecture, theta) = velocity(2, 3);
    let classes = ContextColumn::Class { classes: vec![0, 1] };
    let columns = vec![classes, ContextColumn::Number { mean: 1.0, std: 2.0 }];
    let mut model = framed(architecture, theta);
    model.spec.condition = Some(Condition { columns, names: Vec::new() });
    all.push(("cnf of a class".into(), model));
    // A velocity that begins at a discrete flow.
    for (name, layers) in every_discrete().into_iter().filter(|(_, layers)| layers.dim > 1) {
        let (architecture, theta) = velocity(layers.dim, layers.condition_dim);
        let mut model = framed(architecture, theta);
        let theta = bent(&layers, 3).iter().map(|w| *w as f32).collect();
        model.spec.base_flow = Some(BaseFlow { layers, theta });
        all.push((format!("cnf on {name}"), model));
    }
    // An architecture that begins at a mixture, and columns of a kind.
    let mixture =
        || Mixture::new(vec![0.3, 0.7], vec![1.0, -1.0, -0.5, 0.5], vec![0.5, 0.0, 0.2, 0.4, 1.0, 0.0, -0.3, 0.8]);
    let two = |(_, spec): &(String, DiscreteSpec)| spec.dim == 2;
    let layers = every_discrete().into_iter().find(two).map(|(_, spec)| of_layers(spec)).unwrap();
    for (name, (architecture, theta)) in [("cnf", velocity(2, 0)), ("layers", layers)] {
        let mut model = framed(architecture, theta);
        model.spec.base = Some(mixture().unwrap());
        model.spec.columns = Some(vec![Column::Plain, Column::Positive]);
        model.spec.standardise = Some(Moments { mean: vec![1.0, 0.5], std: vec![2.0, 0.3] });
        all.push((format!("{name} from a mixture, of a positive column"), model));
    }
    all
}

const N: usize = 23;

/// Latents, and conditions as the user has them.
fn particles(model: &Model) -> (Vec<f64>, Vec<f64>) {
    let z = StandardNormal::new(model.dim()).draw(N, &mut stream(1, 2));
    // Classes 0 and 1, which as numbers are numbers like others.
    let c = (0..N * model.condition_dim()).map(|i| (i / model.condition_dim().max(1) % 2) as f64).collect();
    (z, c)
}

fn at_all_stages(model: &Model) -> Vec<f64> {
    let layers = model.spec.stages().unwrap().unwrap_or(4);
    (0..=layers).map(|l| l as f64 / layers as f64).collect()
}

fn worst(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs() / (1.0 + b.abs()))
        .fold(0.0, |m, e| if e > m || e.is_nan() { e } else { m })
}

/// Layers are exact to the round-off of nets that bend; a velocity to its dense output, of order 4 between steps that
/// are good to 1e-8, and to the estimate of the quadrature that it is compared with.
fn bound(model: &Model) -> f64 {
    if model.spec.architecture.as_velocity().is_some() { 2e-5 } else { 1e-9 }
}

#[test]
fn the_first_stage_is_the_latent_in_the_frame_and_the_last_is_the_data() {
    for (name, model) in every_architecture() {
        let (z, c) = particles(&model);
        let at = at_all_stages(&model);
        let found = model.stages(Precision::F64, &z, End::Latent, &c, &at).unwrap();
        let width = N * model.dim();
        assert_eq!((found.points.len(), found.log_prob.len()), (at.len() * width, at.len() * N), "{name}");
        assert!(found.cost.failures.is_empty(), "{name}");
        let mut start = z.clone();
        if let Some(mixture) = &model.spec.base {
            start = forward(&Rosenblatt::new(mixture.clone()), &start, &[]).y;
        }
        if let Some(BaseFlow { layers, theta }) = &model.spec.base_flow {
            let theta: Vec<f64> = theta.iter().map(|w| f64::from(*w)).collect();
            let layers = Discrete::new(layers.clone(), &theta, Precision::F64).unwrap();
            start = forward(&layers, &start, &model.spec.encoded(&c).unwrap()).y;
        }
        for layer in model.spec.preprocessing().unwrap() {
            start = forward(&*layer, &start, &[]).y;
        }
        assert_eq!(&found.points[..width], start, "{name}");
        let Solved { y: x, log_prob: log_p, .. } = model.bind(Precision::F64).unwrap().decode(&z, &c).unwrap();
        let last = (&found.points[found.points.len() - width..], &found.log_prob[found.log_prob.len() - N..]);
        assert!(worst(last.0, &x) < bound(&model), "{name}");
        let error = worst(last.1, &log_p);
        assert!(error < bound(&model), "{name}: {error:e}");
    }
}

#[test]
fn every_stage_has_the_log_density_of_its_own_distribution_and_leads_back_to_the_latent() {
    for (name, model) in every_architecture() {
        let (z, c) = particles(&model);
        let (at, d) = (at_all_stages(&model), model.dim());
        let found = model.stages(Precision::F64, &z, End::Latent, &c, &at).unwrap();
        for (k, t) in at.iter().enumerate() {
            let (points, log_prob) = (&found.points[k * N * d..][..N * d], &found.log_prob[k * N..][..N]);
            let back = model.bind(Precision::F64).unwrap().until(*t).unwrap().encode(points, &c).unwrap();
            let (there, density) = (worst(&back.y, &z), worst(log_prob, &back.log_prob));
            assert!(there < bound(&model) && density < bound(&model), "{name} at {t}: {there:e}, {density:e}");
        }
        // Data find the way that latents took.
        let arrived = &found.points[(at.len() - 1) * N * d..];
        let back = model.stages(Precision::F64, arrived, End::Data, &c, &at).unwrap();
        let (points, density) = (worst(&back.points, &found.points), worst(&back.log_prob, &found.log_prob));
        assert!(points < bound(&model) && density < bound(&model), "{name}: {points:e}, {density:e}");
        assert!(worst(&back.points[(at.len() - 1) * N * d..], arrived) < 1e-12, "{name}");
    }
}

#[test]
fn stages_have_the_same_bits_alone_in_any_order_and_on_any_number_of_threads() {
    let on = |threads: usize, work: &(dyn Fn() -> (Vec<f64>, Vec<f64>) + Sync)| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    };
    for (name, model) in every_architecture() {
        let (d, c) = (model.dim(), model.condition_dim());
        let n = 150;
        let z = StandardNormal::new(d).draw(n, &mut stream(3, 4));
        let given: Vec<f64> = (0..n * c).map(|i| (i / c % 2) as f64).collect();
        for precision in [Precision::F32, Precision::F64] {
            // An f32 solve has no tolerance of 1e-8.
            let mut model = model.clone();
            model.spec.solver = SolverSpec::default();
            let run = |at: &[f64]| {
                let found = model.stages(precision, &z, End::Latent, &given, at).unwrap();
                (found.points, found.log_prob)
            };
            let (points, log_prob) = on(1, &|| run(&[0.25, 0.75]));
            let other = on(2, &|| run(&[0.75, 0.25]));
            assert_eq!((&points[..n * d], &points[n * d..]), (&other.0[n * d..], &other.0[..n * d]), "{name}");
            assert_eq!((&log_prob[..n], &log_prob[n..]), (&other.1[n..], &other.1[..n]), "{name}");
            let i = 117;
            let one = model.stages(precision, &z[i * d..][..d], End::Latent, &given[i * c..][..c], &[0.25]).unwrap();
            assert_eq!((&one.points[..], one.log_prob[0]), (&points[i * d..][..d], log_prob[i]), "{name}");
        }
    }
}

#[test]
fn methods_of_every_kind_carry_the_log_density() {
    // Those of bdf are by quadrature, back from each stage.
    for (method, fixed_steps, most) in
        [("tsit5", None, 1e-5), ("vern7", None, 1e-5), ("rk4", Some(64), 1e-5), ("bdf", None, 1e-4)]
    {
        let (architecture, theta) = velocity(2, 2);
        let mut model = framed(architecture, theta);
        model.spec.solver = SolverSpec { method: method.into(), fixed_steps, ..model.spec.solver };
        let ((z, c), at) = (particles(&model), [0.0, 0.3, 1.0]);
        let found = model.stages(Precision::F64, &z, End::Latent, &c, &at).unwrap();
        for (k, t) in at.iter().enumerate() {
            let stage = model.bind(Precision::F64).unwrap().until(*t).unwrap();
            let log_p = stage.log_prob(&found.points[k * N * 2..][..N * 2], &c).unwrap().log_prob;
            let error = worst(&found.log_prob[k * N..][..N], &log_p);
            assert!(error < most, "{method} at {t}: {error:e}");
        }
    }
}

#[test]
fn the_stages_of_layers_are_after_whole_layers_and_between_them_is_drawn_a_line() {
    for (name, spec) in every_discrete() {
        let layers = spec.layers.len();
        for l in 0..=layers {
            assert_eq!(spec.layers_until(l as f64 / layers as f64), l, "{name}");
        }
        let (architecture, theta) = of_layers(spec);
        let model = framed(architecture, theta);
        let ((z, c), at) = (particles(&model), at_all_stages(&model));
        let found = model.stages(Precision::F64, &z, End::Latent, &c, &at).unwrap();
        assert_eq!(found.layers, Some((0..=layers).collect()), "{name}");
        let half = 0.5 / layers as f64;
        let between = model.stages(Precision::F64, &z, End::Latent, &c, &[half]).unwrap();
        let width = N * model.dim();
        assert_eq!((&between.points[..], &between.layers), (&found.points[..width], &Some(vec![0])), "{name}");
        let line: Vec<f64> = (0..width).map(|i| 0.5 * (found.points[i] + found.points[width + i])).collect();
        assert!(worst(&found.drawn(half), &line) < 1e-14, "{name}");
        for (k, t) in at.iter().enumerate() {
            assert_eq!(found.drawn(*t), &found.points[k * width..][..width], "{name}");
        }
    }
    // Whatever the number of layers.
    let (_, spec) = every_discrete().remove(0);
    for layers in 1..200 {
        let spec = DiscreteSpec { layers: vec![spec.layers[0].clone(); layers], ..spec.clone() };
        assert!((0..=layers).all(|l| spec.layers_until(l as f64 / layers as f64) == l), "{layers} layers");
        assert!((0..layers).all(|l| spec.layers_until((l as f64 + 0.999) / layers as f64) == l), "{layers} layers");
    }
}

#[test]
fn a_particle_that_fails_is_listed_and_leaves_the_others_alone() {
    let (_, spec) = every_discrete().into_iter().find(|(_, spec)| spec.dim == 2).unwrap();
    let (architecture, theta) = of_layers(spec);
    let model = framed(architecture, theta);
    let z = [0.1, 0.2, f64::NAN, 0.0, 0.3, 0.4];
    let found = model.stages(Precision::F64, &z, End::Latent, &[], &[0.5, 1.0]).unwrap();
    assert_eq!(found.cost.failures.iter().map(|f| f.0).collect::<Vec<_>>(), [1]);
    for (points, log_prob) in found.points.chunks_exact(6).zip(found.log_prob.chunks_exact(3)) {
        assert!(points[..2].iter().chain(&points[4..]).all(|v| v.is_finite()) && points[2].is_nan());
        assert!(log_prob[0].is_finite() && log_prob[1].is_nan() && log_prob[2].is_finite());
    }
}

#[test]
fn what_has_no_stages_says_so_and_what_makes_no_sense_is_refused() {
    let still = Model {
        spec: FlowSpec {
            base: Some(Mixture::new(vec![1.0], vec![0.0, 0.0], vec![1.0, 0.0, 0.0, 1.0]).unwrap()),
            ..FlowSpec::bare(Architecture::Identity { dim: 2 })
        },
        theta: Vec::new(),
        provenance: serde_json::Map::new(),
    };
    let refused = still.stages(Precision::F64, &[0.0; 2], End::Latent, &[], &[0.5]).unwrap_err();
    assert!(refused.to_string().contains("one Gaussian: it has no trajectories"), "{refused}");
    assert!(refused.hint().unwrap().contains("draw its density"), "{refused}");
    for (architecture, theta) in
        [velocity(2, 1), of_layers(every_discrete().into_iter().find(|(_, s)| s.dim == 3).unwrap().1)]
    {
        let model = framed(architecture, theta);
        let (d, c) = (model.dim(), model.condition_dim());
        let (x, given) = (vec![0.0; d], vec![0.0; c]);
        for refused in [
            model.stages(Precision::F64, &x, End::Latent, &given, &[1.5]),
            model.stages(Precision::F64, &x, End::Latent, &given, &[f64::NAN]),
            model.stages(Precision::F64, &x[1..], End::Latent, &given, &[0.5]),
            model.stages(Precision::F64, &x, End::Data, &given[1..], &[0.5]),
        ] {
            assert!(refused.is_err());
        }
        let none = model.stages(Precision::F64, &[], End::Data, &[], &[0.5]).unwrap();
        assert!(none.points.is_empty() && none.log_prob.is_empty());
    }
}

#[test]
fn a_stage_of_a_discrete_flow_is_what_its_first_layers_make() {
    for (name, spec) in every_discrete() {
        let (d, c) = (spec.dim, spec.condition_dim);
        let flow = Discrete::new(spec.clone(), &bent(&spec, 3), Precision::F64).unwrap();
        let z = draws(N, d, 5);
        let given: Vec<f64> = (0..N * c).map(|i| i as f64 / 40.0).collect();
        let paths = flow.paths(&z, End::Latent, &given).unwrap();
        for l in 0..=spec.layers.len() {
            let whole = forward(&flow.until(l).unwrap(), &z, &given);
            assert_eq!(&paths.states[l * N * d..][..N * d], whole.y, "{name}, layer {l}");
            let error = worst(&paths.logdet[l * N..][..N], &whole.logdet);
            assert!(error < 1e-14 * (1.0 + l as f64), "{name}, layer {l}: {error:e}");
        }
    }
}

#[test]
fn stages_of_a_model_that_ends_early_are_those_of_the_whole_one() {
    let mut tried = [0; 2];
    for (name, model) in every_architecture() {
        let whole = model.bind(Precision::F64).unwrap();
        let early = whole.until(0.5).unwrap();
        let (z, c) = particles(&model);
        let places = [0.0, 0.25, 0.5];
        let expected = whole.stages(&z, End::Latent, &c, &places).unwrap();
        let found = early.stages(&z, End::Latent, &c, &places).unwrap();
        for (a, b) in [(&expected.points, &found.points), (&expected.log_prob, &found.log_prob)] {
            assert!(worst(a, b) < bound(&model), "{name}: {:.1e}", worst(a, b));
        }
        // Data of the cut model lie at its end.
        let x = early.decode(&z, &c).unwrap();
        let back = early.stages(&x.y, End::Data, &c, &[0.5]).unwrap();
        for (a, b) in [(&x.y, &back.points), (&x.log_prob, &back.log_prob)] {
            assert!(worst(a, b) < bound(&model), "{name}: {:.1e}", worst(a, b));
        }
        let late = early.stages(&z, End::Latent, &c, &[1.0]).unwrap_err();
        assert!(late.to_string().contains("after the end of the flow") && late.hint().is_some(), "{name}: {late}");
        tried[usize::from(model.spec.architecture.as_velocity().is_some())] += 1;
    }
    assert!(tried.iter().all(|n| *n > 2), "{tried:?}");
}
