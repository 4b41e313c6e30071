//! All laws of the library and the command, as one program: candle is linked once.

#[cfg(feature = "arrow")]
mod arrow;
mod arrows;
mod assignment;
mod base_flow;
mod bound;
mod brief_features;
mod check;
mod circles;
mod class_columns;
#[cfg(feature = "cli")]
mod class_words;
mod cli;
mod column_types;
#[cfg(feature = "cli")]
mod columns;
mod common;
mod compare;
mod conditional_training;
mod counts;
mod crew;
mod data;
mod diagnose;
#[cfg(feature = "cli")]
mod dialect_options;
mod dialects;
mod discrete;
#[cfg(feature = "cli")]
mod discrete_images;
mod ending;
mod error_bars;
mod exact_steps;
mod export;
mod export_images;
mod families;
mod far_rows;
mod flow_laws;
mod flow_penalties;
mod gaps;
mod golden;
mod gradients;
mod guide;
mod help;
mod histogram_laws;
mod html;
#[cfg(feature = "plot")]
mod images;
mod integers;
mod io;
#[cfg(feature = "plot")]
mod lattice;
mod matching;
#[cfg(feature = "cli")]
mod missing;
mod mixture_laws;
mod model_files;
mod names;
mod nets;
mod old_files;
mod one_row;
#[cfg(feature = "parquet")]
mod parquet;
mod paths;
#[cfg(feature = "cli")]
mod pipes;
mod plot;
mod plot_comparison;
mod portable;
mod preconditioned;
mod random_bytes;
mod rare_modes;
mod resolution;
mod resume;
mod sample_quality;
mod seeing;
mod selection;
mod simplex_columns;
mod simplex_map;
mod stages;
mod streaming;
mod training;
mod training_paths;
mod velocity_images;
mod velocity_laws;
mod velocity_layers;
mod velocity_penalties;
mod weights;
mod whitening;
mod words;
mod wrong_input;
