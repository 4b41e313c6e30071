//! Training: a [`Job`] holds every option, [`fit`] runs it.
//!
//! One flat θ, one optimiser, one loop; an [`Objective`] defines the batch and its loss. A [`Loss`] gives the
//! partial gradients of fixed chunks of rows and a [`Reduce`] adds them. Every draw comes from a numbered stream of the
//! job's seed and every sum runs in an order that the batch alone decides, so the same job gives the same bits on any
//! number of threads.
//!
//! To add an objective: a variant of [`Objective`], its draw, its implementation of [`Loss`] in a file of this folder,
//! and `tests/it/training.rs`, whose laws it must meet.

mod adamw;
mod assignment;
mod batch;
mod bound;
mod classes;
mod clip;
mod column_types;
mod context;
mod crew;
mod criterion;
mod discrete;
mod ema;
mod family;
mod far;
mod findings;
mod gaps;
mod gradient;
mod history;
mod inner;
mod job;
mod likelihood;
mod loss;
mod matching;
mod muon;
mod named;
mod net;
mod objective;
mod optimiser;
mod pairing;
mod plan;
mod preconditioning;
mod preprocessing;
mod provenance;
mod reference;
mod schedule;
mod score;
mod selection;
mod simplexes;
mod start;
mod state;
mod trainer;
mod validation;
mod watch;
mod weight;
mod whitening;

pub use adamw::{AdamW, StepSize};
pub use assignment::{CONDITION_WEIGHT, Conditions, assign, assign_with_prices, pair, pair_given};
pub use batch::Batch;
pub use bound::nll_bound;
pub use column_types::with_column_types;
pub use crew::{Alone, Crew, Shared};
pub use criterion::{Criterion, LossContext, Objective};
pub use family::Family;
pub use far::{Far, FarRow, Set};
pub use findings::findings;
pub use history::{History, StepRecord, Validation};
pub use job::{
    ColumnTypes, DataSection, FarRows, Job, ModelSection, ObjectiveSection, OptimiserSection, OutputSection, Picture,
    Precision, split_rule,
};
pub use loss::{FixedTree, Loss, LossGradient, Partial, Parts, Reduce, Sums, evaluate};
pub use muon::Muon;
pub use net::Net;
pub use optimiser::Optimiser;
pub use pairing::Pairing;
pub use preconditioning::Preconditioning;
pub use provenance::{held_out, provenance, scored_provenance};
pub use schedule::Schedule;
pub use score::{Score, mean_and_se, score};
pub use selection::with_auto_family;
pub use state::Checkpoint;
pub use trainer::{fit, fit_by, resume, resume_by};
pub use validation::ValidationScore;
pub use watch::{Progress, TrainResult, Tried, Watch};
pub use weight::TimeWeight;
pub use whitening::Whitening;

pub use crate::velocity::Path;

/// The stream of fresh weights.
pub const INIT_STREAM: u64 = 0x7a14_0001;
/// The stream of the data of training batches.
pub const DATA_STREAM: u64 = 0x7a14_0002;
/// The stream of a discrete flow's halves and rotations.
pub const PLAN_STREAM: u64 = 0x7a14_0006;
/// The stream of latents and times.
pub const NOISE_STREAM: u64 = 0x7a14_0003;
/// The stream of the rows of a toy whose moments standardise it.
pub const MOMENTS_STREAM: u64 = 0x7a14_0004;
/// The stream of the base's fit.
pub const BASE_STREAM: u64 = 0x7a14_0005;
/// The stream of the latents and times of a bound.
pub const BOUND_STREAM: u64 = 0x7a14_0007;
/// The streams of the orders of a table's epochs, from this one on.
pub const EPOCH_STREAM: u64 = 0x7a15_0000_0000;
/// The first of the streams that decide how often a row of some weight is in an epoch, one for each epoch.
pub const WEIGHT_STREAM: u64 = 0x7a16_0000_0000;
