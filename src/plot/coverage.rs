//! Whether a conditional model is calibrated: the share of held-out rows inside its regions, over their level.

use std::path::Path;

use super::Options;
use super::colour::Tone;
use super::layout::{chart, panels};
use super::panel::{Axis, Layer};
use crate::error::Result;

/// The coverage of each model over the level, from (0, 0) to (1, 1), beside the diagonal and a strip of half the width
/// `noise`, which the curve of a calibrated model leaves in 5 of 100 cases.
///
/// # Errors
/// As for [`panels`].
pub fn coverage(path: &Path, models: &[(&str, Vec<(f64, f64)>)], noise: f64, options: &Options) -> Result<()> {
    let strip = (0..=100).map(|i| f64::from(i) / 100.0);
    let strip = strip.map(|a| (a, (a - noise).max(0.0), (a + noise).min(1.0))).collect();
    let line = |points: Vec<(f64, f64)>, tone, dashed, label: &str| Layer::Curve {
        points,
        tone,
        strength: 1.0,
        dashed,
        label: label.into(),
    };
    let mut layers = vec![
        Layer::PanelRow { points: strip, tone: Tone::Reference },
        line(vec![(0.0, 0.0), (1.0, 1.0)], Tone::Reference, true, "calibrated, ± noise"),
    ];
    for (k, (name, curve)) in models.iter().enumerate() {
        let tone = if models.len() == 1 { Tone::Model } else { Tone::Series(k) };
        layers.push(line(curve.clone(), tone, false, name));
    }
    let across = Axis::new("level of the region of highest density", (0.0, 1.0));
    // Room for the legend above the end of the curves.
    let up = Axis::new("held-out rows inside", (0.0, 1.1 + 0.05 * models.len() as f64));
    panels(path, &[chart("", across, up, layers)], 1, options)
}
