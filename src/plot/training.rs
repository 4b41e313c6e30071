//! How a training went: the loss as it fell, and the held-out score with its error.

use std::path::Path;

use super::Options;
use super::colour::Tone;
use super::layout::{chart, panels};
use super::panel::{Axis, Layer, Panel};
use super::stats::{padded, quantiles, smoothed, thinned};
use crate::error::Result;

/// What a training left behind.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// What the points are counted in: steps, or seconds.
    pub unit: &'a str,
    /// The loss at each step: place and loss.
    pub loss: &'a [(f64, f64)],
    /// Whether that loss is a negative log-likelihood, and so belongs on the axis of `held_out`.
    pub loss_is_nll: bool,
    /// What scores are counted in: nats, or bits/dim.
    pub score_unit: &'a str,
    /// The held-out negative log-likelihood: place, score, standard error.
    pub held_out: &'a [(f64, f64, f64)],
    /// The true entropy in the same unit, below which no model can stay.
    pub entropy: Option<f64>,
    /// What replaced the flow, if anything did: its name, its score on the same rows, and its standard error.
    pub winner: Option<(&'a str, f64, f64)>,
}

/// The loss, faint as it is and strong as smoothed, and the held-out score ± its standard error.
///
/// Where the loss is not a likelihood, the two are panels of their own. What is far above
/// the rest, as the first steps are, does not decide the range.
///
/// # Errors
/// As for [`panels`].
pub fn training_curve(path: &Path, training: &Training, options: &Options) -> Result<()> {
    let all = training.loss.iter().map(|p| p.0).chain(training.held_out.iter().map(|p| p.0));
    let ends = quantiles(all.chain([0.0]), 0.0, 1.0);
    let along = Axis::new(training.unit, padded(ends, 0.0));
    let scored = !training.held_out.is_empty() || training.entropy.is_some() || training.winner.is_some();
    let (unit, named) = (training.score_unit, format!("validation NLL ({})", training.score_unit));
    let chosen: &[(&str, bool, bool)] = match (training.loss_is_nll, training.loss.is_empty(), scored) {
        (true, _, _) => &[(unit, true, true)],
        (false, _, false) => &[("loss", true, false)],
        (false, true, true) => &[(unit, false, true)],
        (false, false, true) => &[("training loss", true, false), (&named, false, true)],
    };
    let drawn: Vec<Panel> = chosen
        .iter()
        .map(|&(label, loss, score)| {
            let mut layers = Vec::new();
            let mut ranges = Vec::new();
            if loss {
                loss_layers(training.loss, &mut layers, &mut ranges);
            }
            if score {
                score_layers(training, along.range, &mut layers, &mut ranges);
            }
            // What is faint lies below what is strong; the order is kept otherwise.
            layers.sort_by_key(|layer| match layer {
                Layer::Curve { strength, .. } if *strength < 0.5 => 0,
                Layer::PanelRow { .. } => 1,
                _ => 2,
            });
            let ends = ranges.into_iter().reduce(|a: (f64, f64), b| (a.0.min(b.0), a.1.max(b.1)));
            chart("", along.clone(), Axis::new(label, padded(ends, 0.08)), layers)
        })
        .collect();
    panels(path, &drawn, drawn.len(), options)
}

fn loss_layers(loss: &[(f64, f64)], layers: &mut Vec<Layer>, ranges: &mut Vec<(f64, f64)>) {
    if loss.is_empty() {
        return;
    }
    let smooth = smoothed(loss, loss.len() / 60);
    let late = &smooth[smooth.len() / 20..];
    ranges.extend(quantiles(late.iter().map(|p| p.1), 0.0, 0.99));
    // Most of the raw loss is seen too, the spikes are not.
    ranges.extend(quantiles(loss[loss.len() / 10..].iter().map(|p| p.1), 0.05, 0.95));
    let raw = thinned(loss, 400);
    layers.push(Layer::Curve {
        points: raw,
        tone: Tone::Data,
        strength: 0.28,
        dashed: false,
        label: "loss per step".into(),
    });
    let points = thinned(&smooth, 1000);
    layers.push(Layer::Curve { points, tone: Tone::Data, strength: 1.0, dashed: false, label: "training loss".into() });
}

fn score_layers(training: &Training, along: (f64, f64), layers: &mut Vec<Layer>, ranges: &mut Vec<(f64, f64)>) {
    if let Some(entropy) = training.entropy.filter(|e| e.is_finite()) {
        ranges.push((entropy, entropy));
        let (points, label) = (vec![(along.0, entropy), (along.1, entropy)], format!("true entropy {entropy:.3}"));
        layers.push(Layer::Curve { points, tone: Tone::Reference, strength: 1.0, dashed: true, label });
    }
    if let Some((name, nll, se)) = training.winner.filter(|w| w.1.is_finite()) {
        let error = if se > 0.0 && se.is_finite() { se } else { 0.0 };
        ranges.push((nll - error, nll + error));
        if error > 0.0 {
            let points = [along.0, along.1].map(|x| (x, nll - error, nll + error)).to_vec();
            layers.push(Layer::PanelRow { points, tone: Tone::Series(2) });
        }
        let label = format!("the model: {name}, {}", crate::words::estimate(nll, se, 3).replace('-', "−"));
        let points = vec![(along.0, nll), (along.1, nll)];
        layers.push(Layer::Curve { points, tone: Tone::Series(2), strength: 1.0, dashed: false, label });
    }
    let scores = training.held_out;
    if scores.is_empty() {
        return;
    }
    // The first tenth may be anything.
    let late = &scores[scores.len() / 10..];
    ranges.extend(quantiles(late.iter().flat_map(|s| [s.1 - s.2, s.1 + s.2]), 0.0, 0.97));
    layers.push(Layer::PanelRow {
        points: scores.iter().map(|s| (s.0, s.1 - s.2, s.1 + s.2)).collect(),
        tone: Tone::Model,
    });
    let points = scores.iter().map(|s| (s.0, s.1)).collect();
    let whose = if training.winner.is_some() { "flow, validation NLL ± s.e." } else { "validation NLL ± s.e." };
    let label = whose.into();
    layers.push(Layer::Curve { points, tone: Tone::Model, strength: 1.0, dashed: false, label });
}
