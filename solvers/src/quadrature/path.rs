//! What a quadrature keeps of one trajectory until its integral is settled: panels, values and the path itself.

use crate::gauss::Gauss;
use crate::real::Real;

/// Panels over two of fewer steps than these give no estimate that holds: there is then a panel for each step.
const LEAST_PAIRED: usize = 6;
/// Nor are longer rules laid over two steps: those of methods of order six and more are long as they are, and the error grew
/// sevenfold where it was tried.
const MOST_POINTS: usize = 3;

/// A trajectory whose integral is not settled.
pub(super) struct Path<T> {
    pub(super) sample: usize,
    /// t and h of each step.
    pub(super) steps: Vec<(f64, f64)>,
    /// On each panel.
    pub(super) rule: &'static Gauss,
    pub(super) panels: Vec<Panel>,
    /// g at the panels' points, `[panel][point][row]`.
    pub(super) values: Vec<f64>,
    /// Dense output of each step: its values at the quadrature's places `theta`, `[step][knot][dim]`.
    pub(super) knots: Vec<T>,
    pub(super) pending: usize,
    pub(super) ended: bool,
    pub(super) evals: u32,
    pub(super) rounds: u32,
    /// The smallest estimate so far, and for how many rounds it has been.
    pub(super) best: f64,
    pub(super) stalls: u32,
}

/// A part of the span with the points of one rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    /// The step in which it begins.
    pub(super) step: usize,
    /// Where the next step begins, if it reaches into that.
    pub(super) joint: Option<f64>,
    pub(super) t: f64,
    pub(super) h: f64,
}

impl Panel {
    /// The step that a time of the panel is in.
    pub(super) fn step_at(&self, t: f64) -> usize {
        self.step + usize::from(self.joint.is_some_and(|joint| (t - joint) * self.h > 0.0))
    }

    /// Cut in two where its steps meet, else in so many equal parts.
    pub(super) fn cut(&self, parts: usize, into: &mut Vec<Panel>) {
        if let Some(joint) = self.joint {
            into.push(Self { joint: None, h: joint - self.t, ..*self });
            into.push(Self { step: self.step + 1, joint: None, t: joint, h: self.t + self.h - joint });
            return;
        }
        let h = self.h / parts as f64;
        into.extend((0..parts).map(|i| Self { t: self.t + i as f64 * h, h, ..*self }));
    }
}

impl<T: Real> Path<T> {
    /// Trajectory `sample` without points yet.
    pub(super) fn new(sample: usize, rule: &'static Gauss) -> Self {
        Self {
            sample,
            steps: Vec::new(),
            rule,
            panels: Vec::new(),
            values: Vec::new(),
            knots: Vec::new(),
            pending: 0,
            ended: false,
            evals: 0,
            rounds: 0,
            best: f64::INFINITY,
            stalls: 0,
        }
    }

    /// As new, in the same room.
    pub(super) fn reset(&mut self, sample: usize, rule: &'static Gauss) {
        self.sample = sample;
        self.rule = rule;
        self.steps.clear();
        self.panels.clear();
        self.values.clear();
        self.knots.clear();
        self.pending = 0;
        self.ended = false;
        self.evals = 0;
        self.rounds = 0;
        self.best = f64::INFINITY;
        self.stalls = 0;
    }

    /// Lays a panel over every two steps, with a point more than `rule` has; where steps are an odd number the longest that
    /// leaves pairs on both sides stays alone. Over few steps, and for long rules, there is a panel a step.
    pub(super) fn lay_out(&mut self, rule: &'static Gauss) {
        let m = self.steps.len();
        let wide = rule.next().filter(|_| m >= LEAST_PAIRED && rule.points() <= MOST_POINTS);
        self.rule = wide.unwrap_or(rule);
        let longest = |best: usize, i: usize| if self.steps[i].1.abs() > self.steps[best].1.abs() { i } else { best };
        let alone = if m % 2 == 1 { (0..m).step_by(2).reduce(longest) } else { None };
        let mut step = 0;
        while step < m {
            let (t, h) = self.steps[step];
            if wide.is_none() || alone == Some(step) {
                self.panels.push(Panel { step, joint: None, t, h });
                step += 1;
            } else {
                let (joint, next) = self.steps[step + 1];
                self.panels.push(Panel { step, joint: Some(joint), t, h: joint + next - t });
                step += 2;
            }
        }
    }
}

/// The polynomials that are 1 at one of the places `theta` and 0 at the others.
pub(super) struct Lagrange {
    theta: Vec<f64>,
    /// 1 / Π (θᵢ − θⱼ) over the others.
    scale: Vec<f64>,
    weights: Vec<f64>,
    sums: Vec<f64>,
}

impl Lagrange {
    /// Through values of `dim` numbers.
    pub(super) fn new(theta: &[f64], dim: usize) -> Self {
        let others = |i: usize| theta.iter().enumerate().filter(move |(j, _)| *j != i);
        let scale = |i: usize| 1.0 / others(i).map(|(_, b)| theta[i] - b).product::<f64>();
        Self {
            theta: theta.to_vec(),
            scale: (0..theta.len()).map(scale).collect(),
            weights: vec![0.0; theta.len()],
            sums: vec![0.0; dim],
        }
    }

    /// The polynomial through the values `knots` (`[place][dim]`) at `x`.
    pub(super) fn at<T: Real>(&mut self, knots: &[T], x: f64) -> &[f64] {
        for (i, weight) in self.weights.iter_mut().enumerate() {
            let others = self.theta.iter().enumerate().filter(|(j, _)| *j != i);
            *weight = others.fold(self.scale[i], |product, (_, b)| product * (x - b));
        }
        self.sums.fill(0.0);
        for (weight, knot) in self.weights.iter().zip(knots.chunks_exact(self.sums.len().max(1))) {
            for (sum, y) in self.sums.iter_mut().zip(knot) {
                *sum += weight * y.to_f64();
            }
        }
        &self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauss::RULES;

    /// A path of steps of these sizes, laid out.
    fn laid(sizes: &[f64], rule: &'static Gauss) -> Path<f64> {
        let mut path = Path::new(0, rule);
        let mut t = 1.0;
        for h in sizes {
            path.steps.push((t, *h));
            t += h;
        }
        path.lay_out(rule);
        path
    }

    #[test]
    fn panels_cover_every_step_once_in_pairs_and_halve_where_steps_meet() {
        for sign in [1.0, -1.0] {
            for m in 1..=13usize {
                let sizes: Vec<f64> = (0..m).map(|i| sign * (0.1 + 0.05 * ((i * 5) % 7) as f64)).collect();
                for rule in &RULES {
                    let path = laid(&sizes, rule);
                    let paired = m >= LEAST_PAIRED && rule.points() <= MOST_POINTS;
                    assert_eq!(path.rule.points(), rule.points() + usize::from(paired));
                    assert_eq!(path.panels.len(), if paired { m.div_ceil(2) } else { m });
                    let mut t = 1.0;
                    for panel in &path.panels {
                        assert!((panel.t - t).abs() < 1e-12);
                        t += panel.h;
                        for part in [0.001, 0.3, 0.5, 0.7, 0.999] {
                            let time = panel.t + part * panel.h;
                            let (begun, h) = path.steps[panel.step_at(time)];
                            assert!((-1e-12..=1.0 + 1e-12).contains(&((time - begun) / h)), "{m} steps");
                        }
                        let mut halves = Vec::new();
                        panel.cut(2, &mut halves);
                        assert_eq!(halves.len(), 2);
                        let met = panel.joint.unwrap_or(panel.t + 0.5 * panel.h);
                        assert!((halves[1].t - met).abs() < 1e-12);
                        assert!((halves[0].h + halves[1].h - panel.h).abs() < 1e-12);
                        assert!(halves.iter().all(|half| half.joint.is_none()));
                    }
                    assert!((t - 1.0 - sizes.iter().sum::<f64>()).abs() < 1e-12);
                }
            }
        }
        // The longest of the steps that may stay alone.
        let path = laid(&[0.1, 0.9, 0.2, 0.1, 0.5, 0.1, 0.3], &RULES[1]);
        assert_eq!(path.panels.iter().position(|panel| panel.joint.is_none()), Some(2));
        assert_eq!(path.panels[2].step, 4);
    }

    #[test]
    fn a_polynomial_is_its_own_dense_output() {
        let theta = [0.1, 0.5, 0.9, 0.0, 1.0];
        let cubic = |x: f64| [1.0 - 2.0 * x + 3.0 * x.powi(3), x * x];
        let knots: Vec<f64> = theta.iter().flat_map(|x| cubic(*x)).collect();
        let mut dense = Lagrange::new(&theta, 2);
        for x in [0.0, 0.1, 0.33, 0.77, 1.0] {
            let (found, expected) = (dense.at(&knots, x), cubic(x));
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-14), "{x}");
        }
    }
}
