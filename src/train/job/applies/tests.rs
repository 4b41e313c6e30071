//! The table of fields against every family and objective.

use std::collections::BTreeSet;

use super::*;

/// A value of each field that is not its default and is valid by itself.
const VALUES: &[(&str, &str)] = &[
    ("data.source", "'moons'"),
    ("data.split", "'0.7,0.2'"),
    ("data.split_seed", "3"),
    ("data.copies_together", "false"),
    ("data.keep", "['a']"),
    ("data.drop", "['a']"),
    ("data.header", "'first'"),
    ("data.sep", "';'"),
    ("data.decimal", "','"),
    ("data.na", "['x']"),
    ("data.comment", "'%'"),
    ("data.layout", "'chw'"),
    ("data.image", "{ height = 1, width = 1, channels = 2 }"),
    ("data.pixel_map", "'linear'"),
    ("data.pixel_noise", "'uniform'"),
    ("data.condition", "['c']"),
    ("data.weights", "'w'"),
    ("data.columns", "['0:angle']"),
    ("data.column_types", "'plain'"),
    ("data.standardise", "false"),
    ("data.spread", "3.0"),
    ("data.far_rows", "'keep'"),
    ("data.missing", "'refuse'"),
    ("model.net", "'mlp'"),
    ("model.preconditioning", "'gaussian'"),
    ("model.hidden", "[5]"),
    ("model.activation", "'tanh'"),
    ("model.time_features", "2"),
    ("model.depth", "3"),
    ("model.levels", "1"),
    ("model.mask", "'parity'"),
    ("model.linear", "true"),
    ("model.bins", "4"),
    ("model.bound", "4.0"),
    ("model.log_scale", "2.0"),
    ("model.sigma", "2.0"),
    ("model.base", "'mixture'"),
    ("model.base_share", "0.3"),
    ("model.whitening", "'cholesky'"),
    ("model.init", "'m.safetensors'"),
    ("model.precision", "'f64'"),
    ("objective.path", "'vp'"),
    ("objective.pairing", "'optimal'"),
    ("objective.pairing_block", "64"),
    ("objective.time_exponent", "2.0"),
    ("objective.matching_weight", "'inverse'"),
    ("objective.likelihood_share", "0.5"),
    ("objective.likelihood_batch", "7"),
    ("objective.likelihood_lr", "0.1"),
    ("objective.likelihood_tol", "0.001"),
    ("objective.kinetic", "0.1"),
    ("objective.jacobian", "0.1"),
    ("objective.steer", "0.5"),
    ("objective.nfe_target", "30.0"),
    ("optimiser.steps", "5"),
    ("optimiser.time", "5.0"),
    ("optimiser.batch", "5"),
    ("optimiser.lr", "0.1"),
    ("optimiser.kind", "\"muon\""),
    ("optimiser.warm_up", "10"),
    ("optimiser.lr_end", "0.1"),
    ("optimiser.betas", "[0.8, 0.99]"),
    ("optimiser.weight_decay", "0.1"),
    ("optimiser.clip", "2.0"),
    ("optimiser.ema", "0.5"),
    ("optimiser.validations", "2"),
    ("optimiser.validation", "'likelihood'"),
    ("optimiser.validation_rows", "5"),
    ("optimiser.keep_best", "false"),
    ("optimiser.patience", "2"),
    ("solver.method", "'tsit5'"),
    ("solver.rtol", "1e-3"),
    ("solver.atol", "1e-3"),
    ("solver.log_density_atol", "1e-3"),
    ("solver.fixed_steps", "5"),
    ("solver.max_step", "0.1"),
    ("solver.max_steps", "500"),
    ("solver.controller", "'i'"),
    ("solver.log_density", "'coupled'"),
    ("solver.trace", "'exact'"),
    ("solver.probe_seed", "3"),
    ("solver.lanes", "16"),
    ("output.checkpoint", "'5'"),
    ("output.picture", "{ invert_y = true }"),
];

/// A job in which one field is set, of a family and, for a velocity, by an objective.
fn setting(family: Family, kind: Objective, field: &str, value: &str) -> Job {
    let (section, name) = field.split_once('.').unwrap();
    let job = Job::from_toml(&format!("[{section}]\n{name} = {value}")).unwrap().with(|job| {
        job.model.family = family;
        if family == Family::Cnf {
            job.objective.kind = kind;
        }
    });
    // Levels need images.
    let levels = field == "model.levels" && matches!(family, Family::Discrete(_));
    let image = levels.then_some(cnflow_kernels::ImageShape { height: 1, width: 1, channels: 2 });
    let job = job.with(|job| job.data.image = job.data.image.or(image));
    // A share needs a base that is trained.
    let shared = ["model.base_share", "model.whitening"].contains(&field) && family == Family::Cnf;
    let job = if shared { job.with(|job| job.model.base = "spline".into()) } else { job };
    // A block needs pairs.
    let paired = field == "objective.pairing_block" && family == Family::Cnf && kind != Objective::Likelihood;
    if paired { job.with(|job| job.objective.pairing = crate::train::Pairing::Optimal) } else { job }
}

#[test]
fn every_field_of_every_section_is_in_the_table_and_has_a_value_here() {
    let listed: BTreeSet<&str> = FIELDS.iter().map(|field| field.name).collect();
    assert_eq!(listed.len(), FIELDS.len());
    let valued: BTreeSet<&str> = VALUES.iter().map(|(field, _)| *field).collect();
    let apart = BTreeSet::from(["model.family", "objective.kind"]);
    assert_eq!(&valued | &apart, listed);
    // Fields without a value are not written: each section has all of them once each is set.
    let mut written = BTreeSet::new();
    for (field, value) in VALUES {
        let job = setting(Family::Cnf, Objective::Matching, field, value);
        let job: toml::Table = job.to_toml().unwrap().parse().unwrap();
        for (section, fields) in job.iter().filter(|(section, _)| *section != "seed") {
            written.extend(fields.as_table().unwrap().keys().map(|name| format!("{section}.{name}")));
        }
    }
    assert_eq!(written.iter().map(String::as_str).collect::<BTreeSet<_>>(), listed);
}

#[test]
fn a_field_is_taken_where_it_has_a_meaning_and_refused_by_its_name_elsewhere() {
    for family in Family::ALL {
        for kind in Objective::ALL {
            for (name, value) in VALUES {
                let field = FIELDS.iter().find(|field| field.name == *name).unwrap();
                let job = setting(family, kind, name, value);
                let what = format!("{name} for {} by {}", family.name(), kind.name());
                assert!(field.is_set(&job, &Job::default()), "{what}");
                let meant =
                    field.families.contains(&family) && (family != Family::Cnf || field.objectives.contain(kind));
                assert_eq!(job.check_applies(name).is_ok(), meant, "{what}");
                match job.clone().resolve(2) {
                    Ok(resolved) => {
                        assert!(meant, "{what}");
                        // What is written is read again, and has a meaning.
                        let again = Job::from_toml(&resolved.to_toml().unwrap()).unwrap();
                        assert_eq!(again.resolve(2).unwrap(), resolved, "{what}");
                        assert_eq!(job.clone().applicable(), job, "{what}");
                    }
                    Err(refused) => {
                        assert!(!meant, "{what}: {refused}");
                        let (words, hint) = (refused.to_string(), refused.hint().unwrap());
                        assert!(words.starts_with(&format!("`{name}` has no meaning for ")), "{what}: {words}");
                        assert!(hint.contains(&format!("`{name}`")), "{what}: {hint}");
                        let applicable = job.applicable();
                        assert!(!field.is_set(&applicable, &Job::default()), "{what}");
                        applicable.resolve(2).unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn what_the_model_to_start_from_decides_is_refused_beside_it() {
    for (name, value) in VALUES.iter().filter(|(name, _)| {
        ["data.columns", "data.column_types", "data.spread", "model.base", "model.bound", "model.log_scale"]
            .contains(name)
    }) {
        let family = FIELDS.iter().find(|field| field.name == *name).unwrap().families[0];
        let job = setting(family, Objective::Matching, name, value);
        job.clone().resolve(2).unwrap();
        let refused = job.with(|job| job.model.init = Some("m.safetensors".into())).resolve(2).unwrap_err();
        assert!(refused.to_string().contains(&format!("`{name}` has no meaning beside")), "{refused}");
    }
}

#[test]
fn a_baseline_of_an_old_run_has_no_net() {
    let flat = "model = 'gaussian'\nhidden = [48, 48]\nbatch = 1024\nlr = 0.01\nspread = 1.0\nsteps = 5";
    let job = Job::from_toml(flat).unwrap();
    assert_eq!((job.model.hidden.clone(), job.data.spread, job.optimiser.steps), (None, None, Some(5)));
    job.resolve(2).unwrap();
}
