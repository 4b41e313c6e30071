//! A training by several processes has the bits of one process: whatever is trained, on any number of them, and also
//! where it is stopped and goes on with another number.
//!
//! The processes are threads here, each with a pool of its own.

use std::ops::ControlFlow;
use std::sync::{Barrier, Mutex};

use cnflow::rows::{Dataset, Source};
use cnflow::train::{
    Alone, Checkpoint, Crew, Job, Net, Objective, Pairing, Progress, TrainResult, Watch, fit, fit_by, resume_by,
};
use cnflow::{Error, Result};

/// What the ranks of a test share.
struct Table {
    barrier: Barrier,
    messages: Mutex<Vec<Vec<u8>>>,
}

struct Rank<'a> {
    rank: usize,
    size: usize,
    table: &'a Table,
}

impl Crew for Rank<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn allgather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.table.messages.lock().unwrap()[self.rank] = mine.to_vec();
        self.table.barrier.wait();
        let all = self.table.messages.lock().unwrap().clone();
        self.table.barrier.wait();
        Ok(all)
    }
}

/// Runs `work` on each of `size` ranks.
fn ranks<T: Send>(size: usize, work: impl Fn(&dyn Crew) -> T + Sync) -> Vec<T> {
    let table = Table { barrier: Barrier::new(size), messages: Mutex::new(vec![Vec::new(); size]) };
    std::thread::scope(|scope| {
        let (table, work) = (&table, &work);
        let run = move |rank| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            pool.install(|| work(&Rank { rank, size, table }))
        };
        let threads: Vec<_> = (0..size).map(|rank| scope.spawn(move || run(rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Keeps all checkpoints, and stops after a step.
#[derive(Default)]
struct Stops {
    after: Option<usize>,
    kept: Vec<Checkpoint>,
}

impl Watch for Stops {
    fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        if self.after == Some(progress.record.step) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.kept.push(checkpoint.clone());
        Ok(())
    }
}

fn base(steps: usize) -> Job {
    Job::default().with(|job| {
        (job.data.source, job.optimiser.steps) = ("moons".into(), Some(steps));
        job.model.hidden = Some(vec![16, 16]);
        (job.optimiser.validations, job.optimiser.validation_rows) = (2, 100);
    })
}

/// What is trained: matching, likelihood with penalties, discrete flows, images.
fn jobs() -> Vec<(&'static str, Job)> {
    let digits = |family: &str| {
        Job::default().with(|job| {
            (job.data.source, job.data.condition) = ("digits".into(), vec!["digit".into()]);
            job.model.family = family.parse().unwrap();
            (job.optimiser.steps, job.optimiser.batch) = (Some(8), Some(32));
            (job.optimiser.validations, job.optimiser.validation_rows) = (1, 20);
        })
    };
    vec![
        ("matching", base(20).with(|job| job.optimiser.batch = Some(700))),
        (
            "matching of pairs",
            base(10).with(|job| {
                job.optimiser.batch = Some(1500);
                (job.objective.pairing, job.objective.pairing_block) = (Pairing::Optimal, 100);
            }),
        ),
        (
            "matching of pairs under classes",
            digits("cnf").with(|job| {
                job.optimiser.batch = Some(96);
                (job.objective.pairing, job.objective.pairing_block) = (Pairing::Optimal, 4);
                (job.model.net, job.model.hidden) = (Some(Net::Mlp), Some(vec![16]));
            }),
        ),
        (
            "likelihood",
            base(3).with(|job| {
                job.objective.kind = Objective::Likelihood;
                job.optimiser.batch = Some(600);
                (job.objective.kinetic, job.objective.jacobian) = (0.1, 0.1);
                (job.solver.rtol, job.solver.atol) = (1e-3, 1e-3);
            }),
        ),
        (
            "mixed",
            base(10).with(|job| {
                job.objective.kind = Objective::Mixed;
                (job.objective.likelihood_batch, job.objective.likelihood_share) = (Some(300), 0.3);
                (job.solver.rtol, job.solver.atol) = (1e-3, 1e-3);
            }),
        ),
        (
            "likelihood of equal steps",
            base(3).with(|job| {
                job.objective.kind = Objective::Likelihood;
                job.optimiser.batch = Some(600);
                (job.solver.method, job.solver.fixed_steps) = ("midpoint".into(), Some(3));
                job.solver.log_density = cnflow::continuous::LogDensity::Exact;
            }),
        ),
        ("realnvp", base(20).of_family("realnvp".parse().unwrap())),
        ("a mixture", base(20).of_family("mixture".parse().unwrap())),
        ("images", digits("cnf")),
        (
            "glow of images",
            digits("glow").with(|job| {
                (job.model.net, job.model.hidden) = (Some(Net::Convolution), Some(vec![8, 8]));
                job.model.depth = Some(1);
            }),
        ),
    ]
}

/// A result without its clocks: weights, losses and scores by their steps, and the number of steps.
type Bits = (Vec<f32>, Vec<(usize, f64)>, Vec<(usize, f64)>, usize);

fn bits(fitted: &TrainResult) -> Bits {
    let losses = fitted.history.records().iter().map(|m| (m.step, m.loss)).collect();
    let scores = fitted.history.validations.iter().map(|v| (v.step, v.nll)).collect();
    (fitted.model.theta.clone(), losses, scores, fitted.steps)
}

#[test]
fn any_number_of_processes_trains_to_the_bits_of_one() {
    for (name, job) in jobs() {
        let data = job.dataset(None).unwrap();
        let whole = fit(&job, &data, &mut ()).unwrap();
        assert!(whole.model.theta.iter().all(|w| w.is_finite()), "{name}");
        for size in [1, 2, 3, 7] {
            for fitted in ranks(size, |crew| fit_by(crew, &job, &data, &mut ()).unwrap()) {
                assert_eq!(bits(&fitted), bits(&whole), "{name} by {size} processes");
            }
        }
    }
}

#[test]
fn a_stop_is_agreed_on_and_any_number_goes_on_to_the_same_bits() {
    let job = base(30).with(|job| job.output.checkpoint = "1000".into());
    let data = job.dataset(None).unwrap();
    let whole = fit(&job, &data, &mut ()).unwrap();
    // Only one of them is told to stop.
    let kept = ranks(3, |crew| {
        let mut stops = Stops { after: (crew.rank() == 2).then_some(11), kept: Vec::new() };
        let stopped = fit_by(crew, &job, &data, &mut stops).unwrap();
        assert!(stopped.stopped && stopped.steps == 11);
        stops.kept.pop().unwrap()
    });
    let checkpoint = &kept[0];
    assert_eq!(checkpoint.steps(), 11);
    for size in [1, 2, 5] {
        for fitted in ranks(size, |crew| resume_by(crew, checkpoint.clone(), &data, &mut ()).unwrap()) {
            assert_eq!(bits(&fitted), bits(&whole), "{size} processes");
        }
    }
}

#[test]
fn processes_that_differ_are_refused_by_all_of_them() {
    let job = base(5);
    let data = job.dataset(None).unwrap();
    let refused = |work: &(dyn Fn(&dyn Crew) -> Result<TrainResult> + Sync)| {
        let errors: Vec<_> = ranks(3, |crew| work(crew).unwrap_err());
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert!(texts.iter().all(|text| *text == texts[0]) && errors[0].hint().is_some(), "{texts:?}");
        texts[0].clone()
    };
    let other_seed = |crew: &dyn Crew| {
        let job = job.clone().with(|job| job.seed = u64::from(crew.rank() == 1));
        fit_by(crew, &job, &data, &mut ())
    };
    assert!(refused(&other_seed).contains("process 1"));
    let other_rows = |crew: &dyn Crew| {
        let rows = data.valid.clone();
        let mut data = Dataset { train: Source::Rows(rows), ..data.clone() };
        if let (2, Source::Rows(rows)) = (crew.rank(), &mut data.train) {
            rows.x.real_mut().unwrap()[0] += 1e-9;
        }
        fit_by(crew, &job, &data, &mut ())
    };
    assert!(refused(&other_rows).contains("process 2"));
    let by_the_clock = |crew: &dyn Crew| {
        let job = job.clone().with(|job| (job.optimiser.steps, job.optimiser.time) = (None, Some(1.0)));
        fit_by(crew, &job, &data, &mut ())
    };
    assert!(refused(&by_the_clock).contains("own clock"));
    // One process may use its clock.
    let job = base(5).with(|job| (job.optimiser.steps, job.optimiser.time) = (None, Some(0.2)));
    assert!(fit_by(&Alone, &job, &data, &mut ()).is_ok());
}

#[test]
fn a_process_that_is_lost_ends_the_training_of_the_others() {
    /// Reached by nobody after so many calls.
    struct Lost<'a>(Rank<'a>, Mutex<usize>);
    impl Crew for Lost<'_> {
        fn rank(&self) -> usize {
            self.0.rank
        }
        fn size(&self) -> usize {
            self.0.size
        }
        fn allgather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
            let mut calls = self.1.lock().unwrap();
            *calls += 1;
            if *calls > 9 {
                return Err(Error::invalid("process 1 was lost", "resume from the last checkpoint"));
            }
            self.0.allgather(mine)
        }
    }
    let job = base(50);
    let data = job.dataset(None).unwrap();
    let table = Table { barrier: Barrier::new(2), messages: Mutex::new(vec![Vec::new(); 2]) };
    let run = |rank| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let crew = Lost(Rank { rank, size: 2, table: &table }, Mutex::new(0));
        pool.install(|| fit_by(&crew, &job, &data, &mut ()).unwrap_err().to_string())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run(1));
        assert_eq!(run(0), "process 1 was lost");
        assert_eq!(other.join().unwrap(), "process 1 was lost");
    });
}
