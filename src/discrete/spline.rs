//! Monotone rational-quadratic splines with identity tails.
//!
//! Ref: Gregory & Delbourgo (1982); Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows* (2019), section 3.1.
//! On bin k with knots (xₖ, yₖ), width w, height h, slope s = h / w and derivatives d₀, d₁ at its ends, and with
//! ξ = (x − xₖ) / w: y = yₖ + h (s ξ² + d₀ ξ(1 − ξ)) / D, D = s + (d₀ + d₁ − 2s) ξ(1 − ξ), and
//! y′ = s² (d₁ ξ² + 2s ξ(1 − ξ) + d₀ (1 − ξ)²) / D².
//!
//! Widths and heights are softmaxes with a least share, derivatives softplus with a least value and 1 at both ends, so
//! no bin degenerates whatever the conditioner gives. Of the derivatives only the two at the ends of a lane's bin are
//! made.
//!
//! The pull-back is written out by hand: of two results by seven numbers, it costs no more than a few passes.

mod lanes;

use cnflow_kernels::simd::{Isa, dispatch};
use cnflow_solvers::lanes::LANE_BLOCK;

use self::lanes::{Back, Pass};
use super::step::{Slots, Way};

/// The most bins.
pub(super) const MOST: usize = 32;
/// The most numbers of a conditioner.
pub(super) const MOST_NUMBERS: usize = 3 * MOST - 1;
/// The least share of a bin in the interval, and the least derivative, as in the authors' code.
const LEAST_SHARE: f64 = 1e-3;
const LEAST_SLOPE: f64 = 1e-3;
/// ln(e^(1 − [`LEAST_SLOPE`]) − 1): added to what the conditioner gives, so that 0 stands for the derivative 1.
const START: f64 = 0.539_742_417_236_952;

/// How many bins a spline has, and half the interval on which it bends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub bins: usize,
    pub bound: f64,
}

/// Numbers of the conditioner for each column: widths, heights, derivatives at the inner knots.
pub(super) fn numbers(bins: usize) -> usize {
    (3 * bins).saturating_sub(1)
}

/// What is wrong with a spline of these options.
pub(super) fn check(bins: usize, bound: f64) -> Result<(), String> {
    if !(2..=MOST).contains(&bins) {
        return Err(format!("a spline of {bins} bins, expected 2 to {MOST}"));
    }
    if !(bound > 0.0 && bound.is_finite()) {
        return Err(format!("a spline on [-{bound}, {bound}], which is not an interval"));
    }
    Ok(())
}

/// (y, ln y′) at x on the way forward, (x, ln x′) at y on the way back; lane l by the numbers `raw[..][l]`, [`numbers`]
/// of them.
pub(super) fn pass(isa: Isa, raw: &[Slots], rule: Rule, way: Way, from: &Slots) -> (Slots, Slots) {
    let (mut to, mut ratio) = ([0.0; LANE_BLOCK], [0.0; LANE_BLOCK]);
    dispatch(isa, Pass { raw, rule, way, from, to: &mut to, ratio: &mut ratio });
    let sign = if way == Way::Forward { 1.0 } else { -1.0 };
    (to, ratio.map(|ratio| sign * ratio.ln()))
}

/// The pull-back of [`pass`]: what becomes of the cotangents `bar` of the result and `rate_bar` of the logarithm;
/// `raw_bar` becomes that of the numbers. `x` is where the spline was met, before the way forward or after the way
/// back.
pub(super) fn back(
    isa: Isa,
    raw: &[Slots],
    rule: Rule,
    way: Way,
    x: &Slots,
    (bar, rate_bar): (&Slots, &Slots),
    raw_bar: &mut [Slots],
) -> Slots {
    let mut out = [0.0; LANE_BLOCK];
    dispatch(isa, Back { raw, rule, way, x, bar, rate_bar, raw_bar, out: &mut out });
    out
}

impl Rule {
    /// What the least shares leave of the interval.
    fn free(self) -> f64 {
        2.0 * self.bound * (1.0 - LEAST_SHARE * self.bins as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::array::from_fn;

    use rand::Rng as _;

    use super::*;
    use crate::rng::stream;

    /// Numbers for a block: each lane has its own.
    fn raws(bins: usize, size: f64, seed: u64) -> Vec<Slots> {
        let mut rng = stream(seed, bins as u64);
        (0..numbers(bins)).map(|_| from_fn(|_| rng.random_range(-size..size))).collect()
    }

    /// Places for a block, of which some lie outside.
    fn places(round: i32, bound: f64) -> Slots {
        from_fn(|l| bound * (f64::from((round * 16 + l as i32) % 69) - 34.0) / 31.0 + 0.013)
    }

    fn both_ways(raw: &[Slots], rule: Rule, x: &Slots) -> [(Slots, Slots); 2] {
        let there = pass(Isa::detect(), raw, rule, Way::Forward, x);
        [there, pass(Isa::detect(), raw, rule, Way::Inverse, &there.0)]
    }

    #[test]
    fn zeros_make_the_identity() {
        assert!((START - (1.0 - LEAST_SLOPE).exp_m1().ln()).abs() < 1e-15);
        for bins in [2, 3, 8, MOST] {
            let (raw, rule) = (vec![[0.0; LANE_BLOCK]; numbers(bins)], Rule { bins, bound: 4.0 });
            for round in 0..5 {
                let x = places(round, 4.0);
                let (y, rate) = pass(Isa::detect(), &raw, rule, Way::Forward, &x);
                // Sums of up to 32 sizes, a few ε of the interval.
                for l in 0..LANE_BLOCK {
                    assert!((y[l] - x[l]).abs() < 1e-13 && rate[l].abs() < 1e-13, "{bins} {}: {}", x[l], y[l]);
                }
            }
        }
    }

    #[test]
    fn a_spline_is_undone_and_its_slope_is_the_derivative() {
        for (bins, size) in [(2, 1.0), (8, 3.0), (8, 30.0), (MOST, 5.0)] {
            for round in 0..100 {
                let (raw, rule) = (raws(bins, size, round as u64), Rule { bins, bound: 3.0 });
                let x = places(round, 3.0);
                let [(y, rate), (back, undone)] = both_ways(&raw, rule, &x);
                let h = 1e-7;
                let moved = |by: f64| pass(Isa::detect(), &raw, rule, Way::Forward, &x.map(|x| x + by)).0;
                let (up, down) = (moved(h), moved(-h));
                for l in 0..LANE_BLOCK {
                    // Where the slope is small, y does not determine the last bits of x.
                    let blur = 1e-12 * (-rate[l]).exp().max(1.0);
                    assert!((back[l] - x[l]).abs() < blur, "{bins} {size} {}: {}", x[l], back[l]);
                    let turned = (rate[l] + undone[l]).abs();
                    assert!(turned < 1e-6 + 10.0 * blur * (MOST as f64), "{bins} {}: {} {}", y[l], rate[l], undone[l]);
                    let slope = (up[l] - down[l]) / (2.0 * h);
                    // A knot within h of x has the mean of two curvatures.
                    // h times the second derivatives, a few thousand in bins of the least share.
                    if size < 30.0 {
                        assert!((slope.ln() - rate[l]).abs() < 1e-3, "{bins} {}: {} {}", x[l], slope.ln(), rate[l]);
                    }
                }
            }
        }
    }

    #[test]
    fn pull_backs_are_central_differences() {
        let (rule, h) = (Rule { bins: 5, bound: 3.0 }, 1e-6);
        for round in 0..20 {
            let raw = raws(5, 2.0, round as u64);
            let x = places(round, 3.0);
            for way in [Way::Forward, Way::Inverse] {
                let value = |raw: &[Slots], from: &Slots| {
                    let (to, rate) = pass(Isa::detect(), raw, rule, way, from);
                    from_fn::<f64, LANE_BLOCK, _>(|l| 0.7 * to[l] - 1.3 * rate[l])
                };
                let difference = |up: Slots, down: Slots| -> Slots { from_fn(|l| (up[l] - down[l]) / (2.0 * h)) };
                let (to, _) = pass(Isa::detect(), &raw, rule, way, &x);
                let data = if way == Way::Forward { x } else { to };
                let mut raw_bar = vec![[f64::NAN; LANE_BLOCK]; raw.len()];
                let bars: (&Slots, &Slots) = (&[0.7; LANE_BLOCK], &[-1.3; LANE_BLOCK]);
                let by = back(Isa::detect(), &raw, rule, way, &data, bars, &mut raw_bar);
                let check = |name: &str, ours: &Slots, other: &Slots| {
                    for l in 0..LANE_BLOCK {
                        // h² times third derivatives, and ε / h of values of a few.
                        let error = (ours[l] - other[l]).abs();
                        assert!(error < 1e-5 * (1.0 + other[l].abs()), "{way:?} {name} {}: {}", ours[l], other[l]);
                    }
                };
                check("x", &by, &difference(value(&raw, &x.map(|x| x + h)), value(&raw, &x.map(|x| x - h))));
                for j in 0..raw.len() {
                    let moved = |by: f64| {
                        let mut raw = raw.clone();
                        raw[j].iter_mut().for_each(|r| *r += by);
                        value(&raw, &x)
                    };
                    check("raw", &raw_bar[j], &difference(moved(h), moved(-h)));
                }
            }
        }
    }

    #[test]
    fn both_vectors_give_the_same_bits() {
        for (round, bins) in [2, 5, 8, MOST].into_iter().enumerate() {
            let (raw, rule) = (raws(bins, 4.0, round as u64), Rule { bins, bound: 3.0 });
            let x = places(round as i32, 3.0);
            for way in [Way::Forward, Way::Inverse] {
                let all = |isa: Isa| {
                    let (to, rate) = pass(isa, &raw, rule, way, &x);
                    let mut raw_bar = vec![[0.0; LANE_BLOCK]; raw.len()];
                    let bar = back(isa, &raw, rule, way, &x, (&to, &rate), &mut raw_bar);
                    [vec![to, rate, bar], raw_bar].concat().concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
                };
                assert_eq!(all(Isa::detect()), all(Isa::PORTABLE), "{bins} {way:?}");
            }
        }
    }

    #[test]
    fn what_is_no_number_shows() {
        let rule = Rule { bins: 4, bound: 3.0 };
        for way in [Way::Forward, Way::Inverse] {
            let (y, _) = pass(Isa::detect(), &raws(4, 1.0, 0), rule, way, &[f64::NAN; LANE_BLOCK]);
            assert!(y.iter().all(|y| y.is_nan()));
            for j in 0..8 {
                let mut raw = raws(4, 1.0, 0);
                raw[j] = [f64::NAN; LANE_BLOCK];
                let (y, rate) = pass(Isa::detect(), &raw, rule, way, &[0.5; LANE_BLOCK]);
                assert!(y.iter().chain(&rate).all(|v| v.is_nan()), "{way:?} {j}");
            }
        }
    }
}
