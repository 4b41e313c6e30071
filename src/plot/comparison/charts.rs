//! The two charts below: the score as training went, and against what a sample costs.

use super::{Comparison, Contender};
use crate::plot::colour::Tone;
use crate::plot::layout::chart;
use crate::plot::panel::{Axis, Layer, Panel};
use crate::plot::stats::{padded, quantiles};

/// Times that span more than this many decades begin later.
const MOST_DECADES: f64 = 4.0;
/// A chart spans at least so many units if scores do: finer differences are chance.
const LEAST_SPAN: f64 = 0.15;
/// A model is off the chart where it ends so many units above the best, unless most do.
const TERRIBLE: f64 = 5.0;

/// Held-out scores over seconds of training, if a model has any.
pub(super) fn training(c: &Comparison) -> Option<Panel> {
    let curves = || c.contenders.iter().map(|m| &m.curve).filter(|curve| !curve.is_empty());
    curves().next()?;
    // The first part may be anything.
    let late: Vec<f64> = curves().flat_map(|curve| &curve[curve.len() * 3 / 20..]).map(|p| p.1).collect();
    let ends: Vec<(f64, f64)> = c.contenders.iter().filter_map(end).map(|(_, nll, se)| (nll, se)).collect();
    let (along, final_set) = c.sets;
    let same = along == final_set;
    let unit = c.score_unit;
    let label = if same { format!("{along} NLL ({unit})") } else { format!("NLL ({unit})") };
    let y = Axis::new(label, range(&late, &ends, c.entropy));
    // From the first score within that range on, and to the end.
    let seen = |p: &&(f64, f64)| p.1 <= y.range.1;
    let times =
        curves().flat_map(|curve| curve.iter().filter(seen).chain(curve.last())).map(|p| p.0).collect::<Vec<_>>();
    let x = positive_axis("training time (s)", &times, 10.0, (0.06, 0.04));

    let mut layers = vec![];
    layers.extend(truth(c, &x));
    for (k, m) in c.contenders.iter().enumerate() {
        layers.push(curve(m.curve.clone(), k));
    }
    for (k, m) in c.contenders.iter().enumerate() {
        let Some((time, nll, se)) = end(m).filter(|_| !m.curve.is_empty()) else { continue };
        if se > 0.0 {
            layers.push(curve(vec![(time, nll - se), (time, nll + se)], k));
        }
        layers.push(Layer::Marks { points: vec![((time, nll), String::new())], tone: Tone::Series(k) });
    }
    let title = if same { String::new() } else { format!("lines: {along} rows; discs: {final_set} rows, at the end") };
    Some(chart(&title, x, y, layers))
}

/// Scores over the cost of a sample, if a model has any.
pub(super) fn work(c: &Comparison) -> Option<Panel> {
    let points = || c.contenders.iter().flat_map(|m| &m.cost);
    points().next()?;
    let costs: Vec<f64> = points().map(|p| p.cost).collect();
    let x = positive_axis(c.cost, &costs, 4.0, (0.1, 0.1));
    let best = |m: &Contender| m.cost.iter().map(|p| p.nll).reduce(f64::min);
    let ends: Vec<(f64, f64)> = c.contenders.iter().filter_map(best).map(|nll| (nll, 0.0)).collect();
    let all: Vec<f64> = points().map(|p| p.nll).collect();
    let y = Axis::new(format!("{} NLL ({})", c.sets.1, c.score_unit), range(&all, &ends, c.entropy));

    let mut layers = vec![];
    layers.extend(truth(c, &x));
    for (k, m) in c.contenders.iter().enumerate() {
        layers.push(curve(m.cost.iter().map(|p| (p.cost, p.nll)).collect(), k));
    }
    for (k, m) in c.contenders.iter().enumerate() {
        let points = m.cost.iter().map(|p| ((p.cost, p.nll), p.label.clone())).collect();
        layers.push(Layer::Marks { points, tone: Tone::Series(k) });
    }
    Some(chart("", x, y, layers))
}

/// Where a model's training ended: when, at which score, with which error.
fn end(m: &Contender) -> Option<(f64, f64, f64)> {
    let last = m.curve.last().copied();
    match (m.end, last) {
        (Some((nll, se)), _) => Some((last.map_or(0.0, |p| p.0), nll, se)),
        (None, Some((time, nll))) => Some((time, nll, 0.0)),
        (None, None) => None,
    }
}

fn curve(points: Vec<(f64, f64)>, k: usize) -> Layer {
    Layer::Curve { points, tone: Tone::Series(k), strength: 1.0, dashed: false, label: String::new() }
}

fn truth(c: &Comparison, x: &Axis) -> Option<Layer> {
    let points = vec![(x.range.0, c.entropy?), (x.range.1, c.entropy?)];
    Some(Layer::Curve { points, tone: Tone::Reference, strength: 1.0, dashed: true, label: String::new() })
}

/// An axis for what is positive, logarithmic where it spans more than a factor, with margins in parts of its length.
fn positive_axis(label: &str, values: &[f64], factor: f64, margins: (f64, f64)) -> Axis {
    let positive = || values.iter().copied().filter(|v| *v > 0.0 && v.is_finite());
    let Some((low, high)) = quantiles(positive(), 0.0, 1.0) else {
        return Axis::new(label, (0.0, 1.0));
    };
    // Within what can be an axis' ends.
    let high = high.clamp(1e-280, 1e280);
    let low = low.clamp(high / 10f64.powf(MOST_DECADES), high);
    if high / low > factor {
        let length = (high / low).ln();
        let range = (low * (-margins.0 * length).exp(), high * (margins.1 * length).exp());
        return Axis::logarithmic(label, range);
    }
    Axis::new(label, padded(Some((0.0, high * (1.0 + margins.1))), 0.0))
}

/// The scores worth seeing: those at which models end, and as much of the way there as leaves these apart.
fn range(values: &[f64], ends: &[(f64, f64)], entropy: Option<f64>) -> (f64, f64) {
    let finite = |v: &f64| v.is_finite();
    let lowest = values.iter().copied().chain(ends.iter().map(|e| e.0 - e.1)).chain(entropy).filter(finite);
    let Some(low) = lowest.reduce(f64::min) else {
        return (0.0, 1.0);
    };
    let tops = || ends.iter().map(|e| e.0 + e.1).filter(finite);
    let middle = quantiles(tops(), 0.5, 0.5).map_or(low, |m| m.0);
    // One model that failed must not press the others into a line; where most did, all are shown.
    let worst = tops().filter(|e| *e - low <= TERRIBLE.max(8.0 * (middle - low))).fold(low, f64::max);
    let most = quantiles(values.iter().copied(), 0.0, 0.97).map_or(low, |m| m.1);
    let high = most.min(low + LEAST_SPAN.max(4.0 * (worst - low))).max(worst);
    padded(Some((low, high)), 0.06)
}
