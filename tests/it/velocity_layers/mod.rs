//! The laws of the general velocity, on every kind of layer and every activation.

mod case;

use candle_core::{Device, Tensor, Var};
use cnflow::rng;
use cnflow::velocity::layers::{Layer, LayerNet, LayerNetSpec};
use cnflow::velocity::{Activation, Batch, Trace, Velocity};
use cnflow_solvers::lanes::stride_for;
use cnflow_solvers::{At, LanesMut, Real};
use rand::Rng as _;

use self::case::{
    Case, TRACES, assert_close, condition, evaluate, every_spec, jacobian, pull_back, reference, rows_of, tile, view,
};

#[test]
fn a_value_is_that_of_the_plain_reference() {
    for (i, spec) in every_spec().into_iter().enumerate() {
        let case = Case::new(spec, 37, i as u64);
        let samples: Vec<usize> = (0..37).collect();
        let of = |s: &usize| {
            let d = case.spec.dim;
            reference(&case.spec, &case.theta, &case.x[s * d..(s + 1) * d], case.t[*s], case.condition_of(*s))
        };
        let expected: Vec<f64> = samples.iter().flat_map(of).collect();
        // Three layers of a few products each: some tens of roundings.
        let (v, _) = evaluate::<f64>(&case, &case.net::<f64>(), Trace::Exact, &samples);
        assert_close(&v, &expected, 50.0 * f64::EPSILON, &format!("{:?}", case.spec));
        let (v, _) = evaluate::<f32>(&case, &case.net::<f32>(), Trace::Exact, &samples);
        assert_close(&v, &expected, 50.0 * f64::from(f32::EPSILON), &format!("{:?}", case.spec));
    }
}

#[test]
fn a_divergence_is_the_trace_of_the_dense_jacobian_or_its_probe() {
    for (i, spec) in every_spec().into_iter().enumerate() {
        let case = Case::new(spec, 19, i as u64);
        let d = case.spec.dim;
        let samples: Vec<usize> = (0..19).rev().collect();
        let net = case.net::<f64>();
        for trace in TRACES {
            let probes = net.probes(trace, &case.keys).unwrap().map(|p| p.to_vec3::<f64>().unwrap());
            let expected = samples.iter().flat_map(|&s| {
                let j = jacobian(&case, s);
                let quadratic = |e: &[f64]| (0..d * d).map(|n| e[n / d] * j[n] * e[n % d]).sum::<f64>();
                match &probes {
                    None => vec![(0..d).map(|n| j[n * d + n]).sum()],
                    Some(probes) => probes.iter().map(|probe| quadratic(&probe[s])).collect(),
                }
            });
            let (_, div) = evaluate::<f64>(&case, &net, trace, &samples);
            assert_close(&div, &expected.collect::<Vec<_>>(), 1e-8, &format!("{trace:?} {:?}", case.spec));
        }
    }
}

#[test]
fn a_value_has_the_same_bits_with_and_without_its_divergence() {
    for spec in every_spec() {
        let case = Case::new(spec, 21, 4);
        let (d, net, samples) = (case.spec.dim, case.net::<f32>(), (0..21).collect::<Vec<_>>());
        let (beside, _) = evaluate::<f32>(&case, &net, TRACES[1], &samples);
        let condition = condition::<f32>(&case);
        let batch = Batch { condition: &condition, keys: &[], trace: Trace::Exact, lanes: 21 };
        let x = tile::<f32>(&case.x, d, &samples);
        let mut v = vec![f32::NAN; x.len()];
        let out = LanesMut::new(&mut v, d, 21, stride_for(21));
        net.evaluator(batch).value(At::new(&case.t, &samples), view(&x, d, 21), out);
        assert_eq!(rows_of(&v, d, 21), beside, "{:?}", case.spec);
    }
}

#[test]
fn a_tangent_is_the_jacobian_times_its_direction() {
    for (i, spec) in every_spec().into_iter().enumerate() {
        let case = Case::new(spec, 5, i as u64);
        let (d, net, samples) = (case.spec.dim, case.net::<f64>(), [4, 0, 2, 1, 3]);
        let direction = Case::new(case.spec.clone(), 5, 99).x;
        let batch = Batch { condition: &case.condition, keys: &[], trace: Trace::Exact, lanes: 5 };
        let t = samples.map(|s| case.t[s]);
        let (x, dx) = (tile::<f64>(&case.x, d, &samples), tile::<f64>(&direction, d, &samples));
        let mut dv = vec![f64::NAN; x.len()];
        net.evaluator(batch).tangent(
            At::new(&t, &samples),
            view(&x, d, 5),
            view(&dx, d, 5),
            LanesMut::new(&mut dv, d, 5, stride_for(5)),
        );
        let expected = samples.iter().flat_map(|&s| {
            let (j, e) = (jacobian(&case, s), &direction[s * d..(s + 1) * d]);
            (0..d).map(move |r| (0..d).map(|c| j[r * d + c] * e[c]).sum::<f64>()).collect::<Vec<_>>()
        });
        assert_close(&rows_of(&dv, d, 5), &expected.collect::<Vec<_>>(), 1e-8, &format!("{:?}", case.spec));
    }
}

#[test]
fn a_pull_back_is_the_central_difference_in_x_and_theta() {
    for (i, spec) in every_spec().into_iter().enumerate() {
        let samples = [2, 0, 1];
        let mut case = Case::new(spec.clone(), 3, i as u64);
        let mut rng = rng::stream(1000 + i as u64, 0);
        // Whose distribution the probes have makes no difference here.
        for trace in &TRACES[..3] {
            let trace = *trace;
            let traces = if let Trace::Hutchinson { probes, .. } = trace { probes } else { 1 };
            let mut draw = |count: usize| (0..count).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f64>>();
            let (v_bar, div_bar) = (draw(3 * case.spec.dim), draw(3 * traces));
            let loss = |case: &Case| {
                let (v, div) = evaluate::<f64>(case, &case.net::<f64>(), trace, &[0, 1, 2]);
                v.iter().zip(&v_bar).chain(div.iter().zip(&div_bar)).map(|(value, bar)| value * bar).sum::<f64>()
            };
            // Truncation h² ≈ 1e-10 times a third derivative, round-off 1e-16 · loss/h = 1e-11.
            let h = 1e-5;
            let mut slope = |entry: fn(&mut Case) -> &mut Vec<f64>, k: usize| {
                let kept = entry(&mut case)[k];
                entry(&mut case)[k] = kept + h;
                let above = loss(&case);
                entry(&mut case)[k] = kept - h;
                let below = loss(&case);
                entry(&mut case)[k] = kept;
                (above - below) / (2.0 * h)
            };
            let (d, n_params) = (spec.dim, spec.n_params());
            let in_order = samples.iter().flat_map(|&s| (s * d..(s + 1) * d).collect::<Vec<_>>());
            let by_x: Vec<f64> = in_order.map(|k| slope(|case| &mut case.x, k)).collect();
            // Every entry of θ for the exact trace; probes change no more than the directions, some entries will do.
            let some: Vec<usize> = match trace {
                Trace::Exact => (0..n_params).collect(),
                Trace::Hutchinson { .. } | Trace::Lattice { .. } => (i % 7..n_params).step_by(7).collect(),
            };
            let by_theta: Vec<f64> = some.iter().map(|&k| slope(|case| &mut case.theta, k)).collect();

            let what = format!("{trace:?} {spec:?}");
            let (gx, g) = pull_back::<f64>(&case, trace, &samples, Some(&v_bar), Some(&div_bar));
            assert_close(&gx, &by_x, 1e-8, &format!("x: {what}"));
            let g_some: Vec<f64> = some.iter().map(|&k| g[k]).collect();
            assert_close(&g_some, &by_theta, 1e-8, &format!("θ: {what}"));
            let (gx32, g32) = pull_back::<f32>(&case, trace, &samples, Some(&v_bar), Some(&div_bar));
            assert_close(&gx32, &gx, 1e-5, &format!("x in f32: {what}"));
            assert_close(&g32, &g, 1e-5, &format!("θ in f32: {what}"));
            // It is linear in the two cotangents, and does with one.
            let of_v = pull_back::<f64>(&case, trace, &samples, Some(&v_bar), None);
            let of_div = pull_back::<f64>(&case, trace, &samples, None, Some(&div_bar));
            let add = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<_>>();
            assert_close(&add(&of_v.0, &of_div.0), &gx, 100.0 * f64::EPSILON, &format!("x in parts: {what}"));
            assert_close(&add(&of_v.1, &of_div.1), &g, 100.0 * f64::EPSILON, &format!("θ in parts: {what}"));
        }
    }
}

#[test]
fn nothing_asked_for_is_a_gradient_of_zero() {
    let case = Case::new(every_spec().swap_remove(3), 3, 0);
    let (gx, g) = pull_back::<f64>(&case, Trace::Exact, &[0, 1, 2], None, None);
    assert!(gx.iter().chain(&g).all(|&g| g == 0.0));
}

/// The bits of a lane do not depend on slot, neighbours, number of lanes, or the capacity of the tile.
fn lanes_are_independent<T: Real + candle_core::WithDType>(spec: LayerNetSpec) {
    let case = Case::new(spec, 150, 5);
    let (net, d) = (case.net::<T>(), case.spec.dim);
    for trace in [Trace::Exact, TRACES[2]] {
        let all: Vec<usize> = (0..150).collect();
        let (v, div) = evaluate::<T>(&case, &net, trace, &all);
        let traces = div.len() / 150;
        let (ones, some) = (vec![1.0; 150 * d], vec![0.5; 150 * traces]);
        let (gx, _) = pull_back::<T>(&case, trace, &all, Some(&ones), Some(&some));
        for n in [1, 2, 3, 15, 17, 31, 33, 63, 65, 101] {
            // 49 and 150 have no common factor: every sample once, in another place.
            let samples: Vec<usize> = (0..n).map(|l| (l * 49 + n) % 150).collect();
            let (v_some, div_some) = evaluate::<T>(&case, &net, trace, &samples);
            let (gx_some, _) = pull_back::<T>(&case, trace, &samples, Some(&ones), Some(&some));
            for (l, &s) in samples.iter().enumerate() {
                let what = format!("sample {s} in slot {l} of {n}: {:?}", case.spec);
                assert_eq!(v_some[l * d..(l + 1) * d], v[s * d..(s + 1) * d], "{what}");
                assert_eq!(div_some[l * traces..(l + 1) * traces], div[s * traces..(s + 1) * traces], "{what}");
                assert_eq!(gx_some[l * d..(l + 1) * d], gx[s * d..(s + 1) * d], "{what}");
            }
        }
    }
}

#[test]
fn a_lane_has_the_same_bits_in_any_slot_of_any_tile() {
    let squash = |inputs, outputs| Layer::ConcatSquash { inputs, outputs };
    let concat = |inputs, outputs| Layer::ConcatLinear { inputs, outputs };
    let specs = [
        LayerNetSpec::stacked(concat, 1, 0, &[1], Activation::Tanh),
        LayerNetSpec::stacked(concat, 2, 0, &[64, 64, 64], Activation::Tanh),
        LayerNetSpec::stacked(squash, 2, 3, &[33, 7], Activation::Softplus),
        LayerNetSpec::stacked(squash, 7, 1, &[130], Activation::Silu),
        LayerNetSpec::stacked(concat, 3, 0, &[600, 5], Activation::Elu),
    ];
    for spec in specs {
        lanes_are_independent::<f32>(spec.clone());
        lanes_are_independent::<f64>(spec);
    }
}

#[test]
fn a_gradient_over_lanes_is_the_sum_of_those_of_the_lanes() {
    for spec in every_spec() {
        let case = Case::new(spec, 35, 3);
        let (v_bar, div_bar) = (vec![0.7; 35 * case.spec.dim], vec![-0.3; 35]);
        let samples: Vec<usize> = (0..35).collect();
        let of = |samples: &[usize]| pull_back::<f64>(&case, Trace::Exact, samples, Some(&v_bar), Some(&div_bar)).1;
        let mut sum = vec![0.0; case.theta.len()];
        for s in &samples {
            sum.iter_mut().zip(of(&[*s])).for_each(|(sum, g)| *sum += g);
        }
        // 35 terms and the products behind each.
        assert_close(&of(&samples), &sum, 200.0 * f64::EPSILON, &format!("{:?}", case.spec));
    }
}

#[test]
fn a_graph_of_value_and_divergence_differentiates_to_theta() {
    // A loss that is not linear in either, as a training graph has it; θ is one Var, seen through views.
    for (i, spec) in every_spec().into_iter().enumerate() {
        let mut case = Case::new(spec, 4, i as u64);
        let d = case.spec.dim;
        let tensor = |data: &[f64], k: usize| Tensor::from_slice(data, (4, k), &Device::Cpu).unwrap();
        let (x, t) = (tensor(&case.x, d), tensor(&case.t, 1));
        let condition = (case.spec.condition_dim > 0).then(|| tensor(&case.condition, case.spec.condition_dim));
        let theta = Var::from_slice(&case.theta, case.theta.len(), &Device::Cpu).unwrap();
        let net = LayerNet::new(case.spec.clone(), theta.as_tensor().clone()).unwrap();
        let (v, div) = net.value_and_divergence(&x, &t, condition.as_ref(), None).unwrap();
        assert_eq!((v.dims(), div.dims()), ([4, d].as_slice(), [4, 1].as_slice()));
        let loss = (v.sqr().unwrap().sum_all().unwrap() + div.sqr().unwrap().sum_all().unwrap()).unwrap();
        let g: Vec<f64> = loss.backward().unwrap().get(&theta).unwrap().to_vec1().unwrap();
        let loss = |case: &Case| {
            let (v, div) = evaluate::<f64>(case, &case.net::<f64>(), Trace::Exact, &[0, 1, 2, 3]);
            v.iter().chain(&div).map(|e| e * e).sum::<f64>()
        };
        let by_theta = (0..g.len()).map(|k| {
            let kept = case.theta[k];
            // Round-off 1e-16 · loss/h, truncation h².
            let h = 1e-5;
            case.theta[k] = kept + h;
            let above = loss(&case);
            case.theta[k] = kept - h;
            let below = loss(&case);
            case.theta[k] = kept;
            (above - below) / (2.0 * h)
        });
        assert_close(&g, &by_theta.collect::<Vec<_>>(), 1e-7, &format!("{:?}", case.spec));
    }
}

#[test]
fn large_and_zero_inputs_stay_finite_with_their_gradients() {
    for squash in Activation::ALL {
        let layers = vec![
            Layer::Activation(squash),
            Layer::Linear { inputs: 3, outputs: 3 },
            Layer::Activation(squash),
            Layer::ConcatSquash { inputs: 3, outputs: 3 },
        ];
        for scale in [0.0, 1e3, -1e3] {
            let spec = LayerNetSpec { dim: 3, condition_dim: 0, layers: layers.clone() };
            let mut case = Case::new(spec, 2, 1);
            case.x = [1.0, -1.0, 0.5, 0.0, 1.0, -0.25].map(|x| x * scale).to_vec();
            let (v, div) = evaluate::<f32>(&case, &case.net::<f32>(), Trace::Exact, &[0, 1]);
            let (gx, g) = pull_back::<f32>(&case, Trace::Exact, &[0, 1], Some(&[1.0; 6]), Some(&[1.0; 2]));
            assert!(v.iter().chain(&div).chain(&gx).chain(&g).all(|e| e.is_finite()), "{squash:?} at {scale}");
        }
    }
}

#[test]
fn a_lane_that_is_not_finite_leaves_its_neighbours_alone() {
    let mut case = Case::new(every_spec().swap_remove(12), 40, 8);
    let (good, div) = evaluate::<f32>(&case, &case.net::<f32>(), Trace::Exact, &(0..40).collect::<Vec<_>>());
    let d = case.spec.dim;
    case.x[5 * d..6 * d].fill(f64::INFINITY);
    let (v, div_now) = evaluate::<f32>(&case, &case.net::<f32>(), Trace::Exact, &(0..40).collect::<Vec<_>>());
    for s in (0..40).filter(|&s| s != 5) {
        assert_eq!(v[s * d..(s + 1) * d], good[s * d..(s + 1) * d]);
        assert_eq!(div_now[s], div[s]);
    }
    assert!(v[5 * d..6 * d].iter().any(|v| !v.is_finite()));
}

#[test]
fn a_net_that_does_not_fit_is_refused_in_words() {
    let zeros = |n: usize| Tensor::zeros(n, candle_core::DType::F32, &Device::Cpu).unwrap();
    let linear = |inputs, outputs| Layer::Linear { inputs, outputs };
    let refused = |layers: Vec<Layer>, theta: Tensor| {
        let spec = LayerNetSpec { dim: 2, condition_dim: 1, layers };
        LayerNet::new(spec, theta).expect_err("it does not fit").to_string()
    };
    assert!(refused(vec![linear(2, 2)], zeros(6)).contains("the input of layer 0 has 2 columns, expected 3"));
    assert!(refused(vec![linear(3, 4), linear(5, 2)], zeros(28)).contains("layer 1"));
    assert!(refused(vec![linear(3, 4)], zeros(16)).contains("the output of the net has 4 columns, expected 2"));
    assert!(refused(vec![linear(3, 0)], zeros(0)).contains("empty"));
    assert!(refused(vec![linear(3, 2)], zeros(7)).contains("parameters, found 7"));
    let words = Tensor::zeros(8, candle_core::DType::U32, &Device::Cpu).unwrap();
    assert!(refused(vec![linear(3, 2)], words).contains("u32"));
}

#[test]
fn a_spec_survives_its_file_and_names_every_parameter_once() {
    for spec in every_spec() {
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<LayerNetSpec>(&json).unwrap(), spec);
        let names = spec.tensor_names();
        let distinct: std::collections::HashSet<_> = names.iter().map(|(name, _)| name).collect();
        assert_eq!(distinct.len(), names.len());
        assert_eq!(spec.init(&mut rng::stream(0, 0)).len(), spec.n_params());
    }
    let concat = |inputs, outputs| Layer::ConcatLinear { inputs, outputs };
    let spec = LayerNetSpec::stacked(concat, 2, 1, &[4], Activation::Tanh);
    let names = spec.tensor_names();
    assert_eq!(names[0], ("net.0.weight".to_owned(), vec![4, 4]));
    assert_eq!(names[3], ("net.2.bias".to_owned(), vec![2]));
}
