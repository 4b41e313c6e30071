//! A net as data: its sizes, the specs that are refused, and the messages.

use cnflow_kernels::{Activation, Dense, Error, Keep, Net, NetSpec, Op, OpSpec};

use crate::cases::{bits, numbers, tile, view, view_mut};

fn dense(outputs: usize, activation: Option<Activation>) -> OpSpec {
    OpSpec::Dense { outputs, activation }
}

#[test]
fn a_spec_is_saved_and_read_back() {
    let spec = NetSpec { inputs: 3, active: 2, ops: vec![dense(5, Some(Activation::Silu)), dense(1, None)] };
    let saved = serde_json::to_string(&spec).unwrap();
    let expected =
        r#"{"inputs":3,"active":2,"ops":[{"dense":{"outputs":5,"activation":"silu"}},{"dense":{"outputs":1}}]}"#;
    assert_eq!(saved, expected);
    assert_eq!(serde_json::from_str::<NetSpec>(&saved).unwrap(), spec);
    assert_eq!(NetSpec::mlp(&[3, 5, 1], Activation::Silu, 2), spec);
    assert!(serde_json::from_str::<NetSpec>(&saved.replace("outputs", "units")).is_err());
    assert_eq!((spec.outputs(), spec.n_params(), spec.params()), (1, 26, vec![0..20, 20..26]));
}

#[test]
fn a_net_of_a_spec_is_the_net_of_its_operations() {
    let spec = NetSpec { inputs: 5, active: 3, ops: vec![dense(17, Some(Activation::Elu)), dense(2, None)] };
    let theta = numbers::<f64>(spec.n_params(), 1);
    let ops: Vec<(Box<dyn Op<f64>>, _)> =
        vec![(Box::new(Dense::new(5, 3, 17)), Some(Activation::Elu)), (Box::new(Dense::new(17, 17, 2)), None)];
    let value = |net: Net<f64>| {
        let (x, mut y) = (tile(&numbers(5, 2), 5, &[0]), vec![0.0; 2 * 16]);
        assert_eq!((net.inputs(), net.active(), net.outputs(), net.n_params()), (5, 3, 2, spec.n_params()));
        net.evaluator(1).forward(view(&x, 5, 1), view_mut(&mut y, 2, 1), Keep::Value);
        bits(&[y[0], y[16]])
    };
    assert_eq!(value(Net::new(&spec, &theta).unwrap()), value(Net::from_ops(ops, &theta).unwrap()));
}

#[test]
fn what_cannot_be_a_net_is_refused_with_its_numbers() {
    let spec = |inputs, active, ops| NetSpec { inputs, active, ops };
    let refused = |spec: NetSpec| Net::<f32>::new(&spec, &[]).unwrap_err().to_string();
    assert_eq!(refused(spec(2, 2, vec![])), "a net needs at least one layer");
    assert_eq!(refused(spec(0, 0, vec![dense(1, None)])), "the input has size 0");
    assert_eq!(refused(spec(2, 2, vec![dense(3, None), dense(0, None)])), "layer 2 has size 0");
    assert_eq!(refused(spec(2, 3, vec![dense(1, None)])), "3 inputs are differentiated, the net has 2");
    assert_eq!(refused(spec(2, 2, vec![dense(1, None)])), "θ has 0 numbers, expected 3");
    let huge = refused(spec(2, 2, vec![dense(1 << 40, None)]));
    assert_eq!(huge, "layer 1 has size 1099511627776, the most is 4194304");
    let pair = |active| -> Vec<(Box<dyn Op<f32>>, Option<Activation>)> {
        vec![(Box::new(Dense::new(2, 2, 3)), None), (Box::new(Dense::new(3, active, 1)), None)]
    };
    assert!(Net::from_ops(pair(3), &numbers(13, 1)).is_ok());
    let error = Net::from_ops(pair(2), &numbers(13, 1)).unwrap_err();
    assert_eq!(error, Error::Joint { index: 1, expected: 2, found: 3 });
    assert_eq!("swash".parse::<Activation>().unwrap_err().to_string(), "unknown activation `swash`");
}
