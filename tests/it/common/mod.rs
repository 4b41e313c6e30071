//! What several tests use.

pub mod allocations;
pub mod archive;
#[cfg(any(feature = "parquet", feature = "arrow"))]
pub mod column_files;
pub mod columns;
pub mod command;
pub mod discrete;
pub mod flows;
pub mod maps;
#[cfg(feature = "plot")]
pub mod pictures;
pub mod random;
pub mod state_dict;
pub mod velocity;
pub mod watch;
