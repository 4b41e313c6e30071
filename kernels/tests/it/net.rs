//! The laws of a net, over every case.

use cnflow_kernels::{Activation, Keep, Net, NetSpec, Scalar, Start};

use crate::cases::{Case, Kind, bits, every_case, numbers, rows, tile, view, view_mut};
use crate::points::{Found, Points, Sizes, all, check_lanes, check_same, dot};

fn sizes(case: &Case) -> Sizes {
    Sizes { inputs: case.inputs, active: case.active, aux: 0, outputs: case.outputs() }
}

/// Value, tangents and the pull-back of `which` of them: of the value, of the tangents.
fn found<T: Scalar>(case: &Case, net: &Net<T>, p: &Points<T>, samples: &[usize], which: (bool, bool)) -> Found<T> {
    let (lanes, inputs, active, outputs) = (samples.len(), case.inputs, case.active, case.outputs());
    let mut evaluator = net.evaluator(lanes);
    let mut y = tile(&p.y_bar, outputs, samples);
    evaluator.forward(
        view(&tile(&p.x, inputs, samples), inputs, lanes),
        view_mut(&mut y, outputs, lanes),
        Keep::Second,
    );
    let mut found = Found { y: rows(&y, outputs, lanes), g: vec![T::ZERO; net.n_params()], ..Found::default() };
    for (dx, dy_bar) in p.dx.iter().zip(&p.dy_bar) {
        let mut dy = tile(dy_bar, outputs, samples);
        evaluator.tangent(view(&tile(dx, active, samples), active, lanes), view_mut(&mut dy, outputs, lanes));
        found.dy.push(rows(&dy, outputs, lanes));
        if which.1 {
            let mut dx_bar = tile(dx, active, samples);
            let bar = tile(dy_bar, outputs, samples);
            evaluator.pull_back_tangent(view(&bar, outputs, lanes), view_mut(&mut dx_bar, active, lanes), &mut found.g);
            found.dx_bar.push(rows(&dx_bar, active, lanes));
        }
    }
    let (mut x_bar, y_bar) = (tile(&p.dx[0], active, samples), tile(&p.y_bar, outputs, samples));
    let bar = which.0.then(|| view(&y_bar, outputs, lanes));
    evaluator.pull_back(bar, view_mut(&mut x_bar, active, lanes), &mut found.g);
    found.x_bar = rows(&x_bar, active, lanes);
    found
}

#[test]
fn values_are_those_of_plain_loops() {
    for case in every_case() {
        let theta = case.theta::<f64>(7);
        let narrow: Vec<f32> = theta.iter().map(|w| *w as f32).collect();
        let (p, q) = (Points::<f64>::new(sizes(&case), 21), Points::<f32>::new(sizes(&case), 21));
        let wide = found(&case, &case.net(&theta), &p, &all(21), (false, false)).y;
        let short = found(&case, &case.net(&narrow), &q, &all(21), (false, false)).y;
        for l in 0..21 {
            let plain = case.by_loops(&theta, &p.x[l * case.inputs..][..case.inputs]);
            for (i, plain) in plain.iter().enumerate() {
                let k = l * case.outputs() + i;
                // Sums of at most 34 numbers of order 1, three in a row.
                assert!((wide[k] - plain).abs() < 1e-14, "{case:?}: {} or {plain}", wide[k]);
                assert!((f64::from(short[k]) - plain).abs() < 5e-6, "{case:?}: {} or {plain}", short[k]);
            }
        }
    }
}

#[test]
fn tangents_are_central_differences_of_the_value() {
    for case in every_case() {
        let theta = case.theta::<f64>(7);
        let (net, p) = (case.net(&theta), Points::<f64>::new(sizes(&case), 5));
        let here = found(&case, &net, &p, &all(5), (false, false));
        let h = 1e-5;
        for (dx, dy) in p.dx.iter().zip(&here.dy) {
            for l in 0..5 {
                let at = |by: f64| {
                    let mut x = p.x[l * case.inputs..][..case.inputs].to_vec();
                    (0..case.active).for_each(|i| x[i] += by * dx[l * case.active + i]);
                    case.by_loops(&theta, &x)
                };
                for (i, (up, down)) in at(h).iter().zip(at(-h)).enumerate() {
                    let (dy, difference) = (dy[l * case.outputs() + i], (up - down) / (2.0 * h));
                    // h² times third derivatives of order 10, 1e-16 / h of round-off.
                    assert!((dy - difference).abs() < 1e-8, "{case:?}: {dy} or {difference}");
                }
            }
        }
    }
}

#[test]
fn the_transpose_is_that_of_the_tangent() {
    for case in every_case() {
        let (net, p) = (case.net(&case.theta::<f64>(7)), Points::<f64>::new(sizes(&case), 19));
        let Found { dy, x_bar, .. } = found(&case, &net, &p, &all(19), (true, false));
        for (dx, dy) in p.dx.iter().zip(&dy) {
            for l in 0..19 {
                let of = |numbers: &[f64], rows: usize| numbers[l * rows..][..rows].to_vec();
                let left = dot(&of(dy, case.outputs()), &of(&p.y_bar, case.outputs()));
                let right = dot(&of(dx, case.active), &of(&x_bar, case.active));
                assert!((left - right).abs() < 1e-13, "{case:?}: {left} or {right}");
            }
        }
    }
}

#[test]
fn all_pull_backs_are_gradients_of_value_and_tangents() {
    for case in every_case() {
        let theta = case.theta::<f64>(7);
        for which in [(true, false), (false, true), (true, true)] {
            let mut p = Points::<f64>::new(sizes(&case), 3);
            let here = found(&case, &case.net(&theta), &p, &[2, 0, 1], which);
            let loss = |theta: &[f64], p: &Points<f64>| {
                p.loss(&found(&case, &case.net(theta), p, &all(3), (false, false)), which)
            };
            let h = 1e-5;
            // As for tangents, for sums of some ten of them.
            let check = |what: &str, found: f64, up: f64, down: f64| {
                let difference = (up - down) / (2.0 * h);
                assert!((found - difference).abs() < 5e-8, "{case:?} {which:?} {what}: {found} or {difference}");
            };
            for k in 0..theta.len() {
                let moved = |by: f64| {
                    let mut other = theta.clone();
                    other[k] += by;
                    loss(&other, &p)
                };
                check(&format!("θ[{k}]"), here.g[k], moved(h), moved(-h));
            }
            for (l, &sample) in [2, 0, 1].iter().enumerate() {
                for i in 0..case.active {
                    let k = sample * case.inputs + i;
                    let mut moved = |by: f64| {
                        p.x[k] += by;
                        let loss = loss(&theta, &p);
                        p.x[k] -= by;
                        loss
                    };
                    check(&format!("x[{k}]"), here.x_bar[l * case.active + i], moved(h), moved(-h));
                }
                for (d, dx_bar) in here.dx_bar.iter().enumerate() {
                    for i in 0..case.active {
                        let k = sample * case.active + i;
                        let mut moved = |by: f64| {
                            p.dx[d][k] += by;
                            let loss = loss(&theta, &p);
                            p.dx[d][k] -= by;
                            loss
                        };
                        check(&format!("ẋ{d}[{k}]"), dx_bar[l * case.active + i], moved(h), moved(-h));
                    }
                }
            }
        }
    }
}

fn n_lanes_are_n_times_one<T: Scalar>(case: &Case) {
    let (net, p) = (case.net(&case.theta::<T>(7)), Points::<T>::new(sizes(case), 40));
    let found = |samples: &[usize]| found(case, &net, &p, samples, (true, true));
    check_lanes(&format!("{case:?}"), sizes(case), p.n, &[2, 7, 15, 16, 17, 33, 40], found);
}

#[test]
fn a_lane_has_the_same_bits_alone_and_in_any_batch() {
    for case in every_case() {
        n_lanes_are_n_times_one::<f32>(&case);
        n_lanes_are_n_times_one::<f64>(&case);
    }
}

/// The value and its tangents along two directions, of one lane by itself.
fn lone<T: Scalar>(net: &Net<T>, x: &[T], dx: [&[T]; 2]) -> Option<[Vec<T>; 3]> {
    let mut lone = net.lone()?;
    lone.input_mut().copy_from_slice(x);
    net.run_lone(&mut lone, false);
    let value = lone.output().to_vec();
    lone.input_mut().copy_from_slice(x);
    net.run_lone(&mut lone, true);
    assert_eq!(bits(lone.output()), bits(&value), "with and without derivatives");
    (0..2).for_each(|k| lone.direction_mut(k).copy_from_slice(dx[k]));
    net.tangents_lone(&mut lone, Start::Directions(2));
    Some([value, lone.end(0).to_vec(), lone.end(1).to_vec()])
}

fn one_by_itself_is_a_lane<T: Scalar>(what: &str, sizes: Sizes, net: &Net<T>) -> bool {
    let (n, p) = (9, Points::<T>::new(sizes, 9));
    let (lanes, samples) = (n, all(n));
    let mut evaluator = net.evaluator(lanes);
    let mut y = tile(&p.y_bar, sizes.outputs, &samples);
    let x = tile(&p.x, sizes.inputs, &samples);
    evaluator.forward(view(&x, sizes.inputs, lanes), view_mut(&mut y, sizes.outputs, lanes), Keep::First);
    let mut together = vec![rows(&y, sizes.outputs, lanes)];
    for dx in &p.dx {
        let dx = tile(dx, sizes.active, &samples);
        evaluator.tangent(view(&dx, sizes.active, lanes), view_mut(&mut y, sizes.outputs, lanes));
        together.push(rows(&y, sizes.outputs, lanes));
    }
    (0..n).all(|l| {
        let of = |numbers: &'_ [T], rows: usize| numbers[l * rows..][..rows].to_vec();
        let dx = [0, 1].map(|k| of(&p.dx[k], sizes.active));
        let Some(found) = lone(net, &of(&p.x, sizes.inputs), [&dx[0], &dx[1]]) else { return false };
        for (found, together) in found.iter().zip(&together) {
            assert_eq!(bits(found), bits(&of(together, sizes.outputs)), "{what}, lane {l}");
        }
        true
    })
}

#[test]
fn a_lane_by_itself_has_the_bits_of_a_lane_of_a_tile() {
    fn check<T: Scalar>(case: &Case) {
        let net = case.net(&case.theta::<T>(7));
        for net in [net.clone(), net.portable()] {
            let one = one_by_itself_is_a_lane(&format!("{case:?}"), sizes(case), &net);
            let matrices = case.ops.iter().all(|(kind, _)| matches!(kind, Kind::Dense(_)));
            assert_eq!(one, matrices, "{case:?}");
        }
    }
    every_case().iter().for_each(|case| {
        check::<f32>(case);
        check::<f64>(case);
    });
}

#[test]
fn a_lane_by_itself_has_the_bits_of_a_tile_for_every_activation_and_width() {
    fn check<T: Scalar>(sizes: &[usize], activation: Activation) {
        let spec = NetSpec::mlp(sizes, activation, sizes[0]);
        let net = Net::<T>::new(&spec, &numbers(spec.n_params(), 3)).unwrap();
        let (inputs, outputs) = (sizes[0], *sizes.last().unwrap());
        let rows = Sizes { inputs, active: inputs, aux: 0, outputs };
        for net in [net.clone(), net.portable()] {
            assert!(one_by_itself_is_a_lane(&format!("{sizes:?} {activation}"), rows, &net));
        }
    }
    for activation in Activation::ALL {
        for width in [1, 2, 7, 8, 16, 33, 64, 100] {
            for depth in 0..4 {
                let mut sizes = vec![3];
                sizes.extend((0..depth).map(|l| width + l));
                sizes.push(2);
                check::<f32>(&sizes, activation);
                check::<f64>(&sizes, activation);
            }
        }
    }
}

#[test]
fn tangents_that_begin_with_images_are_those_of_unit_directions() {
    let spec = NetSpec::mlp(&[5, 17, 33, 3], Activation::Silu, 4);
    let theta = numbers::<f32>(spec.n_params(), 3);
    let net = Net::new(&spec, &theta).unwrap();
    let x = numbers::<f32>(5, 4);
    let images: Vec<f32> = (0..4 * 17).map(|k| theta[k % 17 * 5 + k / 17]).collect();
    let mut lone = net.lone().unwrap();
    lone.input_mut().copy_from_slice(&x);
    net.run_lone(&mut lone, true);
    let value = bits(lone.output());
    let mut by_directions = Vec::new();
    for j in 0..4 {
        lone.direction_mut(0).fill(0.0);
        lone.direction_mut(0)[j] = 1.0;
        net.tangents_lone(&mut lone, Start::Directions(1));
        by_directions.push(bits(lone.top(0)));
    }
    lone.input_mut().copy_from_slice(&x);
    net.run_lone_with(&mut lone, &images[..2 * 17]);
    assert_eq!(bits(lone.output()), value);
    assert_eq!([1, 2].map(|k| bits(lone.top(k))), by_directions[..2]);
    net.tangents_lone(&mut lone, Start::Images(&images[17..]));
    assert_eq!([0, 1, 2].map(|k| bits(lone.top(k))), by_directions[1..]);
}

fn both_paths_agree<T: Scalar>(case: &Case) {
    let (net, p) = (case.net(&case.theta::<T>(7)), Points::<T>::new(sizes(case), 37));
    let fast = found(case, &net, &p, &all(37), (true, true));
    let plain = found(case, &net.clone().portable(), &p, &all(37), (true, true));
    check_same(&format!("{case:?}"), sizes(case), 37, &fast, &plain);
}

#[test]
fn the_portable_path_gives_the_same_bits() {
    for case in every_case() {
        both_paths_agree::<f32>(&case);
        both_paths_agree::<f64>(&case);
    }
}

#[test]
fn other_parameters_in_place_are_as_good_as_new() {
    for case in every_case() {
        let (mut net, other, p) = (case.net(&case.theta::<f32>(7)), case.theta::<f32>(8), Points::new(sizes(&case), 3));
        net.set_params(&other).unwrap();
        let (changed, fresh) =
            (found(&case, &net, &p, &all(3), (true, true)), found(&case, &case.net(&other), &p, &all(3), (true, true)));
        check_same(&format!("{case:?}"), sizes(&case), 3, &changed, &fresh);
        assert!(net.set_params(&other[1..]).is_err());
    }
}
