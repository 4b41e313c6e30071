//! Laws of the model file and of weights from PyTorch.

use std::path::Path;

use crate::common::state_dict::{state_dict, tensor};
use crate::velocity_images::small_images;
use cnflow::continuous::SolverSpec;
use cnflow::discrete::{Kind, Plan};
use cnflow::io::safetensors::{ModelFile, NamedTensor, Values};
use cnflow::io::{self, Dtype, torch};
use cnflow::model::{BaseFlow, FlowSpec, Model};
use cnflow::transform::{Column, Mixture};
use cnflow::velocity::{Activation, MlpSpec, TimeInput, VelocitySpec};

/// The bytes that a file has on the disk.
fn bytes_of(file: &ModelFile) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    file.write(&path).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn a_model_file_comes_back_bit_by_bit_and_is_written_the_same_each_time() {
    let mut file = state_dict("net.");
    let wide = vec![1.0 / 3.0, -0.0, f64::MIN_POSITIVE / 4.0, f64::MAX, 5e-324];
    file.tensors.push(NamedTensor { name: "mean".into(), shape: vec![5], values: Values::F64(wide) });
    file.tensors.push(NamedTensor { name: "scalar".into(), shape: vec![], values: Values::F32(vec![2.5]) });
    for key in ["spec", "solver", "seed", "metrics", "units"] {
        file.metadata.insert(key.into(), format!("{{\"{key}\": \"ε ≤ 1e-5\\n\"}}"));
    }
    let once = bytes_of(&file);
    assert_eq!(once, bytes_of(&file));
    let back = ModelFile::parse(Path::new("m"), &once).unwrap();
    assert_eq!(back.metadata, file.metadata);
    assert_eq!(back.tensors.len(), file.tensors.len());
    for tensor in &file.tensors {
        let other = back.tensor(&tensor.name).unwrap();
        assert_eq!(tensor.shape, other.shape);
        let bits = |v: &Values| v.to_f64().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&tensor.values), bits(&other.values), "{}", tensor.name);
    }
    // Other readers see the same file.
    let theirs = safetensors::SafeTensors::deserialize(&once).unwrap();
    assert_eq!(theirs.tensor("net.0.weight").unwrap().shape(), [4, 3]);
    let mut twice = file.clone();
    twice.tensors.push(twice.tensors[0].clone());
    assert!(twice.write(Path::new("/nowhere/m")).unwrap_err().to_string().contains("two tensors are called"));
    file.tensors[0].shape = vec![5];
    assert!(file.write(Path::new("/nowhere/m")).unwrap_err().to_string().contains("has 12 numbers"));
}

#[test]
fn wrong_model_files_say_what_is_wrong() {
    let raw = |header: &str, body: &[u8]| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), body].concat();
    let one = |dtype: &str, shape: &str, end: u64| {
        format!("{{\"w\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[0,{end}]}}}}")
    };
    let huge: Vec<String> = (0..9u64)
        .map(|k| {
            let (a, b) = (k * ((1 << 61) - 1), (k + 1).saturating_mul((1 << 61) - 1));
            format!("\"t{k}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{a},{b}]}}", (1u64 << 61) - 1)
        })
        .collect();
    let cases = [
        (b"PK\x03\x04 a zip archive, not weights".to_vec(), "it is not a .safetensors file"),
        (b"short".to_vec(), "it is not a .safetensors file"),
        (raw("{not json}", b""), "it is not a .safetensors file"),
        (raw(&"[".repeat(50_000), b""), "it is not a .safetensors file"),
        (raw(&format!("{{\"a\":{}", "[".repeat(50_000)), b""), "it is not a .safetensors file"),
        ([&500u64.to_le_bytes()[..], b"{\"w\""].concat(), "cut short: 496 bytes are missing"),
        (raw(&one("F32", "[2]", 8), &[0; 5]), "cut short: 3 bytes are missing"),
        (raw(&one("F32", "[2]", 8), &[0; 9]), "its header is not valid"),
        (raw(&one("F32", "[3]", 8), &[0; 8]), "its header is not valid"),
        (raw(&one("F32", "[4611686018427387904, 8]", 8), &[0; 8]), "its header is not valid"),
        (raw(&format!("{{{}}}", huge.join(",")), b""), "cut short"),
        (raw(&one("F16", "[2]", 4), &[0; 4]), "its tensor `w` has the type F16, expected F32 or F64"),
        (
            raw(&one("F32", "[2]", 8), &[0, 0, 192, 127, 0, 0, 0, 0]),
            "1 of the 2 numbers of its tensor `w` are not finite",
        ),
    ];
    for (bytes, sentence) in cases {
        let error = ModelFile::parse(Path::new("m.safetensors"), &bytes).unwrap_err();
        assert!(error.to_string().contains(sentence), "`{error}` lacks `{sentence}`");
        assert!(error.hint().is_some(), "`{error}` has no hint");
    }
}

#[test]
fn a_sequential_of_pytorch_is_read_under_any_prefix() {
    for prefix in ["net.", "model.net.", ""] {
        let net = torch::sequential(Path::new("w"), &state_dict(prefix)).unwrap();
        assert_eq!(net.sizes, [3, 4, 2]);
        let theta = net.theta();
        assert_eq!(theta.len(), 3 * 4 + 4 + 4 * 2 + 2);
        assert_eq!(theta[..12], net.layers[0].weight);
        assert_eq!(theta[12..16], net.layers[0].bias);
    }
    // Numbers are numbers: 10 comes after 2, not before.
    let mut file = state_dict("");
    file.tensors.push(tensor("10.bias", &[1]));
    file.tensors.push(tensor("10.weight", &[1, 2]));
    assert_eq!(torch::sequential(Path::new("w"), &file).unwrap().sizes, [3, 4, 2, 1]);
}

#[test]
fn wrong_state_dicts_name_the_key() {
    type Change = fn(&mut Vec<NamedTensor>);
    let cases: [(Change, &str); 9] = [
        (|t| t.clear(), "it holds no tensors"),
        (|t| drop(t.remove(1)), "`net.0.bias` is missing"),
        (|t| drop(t.remove(2)), "`net.2.weight` is missing"),
        (|t| t[2] = tensor("net.2.weight", &[2, 5]), "`net.2.weight` has 5 inputs, expected 4"),
        (|t| t[0] = tensor("net.0.weight", &[4, 3, 1]), "`net.0.weight` has the shape [4, 3, 1]"),
        (|t| t[3] = tensor("net.2.bias", &[3]), "`net.2.bias` has the shape [3], expected [2]"),
        (|t| t.push(tensor("net.1.running_mean", &[4])), "`net.1.running_mean`"),
        (|t| t.push(tensor("other.4.weight", &[1, 2])), "`other.4.weight` are not layers"),
        (|t| t.push(tensor("net.00.bias", &[4])), "`net.00.bias` comes twice"),
    ];
    for (change, sentence) in cases {
        let mut file = state_dict("net.");
        change(&mut file.tensors);
        let error = torch::sequential(Path::new("w.safetensors"), &file).unwrap_err().to_string();
        assert!(error.contains(sentence), "`{error}` lacks `{sentence}`");
    }
}

#[test]
fn the_reference_nets_and_tables_are_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, sizes) in [("8gaussians", vec![3, 64, 64, 64, 2]), ("d43", vec![44, 128, 128, 43])] {
        assert_eq!(torch::read_sequential(&golden.join(name).join("model.safetensors")).unwrap().sizes, sizes);
        let x = io::read(&golden.join(name).join("x.npy")).unwrap();
        assert_eq!((x.rows, x.cols, x.dtype), (500, *sizes.last().unwrap(), Dtype::F64));
        assert!(io::read(&golden.join(name).join("logp.npy")).unwrap().vector);
    }
}

fn with_base_and_columns() -> Model {
    let (activation, time) = (Activation::Tanh, TimeInput::Plain);
    let velocity = VelocitySpec::Mlp(MlpSpec { dim: 2, condition_dim: 0, hidden: vec![4], activation, time });
    let theta = velocity.init(&mut cnflow::rng::stream(0, 0));
    let base = Mixture::new(vec![1.0], vec![0.1, -0.2], vec![1.0, 0.0, 0.5, 1.0 / 3.0]).unwrap();
    let columns = Some(vec![Column::Angle { period: 360.0, cut: 12.5 }, Column::Positive]);
    let spec = FlowSpec { columns, base: Some(base), ..FlowSpec::plain(velocity, SolverSpec::default()) };
    Model { spec, theta, provenance: Default::default() }
}

#[test]
fn the_format_says_what_a_reader_must_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let model = with_base_and_columns();
    model.save(&path).unwrap();
    let card = |path: &Path| ModelFile::read(path).unwrap().metadata["cnf"].clone();
    assert!(card(&path).starts_with("{\"format\":2,"), "{}", card(&path));
    assert!(card(&path).contains("\"kind\":\"angle\"") && !card(&path).contains("factors"), "{}", card(&path));
    assert_eq!(Model::load(&path).unwrap().spec, model.spec);
    // A model without them is still what older programs read.
    let plain = Model { spec: FlowSpec { base: None, columns: None, ..model.spec.clone() }, ..model };
    plain.save(&path).unwrap();
    assert!(card(&path).starts_with("{\"format\":1,"), "{}", card(&path));
    assert_eq!(Model::load(&path).unwrap().spec, plain.spec);
    for images in small_images() {
        let velocity = VelocitySpec::Image(images);
        let theta = velocity.init(&mut cnflow::rng::stream(0, 0));
        let model =
            Model { spec: FlowSpec::plain(velocity, SolverSpec::default()), theta, provenance: Default::default() };
        model.save(&path).unwrap();
        assert!(card(&path).starts_with("{\"format\":4,"), "{}", card(&path));
        let again = Model::load(&path).unwrap();
        assert_eq!((again.spec, again.theta), (model.spec, model.theta));
    }
}

fn on_a_base_flow() -> Model {
    let (activation, time) = (Activation::Tanh, TimeInput::Plain);
    let velocity = VelocitySpec::Mlp(MlpSpec { dim: 2, condition_dim: 0, hidden: vec![4], activation, time });
    let theta = velocity.init(&mut cnflow::rng::stream(0, 0));
    let plan = Plan { depth: 2, hidden: vec![3], ..Plan::usual(Kind::Spline, 2) };
    let layers = plan.spec(&mut cnflow::rng::stream(1, 0)).unwrap();
    let base_flow = BaseFlow { theta: layers.init(&mut cnflow::rng::stream(2, 0)).into(), layers };
    let spec = FlowSpec { base_flow: Some(base_flow), ..FlowSpec::plain(velocity, SolverSpec::default()) };
    Model { spec, theta, provenance: Default::default() }
}

#[test]
fn a_base_flow_is_part_of_the_file_and_refused_where_it_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let model = on_a_base_flow();
    model.save(&path).unwrap();
    let whole = ModelFile::read(&path).unwrap();
    assert!(whole.metadata["cnf"].starts_with("{\"format\":5,"), "{}", whole.metadata["cnf"]);
    let back = Model::load(&path).unwrap();
    assert_eq!((&back.spec, &back.theta), (&model.spec, &model.theta));
    let layers = model.spec.base_flow.as_ref().unwrap();
    assert_eq!(back.n_params(), model.theta.len() + layers.theta.len());
    type Change = fn(&mut ModelFile);
    let lost: Change = |f| f.tensors.retain(|t| !t.name.starts_with("base_flow."));
    let narrow: Change =
        |f| edit(f, "\"base_flow\":{\"kind\":\"spline\",\"dim\":2", "\"base_flow\":{\"kind\":\"spline\",\"dim\":3");
    for (change, sentence) in [(lost, "is missing"), (narrow, "")] {
        let mut file = ModelFile::read(&path).unwrap();
        change(&mut file);
        let other = folder.path().join("changed.safetensors");
        file.write(&other).unwrap();
        let error = Model::load(&other).unwrap_err();
        assert!(error.to_string().contains(sentence) && error.hint().is_some(), "`{error}` lacks `{sentence}`");
    }
}

#[test]
fn a_base_or_columns_that_do_not_fit_are_refused() {
    type Change = fn(&mut ModelFile);
    let cases: [(Change, &str); 6] = [
        (|f| f.tensors.retain(|t| t.name != "base.means"), "`base.weights` that is not part of the flow"),
        (|f| numbers(f, "base.weights")[0] = 0.4, "add up to 1"),
        (|f| numbers(f, "base.factors")[3] = -1.0, "Cholesky"),
        (|f| numbers(f, "base.means").truncate(1), "is broken"),
        (|f| edit(f, "{\"kind\":\"positive\"}", "{\"kind\":\"plain\"},{\"kind\":\"plain\"}"), "columns do not fit"),
        (|f| edit(f, "\"period\":360", "\"period\":-360"), "columns do not fit"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    for (change, sentence) in cases {
        with_base_and_columns().save(&path).unwrap();
        let mut file = ModelFile::read(&path).unwrap();
        change(&mut file);
        for tensor in &mut file.tensors {
            tensor.shape =
                if tensor.name.starts_with("base") { vec![tensor.values.len()] } else { tensor.shape.clone() };
        }
        file.write(&path).unwrap();
        let error = Model::load(&path).unwrap_err();
        assert!(error.to_string().contains(sentence) && error.hint().is_some(), "`{error}` lacks `{sentence}`");
    }
}

fn numbers<'a>(file: &'a mut ModelFile, name: &str) -> &'a mut Vec<f64> {
    match &mut file.tensors.iter_mut().find(|t| t.name == name).unwrap().values {
        Values::F64(numbers) => numbers,
        Values::F32(_) => panic!("{name} is in f32"),
    }
}

fn edit(file: &mut ModelFile, from: &str, to: &str) {
    let text = file.metadata["cnf"].replace(from, to);
    assert_ne!(text, file.metadata["cnf"], "{from}");
    file.metadata.insert("cnf".into(), text);
}
