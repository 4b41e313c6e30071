//! The laws of nets of operations on images.

use cnflow_kernels::{Activation, ImageNet, ImageNetSpec, ImageOp, ImageWorkspace, Keep, Scalar};

use crate::cases::{numbers, rows, tile, view, view_mut};
use crate::image_cases::{by_loops, conv, every_small_net, net, recipes, shape, theta};
use crate::points::{Found, Points, Sizes, all, check_lanes, check_same};

fn sizes(spec: &ImageNetSpec) -> Sizes {
    let inputs = spec.shape.len();
    Sizes { inputs, active: inputs, aux: spec.aux, outputs: spec.outputs().len() }
}

/// Value, tangents and the pull-back of `which` of them: of the value, of the tangents.
fn found<T: Scalar>(net: &ImageNet<T>, p: &Points<T>, samples: &[usize], which: (bool, bool)) -> Found<T> {
    let (lanes, inputs, outputs, aux) = (samples.len(), net.inputs().len(), net.outputs().len(), net.spec().aux);
    let mut evaluator = net.evaluator(lanes);
    let mut y = tile(&p.y_bar, outputs, samples);
    let (x, c) = (tile(&p.x, inputs, samples), tile(&p.aux, aux, samples));
    let keep = if which.1 { Keep::Second } else { Keep::First };
    evaluator.forward(view(&x, inputs, lanes), view(&c, aux, lanes), view_mut(&mut y, outputs, lanes), keep);
    let mut found = Found { y: rows(&y, outputs, lanes), g: vec![T::ZERO; net.n_params()], ..Found::default() };
    for (dx, dy_bar) in p.dx.iter().zip(&p.dy_bar) {
        let mut dy = tile(dy_bar, outputs, samples);
        evaluator.tangent(view(&tile(dx, inputs, samples), inputs, lanes), view_mut(&mut dy, outputs, lanes));
        found.dy.push(rows(&dy, outputs, lanes));
        if which.1 {
            let (mut dx_bar, bar) = (tile(dx, inputs, samples), tile(dy_bar, outputs, samples));
            evaluator.pull_back_tangent(view(&bar, outputs, lanes), view_mut(&mut dx_bar, inputs, lanes), &mut found.g);
            found.dx_bar.push(rows(&dx_bar, inputs, lanes));
        }
    }
    let (mut x_bar, y_bar) = (tile(&p.dx[0], inputs, samples), tile(&p.y_bar, outputs, samples));
    let bar = which.0.then(|| view(&y_bar, outputs, lanes));
    evaluator.pull_back(bar, view_mut(&mut x_bar, inputs, lanes), &mut found.g);
    found.x_bar = rows(&x_bar, inputs, lanes);
    found
}

fn every_net() -> Vec<ImageNetSpec> {
    [every_small_net(), recipes()].concat()
}

#[test]
fn values_are_those_of_plain_loops() {
    let digits = ImageNetSpec::recipe(shape(28, 28, 1), 30, ImageNetSpec::CHANNELS);
    assert_eq!((digits.n_params(), digits.outputs()), (107_649, shape(28, 28, 1)));
    for spec in every_net().into_iter().chain([digits]) {
        let wide = theta::<f64>(&spec, 7);
        let narrow: Vec<f32> = wide.iter().map(|w| *w as f32).collect();
        let n = if spec.shape.len() < 200 { 19 } else { 2 };
        let (p, q) = (Points::<f64>::new(sizes(&spec), n), Points::<f32>::new(sizes(&spec), n));
        let found_wide = found(&net(&spec, &wide), &p, &all(n), (false, false)).y;
        let found_narrow = found(&net(&spec, &narrow), &q, &all(n), (false, false)).y;
        let outputs = spec.outputs().len();
        for l in 0..n {
            let x = &p.x[l * spec.shape.len()..][..spec.shape.len()];
            let plain = by_loops(&spec, &wide, x, &p.aux[l * spec.aux..][..spec.aux]);
            for (i, plain) in plain.iter().enumerate() {
                let (wide, narrow) = (found_wide[l * outputs + i], found_narrow[l * outputs + i]);
                // Sums of up to 288 numbers of order 1, up to ten in a row; of order 10 at the end.
                assert!((wide - plain).abs() < 1e-13, "{spec:?}: {wide} or {plain}");
                assert!((f64::from(narrow) - plain).abs() < 5e-5, "{spec:?}: {narrow} or {plain}");
            }
        }
    }
}

#[test]
fn the_recipe_is_bounded() {
    for spec in recipes() {
        let net = net(&spec, &theta::<f32>(&spec, 7));
        let mut p = Points::<f32>::new(sizes(&spec), 3);
        let mut at = |scale: f32| {
            p.x.iter_mut().for_each(|x| *x = x.signum() * scale);
            found(&net, &p, &all(3), (false, false)).y
        };
        let (far, farther, farthest) = (at(1e2), at(1e20), at(f32::INFINITY));
        assert!(farthest.iter().all(|y| y.is_finite()), "{spec:?}");
        assert_eq!((&far, &farther), (&farther, &farthest), "{spec:?}");
    }
}

#[test]
fn tangents_are_central_differences_of_the_value() {
    for spec in every_net() {
        let (net, mut p) = (net(&spec, &theta::<f64>(&spec, 7)), Points::<f64>::new(sizes(&spec), 3));
        let tangents = found(&net, &p, &all(3), (false, false)).dy;
        let (h, x) = (1e-5, p.x.clone());
        for (dx, found_dy) in p.dx.clone().iter().zip(&tangents) {
            let mut at = |by: f64| {
                p.x = x.iter().zip(dx).map(|(x, dx)| x + by * dx).collect();
                found(&net, &p, &all(3), (false, false)).y
            };
            let (up, down) = (at(h), at(-h));
            for (k, dy) in found_dy.iter().enumerate() {
                let difference = (up[k] - down[k]) / (2.0 * h);
                // h² third derivatives, and round-off of 1e-14 by h.
                assert!((dy - difference).abs() < 2e-8, "{spec:?} ẏ[{k}]: {dy} or {difference}");
            }
        }
    }
}

/// Some of `n` indices: all of few.
fn some(n: usize, most: usize, seed: u64) -> Vec<usize> {
    if n <= most {
        return all(n);
    }
    numbers::<f64>(most, seed).into_iter().map(|u| ((u + 1.0) / 2.0 * n as f64) as usize).collect()
}

#[test]
fn pull_backs_are_central_differences_of_what_they_pull_back() {
    for spec in every_net() {
        // A difference costs two passes of the whole net: a few of a large one.
        let (of_theta, of_x) = if spec.n_params() < 1000 { (1000, 20) } else { (16, 2) };
        for which in [(true, false), (false, true), (true, true)] {
            let theta = theta::<f64>(&spec, 7);
            let mut p = Points::<f64>::new(sizes(&spec), 3);
            let samples = [2, 0, 1];
            let here = found(&net(&spec, &theta), &p, &samples, which);
            let loss =
                |theta: &[f64], p: &Points<f64>| p.loss(&found(&net(&spec, theta), p, &all(3), (false, false)), which);
            let h = 1e-5;
            let check = |what: String, found: f64, up: f64, down: f64| {
                let difference = (up - down) / (2.0 * h);
                // Differences of sums of some hundred numbers: round-off of 1e-13 by h, third derivatives by h².
                let bound = 5e-8 * (1.0 + difference.abs());
                assert!((found - difference).abs() < bound, "{spec:?} {which:?} {what}: {found} or {difference}");
            };
            for k in some(theta.len(), of_theta, 11) {
                let moved = |by: f64| {
                    let mut other = theta.clone();
                    other[k] += by;
                    loss(&other, &p)
                };
                check(format!("θ[{k}]"), here.g[k], moved(h), moved(-h));
            }
            let inputs = spec.shape.len();
            for (l, &sample) in samples.iter().enumerate() {
                for i in some(inputs, of_x, 12) {
                    let k = sample * inputs + i;
                    let mut moved = |by: f64| {
                        p.x[k] += by;
                        let loss = loss(&theta, &p);
                        p.x[k] -= by;
                        loss
                    };
                    check(format!("x[{k}]"), here.x_bar[l * inputs + i], moved(h), moved(-h));
                    for (d, dx_bar) in here.dx_bar.iter().enumerate() {
                        let mut moved = |by: f64| {
                            p.dx[d][k] += by;
                            let loss = loss(&theta, &p);
                            p.dx[d][k] -= by;
                            loss
                        };
                        check(format!("ẋ{d}[{k}]"), dx_bar[l * inputs + i], moved(h), moved(-h));
                    }
                }
            }
        }
    }
}

fn n_lanes_are_n_times_one<T: Scalar>(spec: &ImageNetSpec) {
    let (net, p) = (net(spec, &theta::<T>(spec, 7)), Points::<T>::new(sizes(spec), 21));
    let found = |samples: &[usize]| found(&net, &p, samples, (true, true));
    check_lanes(&format!("{spec:?}"), sizes(spec), p.n, &[2, 16, 17, 21], found);
}

#[test]
fn a_lane_has_the_same_bits_alone_and_in_any_batch() {
    for spec in every_net() {
        n_lanes_are_n_times_one::<f32>(&spec);
        n_lanes_are_n_times_one::<f64>(&spec);
    }
}

fn both_paths_agree<T: Scalar>(spec: &ImageNetSpec) {
    let (net, p) = (net(spec, &theta::<T>(spec, 7)), Points::<T>::new(sizes(spec), 19));
    let fast = found(&net, &p, &all(19), (true, true));
    let plain = found(&net.clone().portable(), &p, &all(19), (true, true));
    check_same(&format!("{spec:?}"), sizes(spec), 19, &fast, &plain);
}

#[test]
fn the_portable_path_gives_the_same_bits() {
    for spec in every_net() {
        both_paths_agree::<f32>(&spec);
        both_paths_agree::<f64>(&spec);
    }
}

#[test]
fn lean_workspaces_that_share_a_room_give_the_bits_of_full_ones() {
    for spec in every_net() {
        let (net, n) = (net(&spec, &theta::<f32>(&spec, 7)), 16);
        let p = Points::<f32>::new(sizes(&spec), 2 * n);
        let rows = |x: &[f32], width: usize, block: usize, row: usize| -> [f32; 16] {
            std::array::from_fn(|l| x[(block * n + l) * width + row])
        };
        let fill = |ws: &mut ImageWorkspace<f32>, block: usize, keep: Keep| {
            (0..spec.shape.len()).for_each(|r| *ws.input().at_mut(0, r) = rows(&p.x, spec.shape.len(), block, r));
            let aux = ws.aux().rows();
            (0..aux).for_each(|r| *ws.aux().at_mut(0, r) = rows(&p.aux, spec.aux, block, r));
            net.run(ws, keep);
        };
        let outputs = spec.outputs().len();
        let pull = |ws: &mut ImageWorkspace<f32>, block: usize| {
            (0..outputs).for_each(|r| *ws.output_bar().at_mut(0, r) = rows(&p.y_bar, outputs, block, r));
            let mut g = vec![0.0; net.n_params()];
            net.run_back(ws, false, true, &mut g);
            (g, (0..spec.shape.len()).map(|r| *ws.input_bar().at(0, r)).collect::<Vec<_>>())
        };
        let output =
            |ws: &ImageWorkspace<f32>| (0..outputs).map(|row| *ws.output().at(0, row)).collect::<Vec<[f32; 16]>>();
        let mut lean = [0, 1].map(|block| {
            let mut ws = net.lean_workspace(Keep::First);
            fill(&mut ws, block, Keep::First);
            ws
        });
        let mut room = net.room();
        for (block, lean) in lean.iter_mut().enumerate() {
            let mut full = net.workspace();
            fill(&mut full, block, Keep::First);
            assert_eq!(output(&full), output(lean), "{spec:?}");
            lean.swap_room(&mut room);
            assert_eq!(pull(&mut full, block), pull(lean, block), "{spec:?}");
            lean.swap_room(&mut room);
            let mut least = net.lean_workspace(Keep::Value);
            fill(&mut least, block, Keep::Value);
            assert_eq!(output(&full), output(&least), "{spec:?}");
            assert!(least.bytes() <= lean.bytes() && lean.bytes() + room.bytes() < full.bytes(), "{spec:?}");
        }
    }
}

#[test]
fn other_parameters_in_place_are_as_good_as_new() {
    for spec in every_net() {
        let (mut changed, other) = (net(&spec, &theta::<f32>(&spec, 7)), theta::<f32>(&spec, 8));
        changed.set_params(&other).unwrap();
        let (fresh, p) = (net(&spec, &other), Points::new(sizes(&spec), 3));
        let (a, b) = (found(&changed, &p, &all(3), (true, true)), found(&fresh, &p, &all(3), (true, true)));
        check_same(&format!("{spec:?}"), sizes(&spec), 3, &a, &b);
        assert!(changed.set_params(&vec![0.0; other.len() + 1]).is_err());
    }
}

#[test]
fn a_spec_is_saved_and_read_back() {
    for spec in every_net() {
        let saved = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<ImageNetSpec>(&saved).unwrap(), spec);
    }
    let spec = ImageNetSpec { shape: shape(2, 3, 1), aux: 0, embedding: None, ops: vec![conv(3, 4, None)] };
    let expected =
        r#"{"shape":{"height":2,"width":3,"channels":1},"aux":0,"ops":[{"conv":{"kernel":3,"channels":4}}]}"#;
    assert_eq!(serde_json::to_string(&spec).unwrap(), expected);
    assert!(serde_json::from_str::<ImageNetSpec>(&expected.replace("kernel", "size")).is_err());
}

#[test]
fn what_cannot_be_a_net_is_refused_with_its_numbers() {
    let of = |ops| ImageNetSpec { shape: shape(5, 7, 2), aux: 0, embedding: None, ops };
    let refused = |spec: ImageNetSpec| ImageNet::<f32>::new(&spec, &[]).unwrap_err().to_string();
    let add = |plane| ImageOp::Add { plane, activation: None };
    assert_eq!(refused(of(vec![])), "a net needs at least one layer");
    assert_eq!(refused(ImageNetSpec { shape: shape(5, 0, 2), ..of(vec![add(0)]) }), "the image has size 0");
    assert_eq!(refused(of(vec![conv(5, 1, None)])), "operation 0 has a kernel of 5 × 5 pixels");
    assert_eq!(refused(of(vec![conv(1, 0, None)])), "the result of operation 0 has size 0");
    assert_eq!(refused(of(vec![add(0)])), "operation 0 adds plane 0, which must come before plane 0");
    let other = refused(of(vec![conv(1, 3, None), add(0)]));
    assert_eq!(other, "operation 1 adds plane 0 of 5 × 7 pixels and 2 channels to one of 5 × 7 and 3");
    let spread = refused(of(vec![ImageOp::DepthToSpace { factor: 2, height: 10, width: 14 }]));
    assert_eq!(spread, "operation 0 cannot spread 5 × 7 pixels of 2 channels over 10 × 14 pixels by a factor of 2");
    let modulated = refused(of(vec![ImageOp::Modulate { scale: true, activation: Some(Activation::Tanh) }]));
    assert_eq!(modulated, "operation 0 is a modulation, but the net has no embedding");
    assert_eq!(refused(of(vec![conv(1, 1, None)])), "θ has 0 numbers, expected 3");
    let huge = refused(ImageNetSpec { shape: shape(1 << 40, 1 << 40, 1), ..of(vec![conv(1, 1, None)]) });
    assert_eq!(huge, format!("the image has size {}, the most is 4194304", usize::MAX));
    let huge = refused(of(vec![ImageOp::SpaceToDepth { factor: 1 << 40 }]));
    assert_eq!(huge, "the factor of operation 0 has size 1099511627776, the most is 4194304");
}
