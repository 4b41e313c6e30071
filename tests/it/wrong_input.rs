//! The table of wrong inputs: each gets one sentence, a hint and an exit code, and leaves no file.
#![cfg(feature = "cli")]

use std::path::Path;

use cnflow::io::safetensors::{ModelFile, NamedTensor, Values};
use cnflow::io::{self, Array, Dtype};

use crate::common::command::{bytes, cnf, conditional, folder, golden, json};
use crate::common::pictures::{gzip, idx, npy_of, npy_u8, png};

/// Files that are wrong in one way each.
fn wrong_files(at: &Path) {
    conditional(at);
    let write = |name: &str, bytes: &[u8]| std::fs::write(at.join(name), bytes).unwrap();
    let (x, m) = (bytes(at, "x.npy"), bytes(at, "m.safetensors"));
    write("cut.npy", &x[..x.len() / 2]);
    write("head.npy", &x[..20]);
    write("empty.npy", b"");
    write("noise.npy", b"these are no numbers at all, but a line of words");
    write("cut.safetensors", &m[..m.len() / 2]);
    write("noise.safetensors", b"these are no numbers at all, but a line of words");
    write("words.csv", b"a,b\n1,2\n3,four\n");
    write("ragged.csv", b"a,b\n1,2\n3\n");
    write("semicolons.csv", b"a;b\n1,5;2\n3,5;4\n");
    write("unknown.xyz", b"1 2\n");
    let mut complex = x.clone();
    let at_type = x.windows(3).position(|w| w == b"<f8").unwrap();
    complex[at_type + 1] = b'c';
    write("complex.npy", &complex);
    let table = |name: &str, data: Vec<f64>, cols: usize| {
        io::write(&at.join(name), &Array::table(data, cols, Dtype::F64).unwrap()).unwrap();
    };
    table("three.npy", vec![0.0; 12], 3);
    table("inf.npy", vec![0.0, f64::INFINITY, 1.0, 2.0], 2);
    table("c3.npy", vec![0.0; 3], 1);
    table("c2.npy", vec![0.0; 4], 2);
    io::write(&at.join("zero.npy"), &Array::vector(vec![0.0; 500], Dtype::F64)).unwrap();
    io::write(&at.join("axis.npy"), &Array::vector(vec![0.0; 4], Dtype::F64)).unwrap();
    let card = |name: &str, change: &dyn Fn(&mut ModelFile)| {
        let mut file = ModelFile::read(&at.join("m.safetensors")).unwrap();
        change(&mut file);
        file.write(&at.join(name)).unwrap();
    };
    let edit = |file: &mut ModelFile, from: &str, to: &str| {
        let text = file.metadata["cnf"].replace(from, to);
        assert_ne!(text, file.metadata["cnf"], "{from}");
        file.metadata.insert("cnf".into(), text);
    };
    card("broken.safetensors", &|f| drop(f.metadata.insert("cnf".into(), "{ not json".into())));
    card("future.safetensors", &|f| edit(f, "\"format\":1", "\"format\":99"));
    card("method.safetensors", &|f| edit(f, "dopri5", "leapfrog"));
    card("missing.safetensors", &|f| drop(f.tensors.pop()));
    card("width.safetensors", &|f| edit(f, "[64,64,64]", "[64,64,32]"));
    write("holed.csv", b"a,b\n1,2\n3,nan\n5,6\n7,8\n");
    let rows: String = (0..50).map(|i| format!("{i},7\n")).collect();
    write("constant.csv", format!("a,b\n{rows}").as_bytes());
    let rows: String = (0..50).map(|i| format!("{i},{},{}\n", i - 7, i * i)).collect();
    write("signed.csv", format!("a,b,c\n{rows}").as_bytes());
    write("key.toml", b"lerning_rate = 1\n");
    write("wide.toml", b"validations = 100000000\n");
    write("keys.toml", b"[optimiser]\nlr = -1.0\n");
    write("flat.toml", b"late = 0.0\n");
    std::fs::create_dir(at.join("run")).unwrap();
    std::fs::copy(at.join("m.safetensors"), at.join("run/model.safetensors")).unwrap();
    let mut rows = vec![0.5; 200];
    rows[181] = f64::INFINITY;
    table("late.npy", rows, 2);
    write("late.csv", format!("a,b\n{}5,six\n", "1,2\n".repeat(90)).as_bytes());
    write("short.csv", b"0.1\n0.2\n0.3\n");
    let weights = |name: &str, moments: &[(&str, f64)]| {
        let mut file = ModelFile::read(&at.join("w.safetensors")).unwrap();
        file.tensors.extend(moments.iter().map(|(name, value)| {
            let (name, values) = (format!("standardise.{name}"), Values::F64(vec![*value; 2]));
            NamedTensor { name, shape: vec![2], values }
        }));
        file.write(&at.join(name)).unwrap();
    };
    weights("halfscaled.safetensors", &[("mean", 0.0)]);
    weights("flat.safetensors", &[("mean", 0.0), ("std", 0.0)]);
    layers(&at.join("layers.safetensors"));
    let pixels: Vec<u8> = (0..160).collect();
    write("images.npy", &npy_u8(&[40, 2, 2], &pixels, false));
    write("float.npy", &npy_of("<f4", &[2, 2, 2], &pixels[..32], false));
    write("huge.npy", &npy_u8(&[400_000_000, 28, 28], &pixels[..8], false));
    write("huge-idx3-ubyte", &idx(&[400_000_000, 28, 28], &pixels[..8]));
    write("cut-idx3-ubyte", &idx(&[3, 2, 2], &pixels[..9]));
    write("cut-idx3-ubyte.gz", &gzip(&idx(&[3, 2, 2], &pixels[..9])));
    write("magic-idx3-ubyte", &x);
    std::fs::create_dir(at.join("mixed")).unwrap();
    png(&at.join("mixed/a.png"), (3, 4), image::ColorType::L8, &pixels[..12]);
    png(&at.join("mixed/b.png"), (4, 3), image::ColorType::L8, &pixels[..12]);
    std::fs::create_dir(at.join("folder")).unwrap();
    std::fs::create_dir(at.join("folder.npy")).unwrap();
}

/// A flow whose velocity is no MLP.
fn layers(path: &Path) {
    let solver = serde_json::to_value(cnflow::continuous::SolverSpec::default()).unwrap();
    let layer = serde_json::json!({ "concat-squash": { "inputs": 2, "outputs": 2 } });
    let spec = serde_json::json!({ "velocity": { "kind": "layers", "dim": 2, "layers": [layer] }, "solver": solver });
    let spec: cnflow::model::FlowSpec = serde_json::from_value(spec).unwrap();
    let theta = vec![0.1; spec.architecture.n_params()];
    cnflow::model::Model { spec, theta, provenance: serde_json::Map::new() }.save(path).unwrap();
}

/// Words after `cnf`, the exit code, and a part of the sentence.
const WRONG: &[(&str, i32, &str)] = &[
    ("density m.safetensors absent.npy -o o.npy", 1, "the file does not exist"),
    ("density absent.safetensors x.npy -o o.npy", 1, "the file does not exist"),
    ("density x.npy -o o.npy", 1, "no model was named"),
    ("sample -o o.npy", 1, "no model was named"),
    ("info", 1, "no model was named"),
    ("density m.safetensors cut.npy -o o.npy", 1, "its header declares [500, 2]"),
    ("density m.safetensors head.npy -o o.npy", 1, "cannot read `head.npy`"),
    ("density m.safetensors empty.npy -o o.npy", 1, "it is empty"),
    ("density m.safetensors noise.npy -o o.npy", 1, "cannot read `noise.npy`"),
    ("density m.safetensors complex.npy -o o.npy", 1, "c8"),
    ("density m.safetensors three.npy -o o.npy", 1, "3 columns"),
    ("density m.safetensors axis.npy -o o.npy", 1, "1 column (it has one axis)"),
    ("density m.safetensors inf.npy -o o.npy", 1, "not finite"),
    ("invert inf.npy --model m.safetensors -o o.npy", 1, "not finite"),
    ("density m.safetensors words.csv -o o.npy", 1, "`four` in line 3"),
    ("density m.safetensors ragged.csv -o o.npy", 1, "line 3"),
    ("density m.safetensors unknown.xyz -o o.npy", 1, "unknown file type"),
    ("density m.safetensors folder -o o.npy", 1, "the folder holds no PNG images"),
    ("density m.safetensors images.npy -o o.npy", 1, "the model was trained on rows that are not images"),
    ("density m.safetensors folder.npy -o o.npy", 1, "it is a folder"),
    ("density folder x.npy -o o.npy", 1, "the folder holds no `model.safetensors`"),
    ("density cut.safetensors x.npy -o o.npy", 1, "cut short"),
    ("density noise.safetensors x.npy -o o.npy", 1, "not a .safetensors file"),
    ("density w.safetensors x.npy -o o.npy", 1, "no description of a flow"),
    ("density broken.safetensors x.npy -o o.npy", 1, "description of the flow is broken"),
    ("density future.safetensors x.npy -o o.npy", 1, "format is 99"),
    ("info method.safetensors", 1, "leapfrog"),
    ("info missing.safetensors", 1, "is missing"),
    ("info width.safetensors", 1, "has shape"),
    ("sample m.safetensors -o o.xyz", 1, "unknown file type"),
    ("sample m.safetensors -o o", 1, "unknown file type"),
    ("sample m.safetensors -o o.parquet", 1, "unknown file type"),
    ("sample m.safetensors -o o.npy --plot o.jpeg", 1, "unknown picture format"),
    ("sample m.safetensors -o absent/o.npy", 1, "the folder `absent` does not exist"),
    ("sample m.safetensors -o folder.npy", 1, "it is a folder"),
    ("sample m.safetensors -o x.npy/o.npy", 1, "does not exist"),
    ("sample m.safetensors -o o.npy --with-density o.npy", 1, "two results"),
    ("sample m.safetensors -o o.npy --latent three.npy", 1, "3 columns"),
    ("sample m.safetensors -o o.npy --latent x.npy -n 10", 2, "cannot be used with"),
    ("sample m.safetensors -o o.npy -n 0", 2, "invalid value '0'"),
    ("sample m.safetensors -o o.npy -n ten", 2, "invalid value 'ten'"),
    ("sample m.safetensors -o o.npy -n 9000000000000000000", 1, "more than a file can hold"),
    ("sample m.safetensors -o o.npy -n 20000000000000000000", 2, "invalid value"),
    ("sample m.safetensors -o o.npy --seed -1", 2, "error:"),
    ("sample m.safetensors -o o.npy --first -1", 2, "error:"),
    ("sample m.safetensors -o o.npy --first 9223372036854775807 -n 5", 1, "5 rows from row 9223372036854775807 on"),
    ("sample m.safetensors -o o.npy --latent x.npy --first 1", 2, "cannot be used with"),
    ("sample m.safetensors -n 10", 2, "--output"),
    ("sample m.safetensors -o o.npy --condition c3.npy", 1, "the model has no condition"),
    ("sample c.safetensors -o o.npy", 1, "conditional on 1 column"),
    ("sample c.safetensors -n 10 -o o.npy --condition c3.npy", 1, "3 rows of conditions for 10 points"),
    ("sample c.safetensors -n 2 -o o.npy --condition c2.npy", 1, "holds 2 columns"),
    ("sample m.safetensors -o o.npy --solver leapfrog", 1, "unknown method `leapfrog`"),
    ("sample m.safetensors -o o.npy --solver rk4", 1, "takes fixed steps"),
    ("sample m.safetensors -o o.npy --solver rk4 --rtol 1e-5", 1, "no use for a tolerance"),
    ("sample m.safetensors -o o.npy --solver rk4 --fixed-steps 0", 1, "at least 1"),
    ("sample m.safetensors -o o.npy --fixed-steps 10 --rtol 1e-3", 2, "cannot be used with"),
    ("sample m.safetensors -o o.npy --solver bdf --fixed-steps 9", 1, "chooses its own steps"),
    ("density m.safetensors x.npy -o o.npy --solver bdf --log-density coupled", 1, "chooses its own steps"),
    ("density m.safetensors x.npy -o o.npy --log-density exact", 1, "`dopri5` adapts them"),
    ("sample m.safetensors -o o.npy --solver bdf --log-density exact", 1, "`bdf` adapts them"),
    (
        "density m.safetensors x.npy -o o.npy --fixed-steps 4 --log-density exact --trace hutchinson:2",
        1,
        "no meaning for the exact log-density",
    ),
    ("train --data digits --fixed-steps 4 --log-density exact --out o", 1, "log-density is not available"),
    (
        "train --data moons --objective likelihood --fixed-steps 4 --log-density exact --kinetic 0.1 --out o",
        1,
        "penalties are integrals",
    ),
    ("sample m.safetensors -o o.npy --rtol -1", 2, "error:"),
    ("sample m.safetensors -o o.npy --rtol=-1", 1, "a tolerance is a number"),
    ("sample m.safetensors -o o.npy --rtol nan", 1, "a tolerance is a number"),
    ("sample m.safetensors -o o.npy --rtol 0 --atol 0", 1, "both 0"),
    ("sample m.safetensors -o o.npy --rtol 1e-9 --atol 1e-9", 1, "below the round-off of f32"),
    ("density m.safetensors x.npy -o o.npy --trace hutchinson:0", 2, "hutchinson:0"),
    ("density m.safetensors x.npy -o o.npy --trace hutchinson:5000", 1, "5000 probes"),
    ("density m.safetensors x.npy -o o.npy --trace guess", 2, "expected auto"),
    ("density m.safetensors x.npy -o o.npy --log-density guess", 2, "possible values"),
    ("density m.safetensors x.npy -o o.npy --precision f16", 2, "possible values"),
    ("density m.safetensors x.npy -o o.npy --time 1.5", 1, "outside [0, 1]"),
    ("density m.safetensors -o o.npy", 1, "neither points nor --grid"),
    ("density m.safetensors x.npy --grid 20 -o o.npy", 1, "were both given"),
    ("density m.safetensors --grid 1 -o o.npy", 2, "invalid value '1'"),
    ("density m.safetensors x.npy -o o.npy --weights zero.npy", 1, "all weights are 0"),
    ("train --data digits --model spline --whitening cholesky --steps 1 --out o", 1, "has no meaning for images"),
    ("train --data moons --whitening cholesky --steps 1 --out o", 1, "--whitening has no meaning for the base"),
    ("density m.safetensors --grid 20 --extent 4,-4,0,1 -o o.npy", 1, "not a range for dimension 2"),
    ("density m.safetensors --grid 20 --extent 0,1 -o o.npy", 1, "not a range for dimension 2"),
    ("density m.safetensors x.npy --extent 0,1,0,1 -o o.npy", 2, "--grid"),
    ("density d43.safetensors --grid 20 -o o.npy", 1, "43 dimensions"),
    ("import w.safetensors --activation swash -o o.safetensors", 1, "unknown activation `swash`"),
    ("import w.safetensors -o o.safetensors", 1, "the activation of its layers is unknown"),
    ("import w.safetensors --activation tanh -o o.npy", 1, "unknown model file type"),
    ("import w.safetensors --activation tanh --condition-dim 5 -o o.safetensors", 1, "takes 3 columns and gives 2"),
    ("import m.safetensors --activation tanh -o o.safetensors", 1, "already a model of cnf"),
    ("import x.npy --activation tanh -o o.safetensors", 1, "not a .safetensors file"),
    ("data 9gaussians -n 10 -o o.npy", 1, "unknown toy data set `9gaussians`"),
    ("data moons -n 10", 1, "no output was given"),
    ("data x.npy -n 10 -o o.npy", 1, "no density to draw from"),
    ("data absent.npy", 1, "the file does not exist"),
    ("train --data x.npy --weights c3.npy --out r", 1, "it holds 3 weights, but `x.npy` has 500 rows"),
    ("train --data x.npy --weights x.npy --out r", 1, "it holds 2 columns, not one column of weights"),
    ("train --data x.npy --weights absent.npy --out r", 1, "the file does not exist"),
    ("train --data x.npy --weights w --out r", 1, "unknown column `w`"),
    ("train --data moons --weights 0 --out r", 1, "drawn without weights"),
    ("train --data digits --weights 0 --out r", 1, "images have no column of weights"),
    ("train --data signed.csv --weights b --out r", 1, "has the weight -7 in column `b`"),
    ("data inf.npy", 1, "not finite"),
    ("smaple", 2, "unrecognized subcommand"),
    ("train --data 9gaussians --steps 1", 1, "unknown data set `9gaussians`"),
    ("train --data absent.npy --steps 1", 1, "the file does not exist"),
    ("train --data holed.csv --missing refuse --steps 1", 1, "cannot read `holed.csv`"),
    ("train --data constant.csv --steps 1", 1, "constant"),
    ("train --data float.npy --steps 1", 1, "it has 3 axes [2, 2, 2] of f32: images hold u8"),
    ("train --data huge.npy --steps 1", 1, "expected 313600000000 bytes, found 8"),
    ("train --data huge-idx3-ubyte --steps 1", 1, "expected 313600000000 bytes, found 8"),
    ("train --data cut-idx3-ubyte --steps 1", 1, "its header declares [3, 2, 2] numbers of u8"),
    ("train --data cut-idx3-ubyte.gz --steps 1", 1, "it ends after row 0"),
    ("train --data magic-idx3-ubyte --steps 1", 1, "it is not an IDX file"),
    ("train --data folder --steps 1", 1, "the folder holds no PNG images"),
    ("train --data mixed --steps 1", 1, "it is 4 × 3, grey, but `a.png` is 3 × 4, grey"),
    ("train --data images.npy --condition axis.npy --steps 1", 1, "it holds 4 rows, but `images.npy` has 40"),
    ("train --data images.npy --condition 0 --steps 1", 1, "images have no columns to condition on"),
    ("train --data images.npy --layout flat --steps 1", 2, "unknown layout `flat`"),
    ("train --data images.npy --pixel-map logit:2 --steps 1", 2, "unknown pixel map `logit:2`"),
    ("train --data digits --drop 3 --steps 1", 1, "images have no columns to leave out"),
    ("train --data digits --condition 0 --steps 1", 1, "unknown column `0`"),
    ("train --objective guess --steps 1", 2, "unknown objective `guess`"),
    ("train --activation swash --steps 1", 2, "unknown activation `swash`"),
    ("train --steps 0", 1, "a run of 0 steps"),
    ("train --steps 5 --time 5s", 2, "cannot be used with"),
    ("train --time 0s", 2, "a time above 0"),
    ("train --lr=-1 --steps 1", 1, "a learning rate of -1"),
    ("train --lr nan --steps 1", 1, "a learning rate of NaN"),
    ("train --batch 0 --steps 1", 1, "a batch of 0 rows"),
    ("train --batch 4000000000000 --steps 1", 1, "a batch of 4000000000000 rows"),
    ("train --hidden 0 --steps 1", 1, "width 0"),
    ("train --hidden 1000000,1000000 --steps 1", 1, "parameters (3 → 1000000 → 1000000 → 2)"),
    ("train --hidden 18446744073709551615 --steps 1", 1, "18446744073709551615 units"),
    ("train --time-features 18446744073709551615 --steps 1", 1, "18446744073709551615 units"),
    ("train --data x.npy --split sideways --steps 1", 1, "unknown --split `sideways`"),
    ("train --split 0.8,0.1 --steps 1", 1, "--split has no meaning for the toy `8gaussians`"),
    ("train --config keys.toml --steps 1", 1, "set `optimiser.lr` above 0"),
    ("train --config keys.toml --lr=-1 --steps 1", 1, "set --lr above 0"),
    ("train --config flat.toml --steps 1", 1, "`late` above 0"),
    ("compare --models gaussian --sigma 2 --steps 1 --out no", 1, "--sigma has no meaning without gaussian-fixed"),
    ("compare --models gaussian --depths 2 --steps 1 --out no", 1, "--depths has no meaning without a discrete flow"),
    ("compare --data moons --drop 0 --steps 1 --out no", 1, "--drop has no meaning for the toy `moons`"),
    ("train --data x.npy --split 0.8,0.9 --steps 1", 1, "0.9"),
    ("train --rtol 1e-9 --atol 1e-9 --steps 1", 1, "below the round-off of f32"),
    ("train --solver rk4 --steps 1", 1, "takes fixed steps"),
    ("train --solver leapfrog --steps 1", 1, "unknown method `leapfrog`"),
    ("train --solver bdf --objective likelihood --steps 1", 1, "no gradient"),
    ("train --objective likelihood --log-density-atol=-1 --steps 1", 1, "tolerance of the log-density"),
    ("train --steps 1 --out run", 1, "already holds a run"),
    ("train --steps 1 --out x.npy", 1, "cannot write `x.npy`"),
    ("train --steps 1 --out x.npy/run", 1, "`x.npy` is not a folder"),
    // The model is of no use: what had been begun is taken away.
    ("train --hidden 4 --lr 1e30 --steps 1", 1, "trajectories failed"),
    ("train --model nice --bins 8 --steps 1", 1, "--bins has no meaning for nice"),
    ("train --model nice --solver dopri5 --steps 1", 1, "--solver has no meaning for nice"),
    ("train --model gaussian --objective matching", 1, "--objective has no meaning for gaussian"),
    ("train --model mixture --lr 0.1 --steps 1", 1, "--lr has no meaning for mixture"),
    ("train --model histogram --hidden 4", 1, "--hidden has no meaning for histogram"),
    ("train --sigma 1 --steps 1", 1, "--sigma has no meaning for cnf"),
    ("train --likelihood-share 0.2 --steps 1", 1, "--likelihood-share has no meaning for matching"),
    ("train --config key.toml --steps 1", 1, "lerning_rate"),
    ("train --config wide.toml --steps 1", 1, "100000000 validations"),
    ("train --config absent.toml --steps 1", 1, "the file does not exist"),
    ("train --init cut.safetensors --steps 1", 1, "cut short"),
    ("train --init folder --steps 1", 1, "the folder holds no `model.safetensors`"),
    ("train --init d43.safetensors --steps 1", 1, "has 43 columns, expected 2"),
    ("train --init c.safetensors --steps 1", 1, "conditional on 1 column"),
    ("train --init m.safetensors --activation silu --steps 1", 1, "--activation contradicts"),
    ("train --init m.safetensors --hidden 3 --steps 1", 1, "--hidden contradicts"),
    ("train --init m.safetensors --time-features 3 --steps 1", 1, "--time-features contradicts"),
    ("sample m.safetensors -o o.npy --threads 0", 2, "invalid value '0'"),
    ("sample m.safetensors -o o.npy --colour red", 2, "unexpected argument"),
    ("train --resume absent", 1, "it holds no `checkpoint.safetensors`"),
    ("train --resume run --steps 5", 2, "cannot be used with"),
    ("train --resume run --max-step 0.1", 2, "cannot be used with"),
    ("train --steps 1 --checkpoint-every often", 1, "interval `often`"),
    ("train --steps 1 --pairing best", 2, "unknown pairing `best`"),
    ("train --steps 1 --path crooked", 2, "unknown path `crooked`"),
    ("train --steps 1 --net concat", 2, "choose one of mlp, concatsquash"),
    ("train --steps 1 --model flow", 2, "choose one of cnf, nice, realnvp"),
    ("train --steps 1 --activation sine", 2, "choose one of tanh"),
    ("train --steps 1 --nfe-target 0", 1, "a target of 0 evaluations"),
    ("train --steps 1 --steer 0.5", 1, "--steer has no meaning for matching"),
    ("train --steps 1 --objective likelihood --steer 2", 1, "an end time of 1 ± 2"),
    ("train --steps 1 --objective likelihood --kinetic=-1", 1, "a kinetic penalty of -1"),
    ("train --steps 1 --objective likelihood --pairing optimal", 1, "pairs no latents"),
    ("train --steps 1 --base uniform", 1, "unknown --base `uniform`"),
    ("train --steps 1 --base mixture:none", 1, "no number of components"),
    ("train --steps 1 --column l:round", 1, "round"),
    ("train --steps 1 --column 7:positive", 1, "unknown column `7`"),
    ("train --steps 1 --column 0:positive", 1, "column `0`: row"),
    ("train --init m.safetensors --base mixture --steps 1", 2, "cannot be used with"),
    ("check absent.safetensors", 1, "the file does not exist"),
    ("check", 1, "no model was named"),
    ("check m.safetensors three.npy", 1, "3 columns"),
    ("check m.safetensors inf.npy", 1, "not finite"),
    ("check m.safetensors -n 3", 2, "invalid value '3'"),
    ("check m.safetensors --solver leapfrog", 1, "unknown method `leapfrog`"),
    ("check m.safetensors --rtol 1e-9 --atol 1e-9", 1, "below the round-off of f32"),
    ("check m.safetensors --condition c3.npy", 1, "the model has no condition"),
    ("check c.safetensors", 1, "conditional on 1 column"),
    ("check c.safetensors --condition c3.npy", 1, "several rows of conditions"),
    ("density m.safetensors x.npy --error-bars x.npy/o.npy", 1, "does not exist"),
    ("density m.safetensors x.npy --error-bars o.xyz", 1, "unknown file type"),
    ("density m.safetensors x.npy -o o.npy --error-bars o.npy", 1, "two results"),
    ("density m.safetensors --error-bars o.npy", 1, "neither points nor --grid"),
    ("sample m.safetensors -o o.npy --block 0", 2, "invalid value '0'"),
    ("invert x.npy --model m.safetensors --block many", 2, "invalid value 'many'"),
    ("density m.safetensors x.npy -o o.npy --block 99999999999", 2, "invalid value"),
    ("density m.safetensors x.npy --block 5 -o late/o.npy", 1, "the folder `late` does not exist"),
    ("density c.safetensors x.npy --condition c3.npy -o o.npy", 1, "3 rows of conditions for 500 points"),
    ("density c.safetensors x.npy --condition short.csv -o o.npy", 1, "3 rows of conditions for more than 3 points"),
    ("density m.safetensors late.npy --block 10 -o o.npy", 1, "inf in row 90, column 1"),
    ("invert late.csv --model m.safetensors --block 10 -o o.npy", 1, "`six` in line 92, column `b`"),
    ("export m.safetensors -o o.npy", 1, "unknown model file type"),
    ("export m.safetensors", 2, "--output"),
    ("export absent.safetensors -o o.safetensors", 1, "the file does not exist"),
    ("export w.safetensors -o o.safetensors", 1, "no description of a flow"),
    ("export layers.safetensors -o o.safetensors", 1, "layers that an nn.Sequential of Linear layers cannot hold"),
    ("import halfscaled.safetensors --activation tanh -o o.safetensors", 1, "`standardise.std` is missing"),
    ("import flat.safetensors --activation tanh -o o.safetensors", 1, "deviation 0"),
    ("import w.safetensors --activation tanh --time-features 3 -o o.safetensors", 1, "time with 3 frequencies are 9"),
    ("import w.safetensors --activation tanh --time-features 18446744073709551615 -o o.safetensors", 1, "frequencies"),
    ("trajectory -o o.png", 1, "no model was named"),
    ("trajectory m.safetensors", 1, "nothing to draw"),
    ("trajectory m.safetensors -o o.gif", 1, "unknown picture format"),
    ("trajectory m.safetensors --gif o.png", 1, "unknown animation format"),
    ("trajectory m.safetensors -o absent/o.png", 1, "the folder `absent` does not exist"),
    ("trajectory m.safetensors x.npy -n 10 -o o.png", 2, "cannot be used with"),
    ("trajectory m.safetensors three.npy -o o.png", 1, "3 columns"),
    ("trajectory m.safetensors absent.npy -o o.png", 1, "the file does not exist"),
    ("trajectory m.safetensors -n 0 -o o.png", 2, "invalid value '0'"),
    ("trajectory m.safetensors --panels 1 -o o.png", 2, "invalid value '1'"),
    ("trajectory m.safetensors --frames 100000 --gif o.gif", 2, "invalid value '100000'"),
    ("trajectory m.safetensors --fps 0 --gif o.gif", 2, "invalid value '0'"),
    ("trajectory m.safetensors --size 9x9 -n 2 --grid 10 -o o.png", 1, "9×9 pixels"),
    ("trajectory m.safetensors --size wide -o o.png", 2, "width and height"),
    ("trajectory m.safetensors --theme pink -o o.png", 2, "expected light or dark"),
    ("trajectory m.safetensors --axes 0,1 -o o.png", 1, "needs more than two dimensions"),
    ("trajectory d43.safetensors --axes 0,43 -o o.png", 1, "`43` is not one of the 43 columns"),
    ("trajectory d43.safetensors --axes 5,5 -o o.png", 1, "column 5 (counted from 0) twice"),
    ("trajectory c.safetensors -o o.png", 1, "conditional on 1 column"),
    ("trajectory c.safetensors --condition c3.npy -o o.png", 1, "several rows of conditions"),
    ("plot", 1, "no model was named"),
    ("plot folder", 1, "the folder holds no `model.safetensors`"),
    ("plot run --out new", 1, "it holds no `config.toml`"),
    ("plot run --format jpeg", 2, "possible values"),
    ("plot run --scale 0", 2, "invalid value '0'"),
    ("completions tcsh", 2, "possible values"),
    ("man --out x.npy", 1, "cannot write `x.npy`"),
    ("density m.safetensors words.csv --sep , --decimal , -o o.npy", 1, "--sep and --decimal are both a comma"),
    ("density m.safetensors words.csv --sep abc -o o.npy", 2, "unknown separator `abc`"),
    ("density m.safetensors words.csv --sep 5 -o o.npy", 2, "unknown separator `5`"),
    ("density m.safetensors words.csv --decimal ; -o o.npy", 2, "unknown decimal mark `;`"),
    ("density m.safetensors words.csv --comment 1 -o o.npy", 1, "--comment `1`: rows that begin with a number"),
    ("density m.safetensors x.npy --sep ; -o o.npy", 1, "--sep has no meaning for `x.npy`, which is not a text"),
    ("density m.safetensors --grid 20 --na x -o o.npy", 1, "--na has no meaning without a file of text"),
    ("sample m.safetensors -n 5 --decimal , -o o.npy", 1, "--decimal has no meaning without a file of text"),
    ("data moons --comment %", 1, "--comment has no meaning without a file of text"),
    ("data x.npy --na x", 1, "--na has no meaning for `x.npy`"),
    ("data semicolons.csv", 1, "set --decimal to a comma"),
    ("data semicolons.csv --sep tab", 1, "set --sep to what divides the cells"),
    ("data semicolons.csv --sep ,", 1, "--decimal to a comma"),
    ("train --data moons --sep ; --steps 1", 1, "--sep has no meaning for the toy `moons`"),
    ("train --data x.npy --decimal , --steps 1", 1, "--decimal has no meaning for `x.npy`"),
    ("train --data words.csv --sep , --decimal , --steps 1", 1, "--sep and --decimal are both a comma"),
    ("compare --data moons --na x --steps 1 --out no", 1, "--na has no meaning for the toy `moons`"),
    ("train --resume run --sep ;", 2, "cannot be used with"),
    ("train --data holed.csv --missing marginal --model cnf --steps 1", 1, "--missing marginal has no meaning for cnf"),
    ("train --data holed.csv --missing marginal --time 1s", 1, "set --model to gaussian, gaussian-shrunk or mixture"),
    ("train --data holed.csv --missing fill --steps 1", 2, "choose one of drop, refuse, marginal"),
    ("sample m.safetensors -n 5 -o - --json", 2, "'--json' cannot be used with a table on stdout"),
    ("density m.safetensors x.npy -o o.npy --weights c3.npy", 1, "there are 3 weights for"),
    ("density m.safetensors x.npy -o o.npy --weights absent.npy", 1, "the file does not exist"),
    ("density m.safetensors --grid 20 -o o.npy --weights c3.npy", 2, "cannot be used with"),
    ("density x.npy --model m.safetensors x.npy -o o.npy", 2, "cannot be used with"),
    ("train --watch --quiet --steps 1", 2, "cannot be used with"),
    ("train --watch --steps 1", 1, "stderr is not one"),
];

#[test]
fn wrong_input_gets_one_sentence_a_hint_an_exit_code_and_no_file() {
    let folder = folder();
    let at = folder.path();
    wrong_files(at);
    std::fs::copy(golden("d43/model.safetensors"), at.join("w43.safetensors")).unwrap();
    json(at, "import w43.safetensors --activation softplus -o d43.safetensors");
    let listing = || {
        let mut names: Vec<_> = std::fs::read_dir(at).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = listing();
    let mut wrong = Vec::new();
    for (words, code, part) in WRONG {
        let out = cnf(at, words);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        let errors = err.lines().filter(|line| line.starts_with("error: ")).count();
        let hints = err.lines().filter(|line| line.starts_with("hint: ")).count();
        let sound = out.status.code() == Some(*code)
            && errors == 1
            && hints == 1
            && err.contains(part)
            && !err.contains("panicked")
            && out.stdout.is_empty()
            && listing() == before;
        if !sound {
            wrong.push(format!("`cnf {words}` wanted {code} `{part}`, got {:?}:\n{err}", out.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), WRONG.len(), wrong.join("\n"));
}
