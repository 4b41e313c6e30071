//! The gradient of log p by the data and by the condition is that of central differences, for every family of models.

use cnflow::continuous::{LogDensity, SolverSpec, TraceSpec};
use cnflow::discrete::{Kind, Plan};
use cnflow::error::Failure;
use cnflow::model::{Architecture, BaseFlow, BoundModel, FlowSpec, Moments};
use cnflow::rng::stream;
use cnflow::transform::{
    Column, ColumnKind, Condition, ContextColumn, Histogram, Mapped, Mixture, StandardNormal, Tail,
};
use cnflow::velocity::layers::{Layer, LayerNetSpec};
use cnflow::velocity::{
    Activation, GaussianPath, ImageShape, MlpSpec, Path, Precision, PreconditionedSpec, TimeInput, VelocitySpec,
};

use crate::common::discrete::{bent, draws, every_discrete};
use crate::velocity_images::small_images;

const N: usize = 12;

fn mlp(dim: usize, condition_dim: usize, hidden: &[usize]) -> VelocitySpec {
    let (activation, time) = (Activation::Tanh, TimeInput::Plain);
    VelocitySpec::Mlp(MlpSpec { dim, condition_dim, hidden: hidden.to_vec(), activation, time })
}

fn theta(velocity: &VelocitySpec) -> Vec<f64> {
    velocity.init(&mut stream(5, 0)).into_iter().map(|w| 3.0 * f64::from(w)).collect()
}

fn mixture() -> Mixture {
    let factors = vec![0.5, 0.0, 0.2, 0.4, 1.0, 0.0, -0.3, 0.8];
    Mixture::new(vec![0.3, 0.7], vec![1.0, -1.0, -0.5, 0.5], factors).unwrap()
}

fn table(bins: Vec<usize>) -> Histogram {
    let (d, cells) = (bins.len(), bins.iter().product::<usize>());
    let probabilities = (0..cells).map(|i| 2.0 * (i + 1) as f64 / (cells * (cells + 1)) as f64).collect();
    let tails = [Tail { share: 0.1, scale: 0.7 }, Tail { share: 0.2, scale: 0.3 }];
    Histogram::new(vec![[-1.0, 2.0]; d], bins, probabilities).unwrap().with_tails(vec![tails; d]).unwrap()
}

/// Columns of every kind behind a standardisation.
fn framed(spec: FlowSpec) -> FlowSpec {
    let rows: Vec<f64> = (-60..60).map(|i| ((f64::from(i) + 0.5) / 120.0 * std::f64::consts::PI).tan()).collect();
    let kinds = [
        Column::Positive,
        Column::fit(ColumnKind::Heavy, &rows).unwrap(),
        Column::Unit { low: -2.0, high: 5.0 },
        Column::Angle { period: 360.0, cut: 200.0 },
        Column::Plain,
    ];
    let d = spec.dim();
    let moments = Moments { mean: vec![0.2; d], std: (0..d).map(|j| 0.5 + 0.2 * j as f64).collect() };
    FlowSpec { standardise: Some(moments), columns: Some(kinds.into_iter().cycle().take(d).collect()), ..spec }
}

fn bound(spec: &FlowSpec, theta: &[f64]) -> BoundModel {
    spec.bind(theta, Precision::F64).unwrap()
}

/// Models of every family, and by how much a difference may be off.
///
/// Fixed steps make log p a smooth function of x whose gradient is what is returned: what is left is the difference's
/// own error, h⁴ = 1e-16 times a fifth derivative and 1e-15/h = 1e-11 times the amplification of round-off by steep
/// columns and nets (1e-6; the couplings' hinges and bins are steeper: 1e-4). Where steps adapt, log p jumps by its
/// tolerance of some 1e-8 as steps change, and a difference over h = 1e-3 by 1e-5 of that size, in places where the
/// field is steep 1e-3.
fn every_model() -> Vec<(String, BoundModel, f64)> {
    let steps = SolverSpec { fixed_steps: Some(12), ..SolverSpec::default() };
    let quadrature = SolverSpec { log_density: LogDensity::Quadrature, log_density_atol: Some(1e9), ..steps.clone() };
    let adaptive = SolverSpec { rtol: 1e-10, atol: 1e-10, ..SolverSpec::default() };
    let mut all = Vec::new();
    for (d, hidden) in [(1, vec![6]), (2, vec![6, 5]), (3, vec![6, 5, 4])] {
        for (name, solver, most) in
            [("coupled", &steps, 1e-6), ("quadrature", &quadrature, 1e-6), ("adaptive", &adaptive, 1e-3)]
        {
            let velocity = mlp(d, 0, &hidden);
            let spec = FlowSpec::plain(velocity.clone(), solver.clone());
            all.push((format!("cnf {hidden:?} {name}"), bound(&spec, &theta(&velocity)), most));
            all.push((format!("cnf {hidden:?} {name}, columns"), bound(&framed(spec), &theta(&velocity)), most));
        }
    }
    // The map of few steps is smooth too, and its inverse is exact.
    let exact = |method: &str, n| SolverSpec {
        method: method.into(),
        log_density: LogDensity::Exact,
        fixed_steps: Some(n),
        ..SolverSpec::default()
    };
    for (d, c, hidden) in [(1, 0, vec![6]), (2, 0, vec![]), (2, 2, vec![6, 5]), (3, 1, vec![6, 5, 4])] {
        for (method, n) in [("euler", 12), ("midpoint", 5), ("rk4", 2), ("dopri5", 3)] {
            let velocity = mlp(d, c, &hidden);
            let spec = framed(FlowSpec::plain(velocity.clone(), exact(method, n)));
            all.push((format!("cnf {hidden:?}, {n} exact steps of {method}"), bound(&spec, &theta(&velocity)), 1e-6));
        }
    }
    let squash = |inputs, outputs| Layer::ConcatSquash { inputs, outputs };
    let layers = VelocitySpec::Layers(LayerNetSpec::stacked(squash, 2, 0, &[6, 5], Activation::Softplus));
    all.push(("candle layers".into(), bound(&FlowSpec::plain(layers.clone(), steps.clone()), &theta(&layers)), 1e-6));
    for spec in small_images() {
        let name = format!("images {:?}", spec.shape());
        let velocity = VelocitySpec::Image(spec);
        all.push((name, bound(&FlowSpec::plain(velocity.clone(), steps.clone()), &theta(&velocity)), 1e-6));
    }
    let gaussian = GaussianPath { path: Path::Straight, deviation: 2.0 };
    let preconditioned =
        VelocitySpec::Preconditioned(Box::new(PreconditionedSpec { gaussian, net: mlp(2, 0, &[6, 5]) }));
    let conditional = VelocitySpec::Layers(LayerNetSpec::stacked(squash, 2, 2, &[6, 5], Activation::Softplus));
    for (name, velocity) in
        [("layers", layers), ("layers under a condition", conditional), ("preconditioned", preconditioned.clone())]
    {
        let spec = FlowSpec::plain(velocity.clone(), exact("heun", 4));
        all.push((format!("{name}, exact steps"), bound(&spec, &theta(&velocity)), 1e-6));
    }
    let spec = framed(FlowSpec::plain(preconditioned.clone(), steps.clone()));
    all.push(("cnf, preconditioned".into(), bound(&spec, &theta(&preconditioned)), 1e-6));
    // Conditions: every depth, each way to take the trace and to integrate it.
    for (d, hidden) in [(2, vec![]), (1, vec![6]), (2, vec![6, 5]), (3, vec![6, 5, 4])] {
        let conditional = mlp(d, 2, &hidden);
        let lone = SolverSpec { trace: TraceSpec::Hutchinson(2), ..steps.clone() };
        for (name, solver, most) in [
            ("coupled", &steps, 1e-6),
            ("quadrature", &quadrature, 1e-6),
            ("adaptive", &adaptive, 1e-3),
            ("by probes", &lone, 1e-6),
        ] {
            let spec = FlowSpec::plain(conditional.clone(), solver.clone());
            // A probe is a function of x.
            let most = if name == "by probes" { f64::INFINITY } else { most };
            let name = format!("cnf {hidden:?} {name}, conditional");
            all.push((name, bound(&framed(spec), &theta(&conditional)), most));
        }
    }
    let layers = VelocitySpec::Layers(LayerNetSpec::stacked(squash, 2, 2, &[6, 5], Activation::Softplus));
    for (name, solver) in [("coupled", &steps), ("quadrature", &quadrature)] {
        let spec = FlowSpec::plain(layers.clone(), solver.clone());
        all.push((format!("candle layers {name}, conditional"), bound(&spec, &theta(&layers)), 1e-6));
    }
    let net = mlp(2, 1, &[6, 5]);
    let preconditioned = VelocitySpec::Preconditioned(Box::new(PreconditionedSpec { gaussian, net }));
    let spec = framed(FlowSpec::plain(preconditioned.clone(), steps.clone()));
    all.push(("cnf, preconditioned, conditional".into(), bound(&spec, &theta(&preconditioned)), 1e-6));
    let conditional = mlp(2, 1, &[6]);
    let spec = FlowSpec { base: Some(mixture()), ..FlowSpec::plain(conditional.clone(), steps.clone()) };
    all.push(("cnf from a mixture, conditional".into(), bound(&spec, &theta(&conditional)), 1e-6));
    let conditional = mlp(2, 3, &[8]);
    let columns = vec![ContextColumn::Class { classes: vec![0, 1] }, ContextColumn::Number { mean: 1.0, std: 2.0 }];
    let condition = Some(Condition { columns, names: Vec::new() });
    let spec = FlowSpec { condition, ..framed(FlowSpec::plain(conditional.clone(), steps.clone())) };
    all.push(("cnf under a class and a number".into(), bound(&spec, &theta(&conditional)), 1e-6));
    let velocity = mlp(2, 0, &[8, 8]);
    let fixed = steps.clone();
    let spec = FlowSpec { base: Some(mixture()), ..framed(FlowSpec::plain(velocity.clone(), steps)) };
    all.push(("cnf from a mixture".into(), bound(&spec, &theta(&velocity)), 1e-6));
    all.push(("cnf half way".into(), bound(&spec, &theta(&velocity)).until(0.5).unwrap(), 1e-6));
    for (name, spec) in every_discrete() {
        let theta = bent(&spec, 3);
        let is_image = spec.image.is_some();
        let whole = FlowSpec::bare(Architecture::Discrete(spec));
        // Pixels have no kinds of columns.
        let frame = if is_image { whole.clone() } else { framed(whole.clone()) };
        all.push((format!("{name}, columns"), bound(&frame, &theta), 1e-4));
        if whole.condition_dim() > 0 {
            let number = |j: usize| ContextColumn::Number { mean: 0.3, std: 0.5 + j as f64 };
            let columns = (0..whole.condition_dim()).map(number).collect();
            let condition = Some(Condition { columns, names: Vec::new() });
            let scaled = FlowSpec { condition, ..whole.clone() };
            all.push((format!("{name} under numbers"), bound(&scaled, &theta), 1e-4));
        }
        if !is_image && whole.dim() > 1 {
            let Architecture::Discrete(layers) = whole.architecture.clone() else { unreachable!() };
            let velocity = mlp(whole.dim(), whole.condition_dim(), &[6, 5]);
            let base_flow = BaseFlow { layers, theta: theta.iter().map(|w| *w as f32).collect() };
            let spec = FlowSpec { base_flow: Some(base_flow), ..FlowSpec::plain(velocity.clone(), fixed.clone()) };
            all.push((format!("cnf on {name}"), bound(&framed(spec), &self::theta(&velocity)), 1e-4));
        }
        if whole.dim() == 2 {
            let based = FlowSpec { base: Some(mixture()), ..whole };
            all.push((format!("{name} from a mixture"), bound(&based, &theta), 1e-4));
        }
    }
    for d in [1, 2] {
        let still = FlowSpec::bare(Architecture::Identity { dim: d });
        all.push((format!("a normal, d={d}"), bound(&framed(still), &[]), 1e-6));
        let spec = FlowSpec::bare(Architecture::Histogram(table(vec![4; d])));
        all.push((format!("a table, d={d}"), bound(&spec, &[]), 1e-6));
        all.push((format!("a table, d={d}, columns"), bound(&framed(spec), &[]), 1e-6));
    }
    let gaussians = FlowSpec { base: Some(mixture()), ..FlowSpec::bare(Architecture::Identity { dim: 2 }) };
    all.push(("mixture".into(), bound(&gaussians, &[]), 1e-6));
    all
}

/// Whether a column of conditions is a class.
fn is_class(model: &BoundModel, j: usize) -> bool {
    let columns = model.spec().condition.as_ref().map(|condition| &condition.columns);
    columns.is_some_and(|columns| matches!(columns[j], ContextColumn::Class { .. }))
}

/// Rows within the ranges of their columns, and their conditions.
fn rows(model: &BoundModel) -> (Vec<f64>, Vec<f64>) {
    let c = model.condition_dim();
    let mut condition = draws(N, c, 9);
    for j in (0..c).filter(|j| is_class(model, *j)) {
        condition.iter_mut().skip(j).step_by(c).enumerate().for_each(|(i, class)| *class = (i % 2) as f64);
    }
    let mut x = Mapped::points(draws(N, model.dim(), 7));
    for layer in model.spec().preprocessing().unwrap() {
        layer.forward(&mut x, &[]).unwrap();
    }
    (x.y, condition)
}

/// In the names of models with a column of heavy tails, whose slope has corners at its knots.
const KNOTS: &str = ", with knots";

/// Holds the derivatives `[N, width]` by the numbers `at` (`[N, width]`) against fourth-order differences of `log_prob`,
/// but for the columns that `skip` names.
fn check_differences(
    name: &str,
    (at, derivatives, most): (&[f64], &[f64], f64),
    here: &[f64],
    skip: impl Fn(usize) -> bool,
    log_prob: impl Fn(&[f64]) -> Vec<f64>,
) {
    let width = at.len() / N;
    for j in (0..width).filter(|j| !skip(*j)) {
        // By a step that the column's own unit resolves; log p is steep near the end of a range, and the step short
        // there.
        let part = if most > 1e-4 { 1e-3 } else { 1e-4 };
        let step = |i: usize| part * at[i].abs().clamp(1e-2, 10.0) / derivatives[i].abs().max(1.0);
        let moved = |times: f64| -> Vec<f64> {
            let mut moved = at.to_vec();
            (j..at.len()).step_by(width).for_each(|i| moved[i] += times * step(i));
            log_prob(&moved)
        };
        let (up, down, up2, down2) = (moved(1.0), moved(-1.0), moved(2.0), moved(-2.0));
        for row in 0..N {
            let (derivative, h) = (derivatives[row * width + j], step(row * width + j));
            let difference = (8.0 * (up[row] - down[row]) - (up2[row] - down2[row])) / (12.0 * h);
            let gap = (derivative - difference).abs();
            // A corner (of relu, of a bin of a table or of a spline, of a knot of heavy tails) among the places makes the
            // difference that of neither side: the gradient is then between the slopes from one place to the next.
            let places = [down2[row], down[row], here[row], up[row], up2[row]];
            let slopes = || places.windows(2).map(|pair| (pair[1] - pair[0]) / h);
            let (low, high) = (slopes().fold(f64::INFINITY, f64::min), slopes().fold(f64::NEG_INFINITY, f64::max));
            let allowed = most * (1.0 + difference.abs());
            let corner = ["relu", "table", "spline of ImageShape", KNOTS].into_iter().any(|part| name.contains(part));
            let between = low - allowed < derivative && derivative < high + allowed;
            let right = gap < allowed || (corner && between);
            assert!(right, "{name}, row {row}, column {j}: {derivative} against {difference}");
        }
    }
}

#[test]
fn the_gradient_of_log_p_is_that_of_central_differences_in_every_family() {
    for (mut name, model, most) in every_model() {
        if model.spec().columns.iter().flatten().any(|column| matches!(column, Column::Heavy(_))) {
            name += KNOTS;
        }
        let (x, condition) = rows(&model);
        let found = model.log_prob_and_grad(&x, &condition).unwrap();
        let here = &found.scored.log_prob;
        assert_eq!(*here, model.log_prob(&x, &condition).unwrap().log_prob, "{name}");
        assert!((0..N).all(|row| found.row(row).is_ok()), "{name}");
        let by_x = |moved: &[f64]| model.log_prob(moved, &condition).unwrap().log_prob;
        check_differences(&name, (&x, &found.gradient, most), here, |_| most.is_infinite(), by_x);
        let (c, by) = (model.condition_dim(), &found.condition_gradient);
        assert_eq!(by.len(), N * c, "{name}");
        for (i, derivative) in by.iter().enumerate() {
            assert_eq!(derivative.is_nan(), is_class(&model, i % c), "{name}, condition {i}");
        }
        let most = if most.is_infinite() { 1e-6 } else { most };
        let by_condition = |moved: &[f64]| model.log_prob(&x, moved).unwrap().log_prob;
        check_differences(
            &format!("{name}, by the condition"),
            (&condition, by, most),
            here,
            |j| is_class(&model, j),
            by_condition,
        );
    }
}

#[test]
fn a_gradient_by_the_condition_has_the_same_bits_alone_and_in_a_batch() {
    let (velocity, shape) = (mlp(2, 2, &[16, 16, 16]), ImageShape { height: 4, width: 4, channels: 1 });
    let image = |kind| Plan { condition_dim: 2, depth: 2, hidden: vec![6, 7], ..Plan::of_images(kind, shape) };
    let rows = |kind| Plan { condition_dim: 2, depth: 3, hidden: vec![9, 9], ..Plan::usual(kind, 2) };
    let plans = [rows(Kind::RealNvp), rows(Kind::Spline), image(Kind::Glow)];
    let steps = SolverSpec { trace: TraceSpec::Hutchinson(2), ..SolverSpec::default() };
    let mut all: Vec<(FlowSpec, Vec<f64>)> = plans
        .iter()
        .map(|plan| plan.spec(&mut stream(3, 0)).unwrap())
        .map(|spec| (FlowSpec::bare(Architecture::Discrete(spec.clone())), bent(&spec, 3)))
        .collect();
    for solver in [SolverSpec::default(), steps] {
        all.push((FlowSpec::plain(velocity.clone(), solver), theta(&velocity)));
    }
    let of_images = VelocitySpec::Image(small_images().into_iter().find(|spec| spec.condition_dim == 2).unwrap());
    let weights = draws(of_images.n_params(), 1, 4).into_iter().map(|w| 0.5 * w).collect();
    all.push((FlowSpec::plain(of_images, SolverSpec::default()), weights));
    for (spec, theta) in all {
        let (d, n) = (spec.dim(), if spec.dim() > 2 { 37 } else { 300 });
        let model = spec.bind(&theta, Precision::F32).unwrap();
        let (x, condition) = (draws(n, d, 1), draws(n, 2, 2));
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| model.log_prob_and_grad(&x, &condition).unwrap().condition_gradient)
        };
        let one = on(1);
        assert!(one.iter().all(|by| by.is_finite()) && one.iter().any(|by| *by != 0.0), "{model:?}");
        assert_eq!(one, on(3), "{model:?}");
        for row in [0, 17, n - 1] {
            let (x, condition) = (&x[d * row..d * (row + 1)], &condition[2 * row..2 * row + 2]);
            let alone = model.log_prob_and_grad(x, condition).unwrap().condition_gradient;
            assert_eq!(alone, one[2 * row..2 * row + 2], "{model:?}, row {row}");
        }
    }
}

#[test]
fn a_gradient_in_f32_is_that_in_f64() {
    let single = |numbers: Vec<f64>| numbers.into_iter().map(|x| f64::from(x as f32)).collect::<Vec<f64>>();
    // Equal steps: both precisions take the same.
    let steps = SolverSpec { fixed_steps: Some(12), ..SolverSpec::default() };
    let quadrature = SolverSpec { log_density: LogDensity::Quadrature, log_density_atol: Some(1e9), ..steps.clone() };
    let squash = |inputs, outputs| Layer::ConcatSquash { inputs, outputs };
    let layers = VelocitySpec::Layers(LayerNetSpec::stacked(squash, 2, 0, &[6, 5], Activation::Softplus));
    let mut all = Vec::new();
    for velocity in [mlp(1, 0, &[6]), mlp(2, 0, &[6, 5]), mlp(3, 0, &[6, 5, 4]), layers] {
        for solver in [&steps, &quadrature] {
            let name = format!("{velocity:?} {:?}", solver.log_density);
            let spec = FlowSpec::plain(velocity.clone(), solver.clone());
            all.push((format!("{name}, columns"), framed(spec.clone()), theta(&velocity)));
            all.push((name, spec, theta(&velocity)));
        }
    }
    for (name, spec) in every_discrete() {
        let theta = bent(&spec, 3);
        all.push((name.to_string(), FlowSpec::bare(Architecture::Discrete(spec)), theta));
    }
    for (name, spec, theta) in all {
        let theta = single(theta);
        let [narrow, wide] = [Precision::F32, Precision::F64].map(|precision| spec.bind(&theta, precision).unwrap());
        let (x, condition) = rows(&wide);
        let x = single(x);
        let [narrow, wide] = [narrow, wide].map(|model| model.log_prob_and_grad(&x, &condition).unwrap().gradient);
        let size = wide.iter().fold(1.0, |most: f64, g| most.max(g.abs()));
        for (found, exact) in narrow.iter().zip(&wide) {
            // Some hundred roundings of 6e-8, amplified on the way by e^L, as the gradient itself is.
            assert!((found - exact).abs() < 1e-4 * size, "{name}: {found} or {exact}, of {size}");
        }
    }
}

#[test]
fn rows_without_a_density_have_no_gradient_and_leave_the_others_alone() {
    let velocity = mlp(2, 0, &[8]);
    let spec = FlowSpec {
        columns: Some(vec![Column::Plain, Column::Positive]),
        ..FlowSpec::plain(velocity.clone(), SolverSpec::default())
    };
    let model = spec.bind(&theta(&velocity), Precision::F32).unwrap();
    let x = [0.1, 0.2, f64::NAN, 1.0, 0.3, -1.0, 0.5, 0.6];
    let found = model.log_prob_and_grad(&x, &[]).unwrap();
    assert_eq!(found.row(1), Err(Failure::Point));
    assert_eq!(found.row(2), Err(Failure::Outside));
    for row in [0, 3] {
        let alone = model.log_prob_and_grad(&x[2 * row..2 * row + 2], &[]).unwrap();
        assert_eq!(found.row(row), alone.row(0));
    }
    let implicit = FlowSpec { solver: SolverSpec { method: "bdf".into(), ..SolverSpec::default() }, ..spec.clone() };
    let refused = implicit.bind(&theta(&velocity), Precision::F64).unwrap().log_prob_and_grad(&x, &[]).unwrap_err();
    assert!(refused.to_string().contains("`bdf` has no gradient"), "{refused}");
}

#[test]
fn a_gradient_has_the_same_bits_alone_and_on_any_number_of_threads() {
    let velocity = mlp(2, 0, &[16, 16, 16]);
    let solver = SolverSpec { trace: TraceSpec::Hutchinson(2), ..SolverSpec::default() };
    let model = FlowSpec::plain(velocity.clone(), solver).bind(&theta(&velocity), Precision::F32).unwrap();
    // More than one block of tapes.
    let x = StandardNormal::new(2).draw(2100, &mut stream(8, 0));
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| model.log_prob_and_grad(&x, &[]).unwrap().gradient)
    };
    let one = on(1);
    assert_eq!(one, on(3));
    for row in [0, 1000, 2099] {
        let alone = model.log_prob_and_grad(&x[2 * row..2 * row + 2], &[]).unwrap();
        assert_eq!(alone.gradient, one[2 * row..2 * row + 2]);
    }
}
