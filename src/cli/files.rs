//! The names of the files in the folder of a run.

/// The model: what makes a folder a finished run.
pub const MODEL: &str = "model.safetensors";
/// The checkpoint, from which a run continues.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// The job.
pub const CONFIG: &str = "config.toml";
/// Losses and held-out scores, step by step.
pub const METRICS: &str = "metrics.csv";
