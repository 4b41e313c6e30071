//! All laws of the library and the command, as one program: candle is linked once.
//!
//! What runs the command is compiled where it is, and what draws where there are pictures.

mod arrows;
mod assignment;
mod brief_features;
#[cfg(feature = "cli")]
mod check;
#[cfg(feature = "cli")]
mod cli;
mod common;
#[cfg(feature = "cli")]
mod compare;
mod conditional_training;
mod data;
#[cfg(feature = "cli")]
mod diagnose;
#[cfg(feature = "cli")]
mod dialects;
mod discrete;
#[cfg(feature = "cli")]
mod ending;
mod error_bars;
#[cfg(feature = "cli")]
mod export;
#[cfg(feature = "cli")]
mod families;
#[cfg(feature = "cli")]
mod far_rows;
mod flow_laws;
mod flow_penalties;
mod golden;
#[cfg(feature = "cli")]
mod help;
mod histogram_laws;
#[cfg(feature = "plot")]
mod html;
mod io;
mod mixture_laws;
mod model_files;
#[cfg(feature = "cli")]
mod names;
#[cfg(feature = "cli")]
mod paths;
#[cfg(feature = "plot")]
mod plot;
#[cfg(feature = "plot")]
mod plot_comparison;
mod random_bytes;
mod rare_modes;
#[cfg(feature = "cli")]
mod resolution;
#[cfg(feature = "cli")]
mod resume;
mod sample_quality;
#[cfg(feature = "cli")]
mod seeing;
mod stages;
#[cfg(feature = "cli")]
mod streaming;
mod training;
mod training_paths;
mod velocity_laws;
mod velocity_layers;
mod velocity_penalties;
#[cfg(feature = "cli")]
mod words;
#[cfg(feature = "cli")]
mod wrong_input;
