//! A training that is killed, at any moment and however often, goes on to the model of one that was left alone.
//!
//! Every `cnf train` of a test is killed by SIGKILL at a drawn moment after its start and taken up again by `--resume`,
//! until it gets to its end; then the next run begins, until enough kills have been dealt. The moments are drawn over
//! the start-up, the time to the first checkpoint, the steps, and the end with its scores and pictures, and the test
//! counts that all of them were met.
#![cfg(feature = "cli")]
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use cnflow::io::{self, Array, Dtype};
use cnflow::model::Model;
use cnflow::transform::StandardNormal;
use cnflow::{Rng, rng};
use rand::Rng as _;

/// Of each kind of run; a run on images takes longer.
const KILLS: usize = 25;
const KILLS_ON_IMAGES: usize = 10;
/// Kills of one run at its end, after which it is left to finish: else most of them would fall there.
const AT_ITS_END: usize = 3;
const NET: &str = "--hidden 8,8 --batch 64 --checkpoint-every 10";
/// The digits with their classes; few rows to score.
const DIGITS: &str = "--data digits --condition digit --split 0.9,0.05 --checkpoint-every 10";

/// A run's folder.
struct Run(PathBuf);

impl Run {
    fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    fn model(&self) -> PathBuf {
        self.0.join("model.safetensors")
    }

    /// The end has begun: results are being written aside, or are there.
    fn is_ending(&self) -> bool {
        let hidden = |name: &str| name.starts_with('.') && !name.ends_with(".tmp");
        self.model().exists()
            || std::fs::read_dir(&self.0).is_ok_and(|mut entries| {
                entries.any(|entry| entry.is_ok_and(|e| hidden(&e.file_name().to_string_lossy())))
            })
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        // What a killed process was writing aside stays, under a hidden name.
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    /// Whatever moment it was: the files that are there are whole.
    fn is_sound(&self) {
        for file in [self.checkpoint(), self.model()] {
            if let Ok(bytes) = std::fs::read(&file) {
                let whole = safetensors::SafeTensors::deserialize(&bytes).map(|tensors| tensors.len());
                assert!(whole.as_ref().is_ok_and(|n| *n > 0), "{}: {whole:?}", file.display());
            }
        }
    }
}

fn spawn(at: &Path, words: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
    command.arg("train").args(words.split_whitespace()).current_dir(at);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of the process, or of its time; none for the latter.
fn wait(child: &mut Child, time: Duration, mut look: impl FnMut()) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() >= time {
            return None;
        }
        look();
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// How long an unbroken run takes, to its first checkpoint and to its end.
struct Times {
    first: Duration,
    all: Duration,
}

fn unbroken(at: &Path, flags: &str, run: &Run) -> Times {
    let start = Instant::now();
    let mut child = spawn(at, &format!("{flags} --out {}", run.0.display()));
    let mut first = None;
    let status = wait(&mut child, Duration::from_secs(120), || {
        if first.is_none() && run.checkpoint().exists() {
            first = Some(start.elapsed());
        }
    });
    let err = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{flags}: {err}");
    Times { first: first.expect("a run keeps a checkpoint while it goes on"), all: start.elapsed() }
}

/// When the next process is killed: at first before it has kept anything, in each run another eighth of that time;
/// then often soon and up to its end.
fn moment(run: usize, attempt: usize, times: &Times, rng: &mut Rng) -> Duration {
    if attempt == 0 {
        return times.first.mul_f64(((run % 8) as f64 + rng.random::<f64>()) / 8.0);
    }
    if rng.random_bool(0.7) {
        times.first + times.all.mul_f64(rng.random_range(0.0..0.3))
    } else {
        times.all.mul_f64(rng.random_range(0.0..1.05))
    }
}

#[derive(Debug, Default)]
struct Met {
    kills: usize,
    before_the_first_checkpoint: usize,
    among_the_steps: usize,
    at_the_end: usize,
    runs: usize,
}

/// Kills runs of these flags until enough kills were dealt, and holds each to the unbroken one.
fn is_killed_and_goes_on(flags: &str, kills: usize, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // Three columns and few rows: their pictures and scores take little time.
    let rows = StandardNormal::new(3).draw(400, &mut rng::stream(seed, 1));
    io::write(&at.join("rows.npy"), &Array::table(rows, 3, Dtype::F64).unwrap()).unwrap();
    let whole = Run(at.join("whole"));
    let times = unbroken(at, flags, &whole);
    let expected = Model::load(&whole.model()).unwrap();
    assert!(expected.theta.iter().all(|w| w.is_finite()) && expected.provenance["nll"].is_f64());

    let mut rng = rng::stream(seed, 0);
    let mut met = Met::default();
    while met.kills < kills {
        let run = Run(at.join(format!("run{}", met.runs)));
        met.runs += 1;
        let end = met.at_the_end + AT_ITS_END;
        for attempt in 0.. {
            assert!(attempt < 40 * kills, "{flags}: no end after {met:?}");
            let name = run.0.display();
            let again = run.checkpoint().exists();
            let words = if again { format!("--resume {name}") } else { format!("{flags} --out {name} --force") };
            let left = if met.kills < kills && met.at_the_end < end {
                moment(met.runs - 1, attempt, &times, &mut rng)
            } else {
                Duration::from_secs(120)
            };
            let mut child = spawn(at, &words);
            let status = wait(&mut child, left, || ());
            if status.is_none() {
                child.kill().unwrap();
            }
            let out = child.wait_with_output().unwrap();
            run.is_sound();
            if out.status.success() {
                break;
            }
            assert!(status.is_none(), "`train {words}` after {met:?}: {}", String::from_utf8_lossy(&out.stderr));
            met.kills += 1;
            if run.is_ending() {
                met.at_the_end += 1;
            } else if run.checkpoint().exists() {
                met.among_the_steps += 1;
            } else {
                met.before_the_first_checkpoint += 1;
            }
            if run.model().exists() && !run.checkpoint().exists() {
                // Killed between its last deed and its exit.
                break;
            }
        }
        let found = Model::load(&run.model()).unwrap();
        assert_eq!(found.theta, expected.theta, "{flags}: {met:?}");
        assert_eq!(
            (found.spec, &found.provenance["nll"]),
            (expected.spec.clone(), &expected.provenance["nll"]),
            "{flags}"
        );
        assert_eq!(run.names(), whole.names());
        let config = |run: &Run| std::fs::read_to_string(run.0.join("config.toml")).unwrap();
        assert_eq!(config(&run), config(&whole));
    }
    assert!(met.before_the_first_checkpoint > 0 && met.among_the_steps > 0 && met.at_the_end > 0, "{flags}: {met:?}");
}

#[test]
fn a_matching_that_is_killed_goes_on_to_the_same_bits() {
    is_killed_and_goes_on(&format!("--steps 600 {NET}"), KILLS, 1);
}

#[test]
fn a_matching_of_optimal_pairs_that_is_killed_goes_on_to_the_same_bits() {
    is_killed_and_goes_on(&format!("--data rows.npy --steps 400 --pairing optimal --path vp --seed 3 {NET}"), KILLS, 2);
}

#[test]
fn a_likelihood_that_is_killed_goes_on_to_the_same_bits() {
    is_killed_and_goes_on(
        &format!("--objective likelihood --data rows.npy --steps 60 --rtol 1e-3 --atol 1e-3 {NET}"),
        KILLS,
        3,
    );
}

#[test]
fn a_mixed_run_that_is_killed_goes_on_to_the_same_bits() {
    is_killed_and_goes_on(
        &format!("--objective mixed --data rows.npy --steps 200 --rtol 1e-3 --atol 1e-3 {NET}"),
        KILLS,
        4,
    );
}

#[test]
fn a_velocity_on_a_spline_that_is_killed_goes_on_to_the_same_bits() {
    is_killed_and_goes_on(&format!("--data rows.npy --steps 300 --base spline --seed 7 {NET}"), KILLS, 7);
}

#[test]
fn a_flow_of_images_that_is_killed_goes_on_to_the_same_bits() {
    is_killed_and_goes_on(&format!("{DIGITS} --steps 80"), KILLS_ON_IMAGES, 5);
}

#[test]
fn a_multiscale_flow_that_is_killed_goes_on_to_the_same_bits() {
    is_killed_and_goes_on(&format!("{DIGITS} --model glow --depth 2 --hidden 8,8 --steps 80"), KILLS_ON_IMAGES, 6);
}

#[test]
fn there_must_be_something_to_resume() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |words: &str| {
        let out = spawn(folder.path(), words).wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(1), "{words}");
        String::from_utf8(out.stderr).unwrap()
    };
    let run = Run(folder.path().join("whole"));
    unbroken(folder.path(), &format!("{NET} --steps 50"), &run);
    assert!(!run.checkpoint().exists());
    let err = refused("--resume whole");
    assert!(err.contains("finished") && err.contains("hint: "), "{err}");
    std::fs::create_dir(folder.path().join("begun")).unwrap();
    assert!(refused("--resume begun").contains("checkpoint"));
    assert!(refused("--resume absent").contains("absent"));
}
