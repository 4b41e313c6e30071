//! A stream of rows through a model, in memory that does not grow with their number.
//!
//! [`RowSource`] gives blocks of rows with their conditions, of a file or as they are drawn; [`Transport`] moves a
//! block through a model; [`Classifier`] gives the probabilities of its classes; [`RunningBars`] gives its log-densities
//! their error bars; [`SolveStatistics`], [`Scores`], [`BitsPerDim`], [`Mean`], [`Accuracy`] and [`Reservoir`] collect
//! running statistics of all rows. A row that fails is NaN in its place and counted with its reason; one with a missing
//! cell (NaN) is NaN in its place too, and counted apart ([`Gaps`]).
//!
//! ```
//! use std::sync::Arc;
//!
//! use cnflow::apply::{Conditions, RowSource, SolveStatistics, Transport, Way};
//! use cnflow::continuous::Work;
//! use cnflow::model::{Architecture, FlowSpec, Model};
//! use cnflow::velocity::Precision;
//!
//! # fn main() -> cnflow::Result<()> {
//! let spec = FlowSpec::bare(Architecture::Identity { dim: 2 });
//! let model = Model { spec, theta: Vec::new(), provenance: serde_json::Map::new() };
//! let way = Way { to_data: false, until: 1.0, log_density: true };
//! let transport = Transport::new(&model, Precision::F64, way, &Arc::new(Work::default()))?;
//! let mut source = RowSource::of_points(vec![0.0, 0.0, 1.0, f64::NAN], 2, Conditions::None, Some(1))?;
//! let mut statistics = SolveStatistics::default();
//! while let Some(block) = source.next_block()? {
//!     statistics.add(block.first, &transport.block(&block)?);
//! }
//! assert_eq!((statistics.n, statistics.missing, statistics.failed), (2, 1, 0));
//! # Ok(())
//! # }
//! ```

mod bars;
mod bits;
mod classify;
mod closed;
mod gaps;
mod range;
mod scores;
mod source;
mod statistics;
mod transport;

pub use bars::RunningBars;
pub use bits::BitsPerDim;
pub use classify::{Accuracy, Classified, Classifier, Prior, classes};
pub use closed::Closed;
pub use gaps::Gaps;
pub use range::OutOfRange;
pub use scores::Scores;
pub use source::{Beside, Block, Conditions, RowSource};
pub use statistics::{Mean, Reservoir, SolveStatistics};
pub use transport::{Arrived, Transport, Way};
