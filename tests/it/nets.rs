//! Laws over every net that `cnf train --net` lists: trained by each objective, saved, resumed, used by every command.

#![cfg(feature = "cli")]

use crate::common::watch::First;
use cnflow::model::Model;
use cnflow::rows::{DataOptions, Dataset, resolve};
use cnflow::train::{Job, Net, Objective, fit, resume, score};
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput};

use crate::common::command::{cnf, has, json};

fn moons() -> Dataset {
    resolve("moons", &DataOptions { held_out: 200, ..DataOptions::default() }, 0).unwrap()
}

fn job(net: Net, objective: Objective) -> Job {
    Job::default()
        .with(|job| {
            job.model.net = Some(net);
            job.model.hidden = Some(vec![12, 12]);
            job.objective.kind = objective;
            job.objective.likelihood_batch = Some(32);
            job.optimiser.batch = Some(64);
            job.optimiser.steps = Some(24);
            job.optimiser.validations = 0;
            job.output.checkpoint = "10".into();
            (job.solver.rtol, job.solver.atol) = (1e-2, 1e-2);
        })
        .applicable()
}

#[test]
fn every_net_learns_by_every_objective_and_repeats_its_bits_resumed_and_from_its_file() {
    let (data, folder) = (moons(), tempfile::tempdir().unwrap());
    let path = folder.path().join("m.safetensors");
    for net in Net::OF_ROWS {
        for objective in Objective::ALL {
            let (job, name) = (job(net, objective), format!("{} by {}", net.name(), objective.name()));
            let mut first = First::default();
            let fitted = fit(&job, &data, &mut first).unwrap();
            let velocity = fitted.model.spec.architecture.as_velocity().unwrap();
            assert_eq!(Net::of(velocity).map(|(net, _)| net), Some(net), "{name}");
            let again = resume(first.0.unwrap(), &data, &mut ()).unwrap();
            assert_eq!(again.model.theta, fitted.model.theta, "{name}");
            let nll = |model: &Model| score(&model.bind(Precision::F32).unwrap(), &data.test, data.toy()).unwrap().nll;
            fitted.model.save(&path).unwrap();
            let loaded = Model::load(&path).unwrap();
            assert_eq!((&loaded.theta, nll(&loaded)), (&fitted.model.theta, nll(&fitted.model)), "{name}");
            // Two dozen steps are better than none.
            let none = job.with(|job| (job.optimiser.steps, job.optimiser.lr) = (Some(1), Some(1e-12)));
            let none = fit(&none, &data, &mut ()).unwrap();
            assert!(nll(&loaded) < nll(&none.model), "{name}: {} against {}", nll(&loaded), nll(&none.model));
        }
    }
}

#[test]
fn every_net_begins_at_its_base_where_it_is_told_to() {
    let data = moons();
    for net in Net::OF_ROWS {
        let job = job(net, Objective::Matching).with(|job| {
            job.model.base = "mixture:3".into();
            (job.optimiser.steps, job.optimiser.lr) = (Some(1), Some(1e-12));
        });
        let model = fit(&job, &data, &mut ()).unwrap().model;
        let found = score(&model.bind(Precision::F32).unwrap(), &data.test, data.toy()).unwrap().nll;
        // The velocity is zero, so that the density is the mixture's of the standardised rows.
        let (base, moments) = (model.spec.base.as_ref().unwrap(), model.spec.standardise.as_ref().unwrap());
        let standardised = |(i, x): (usize, f64)| (x - moments.mean[i % 2]) / moments.std[i % 2];
        let z: Vec<f64> = data.test.x.iter().enumerate().map(standardised).collect();
        let log_prob = base.log_prob_rows(&z);
        let volume: f64 = moments.std.iter().map(|std| std.ln()).sum();
        let expected = volume - log_prob.iter().sum::<f64>() / log_prob.len() as f64;
        // A state of size 4 is rounded to f32 by 2e-7, where the mixture's log-density has a slope of some ten.
        assert!((found - expected).abs() < 5e-6, "{}: {found} against {expected}", net.name());
    }
}

#[test]
fn a_net_is_found_again_in_its_velocity() {
    for net in Net::OF_ROWS {
        for hidden in [vec![], vec![5], vec![7, 3]] {
            for activation in if hidden.is_empty() { vec![Activation::Silu] } else { Activation::ALL.to_vec() } {
                let hidden = hidden.clone();
                let mlp = MlpSpec { dim: 2, condition_dim: 1, hidden, activation, time: TimeInput::Plain };
                assert_eq!(Net::of(&net.velocity(mlp.clone(), None).unwrap()), Some((net, mlp)));
            }
        }
        assert_eq!(net.name().parse::<Net>().unwrap(), net);
    }
}

#[test]
fn a_run_of_candle_layers_is_used_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let net = "train --data uniform --net concatsquash --hidden 8,8 --batch 64 --rtol 1e-2 --atol 1e-2 --quiet";
    json(at, &format!("{net} --steps 30 --out a"));
    json(at, &format!("{net} --steps 5 --objective likelihood --out b"));
    let config = std::fs::read_to_string(at.join("a/config.toml")).unwrap();
    assert!(config.contains("net = \"concatsquash\""), "{config}");
    let text = String::from_utf8(cnf(at, "info a").stdout).unwrap();
    assert!(text.contains("concatsquash, 1 → 8 → 8 → 1, silu"), "{text}");
    assert_eq!(json(at, "info a")["net"], "concatsquash");
    json(at, "sample a -n 50 -o s.npy");
    json(at, "invert s.npy --model a -o z.npy");
    has(&json(at, "density a s.npy -o p.npy"), "mean_log_prob");
    has(&json(at, "compare a b --out c"), "models");
    // A start decides the net, and says so.
    json(at, "train --data uniform --init a --steps 2 --batch 32 --rtol 1e-2 --atol 1e-2 --out d --quiet");
    assert!(std::fs::read_to_string(at.join("d/config.toml")).unwrap().contains("net = \"concatsquash\""));
    for (words, part) in [
        ("train --data uniform --init a --net mlp --steps 1", "--net contradicts the model to start from"),
        (
            "train --net concatsquash --time-features 2 --steps 1",
            "--time-features has no meaning for the net concatsquash",
        ),
        ("train --net concatsquash --model realnvp --steps 1", "--net concatsquash has no meaning for realnvp"),
        ("train --net concat --steps 1", "unknown net `concat`"),
    ] {
        let out = cnf(at, words);
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && err.contains(part), "`{words}`: {err}");
    }
}
