//! Monotone rational-quadratic splines with identity tails.
//!
//! Ref: Gregory & Delbourgo (1982); Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows* (2019), section 3.1. On bin
//! k with knots (xₖ, yₖ), width w, height h, slope s = h / w and derivatives d₀, d₁ at its ends, ξ = (x − xₖ) / w:
//! y = yₖ + h (s ξ² + d₀ ξ(1 − ξ)) / D, D = s + (d₀ + d₁ − 2s) ξ(1 − ξ), and
//! y′ = s² (d₁ ξ² + 2s ξ(1 − ξ) + d₀ (1 − ξ)²) / D².
//!
//! Widths and heights are softmaxes with a least share, derivatives softplus with a least value and 1 at both ends, so
//! no bin degenerates whatever the conditioner says. Of the derivatives only the two at the ends of a lane's bin are made.
//!
//! The pull-back is written out by hand: of two results by seven numbers, it costs no more than a few passes.

use cnf_solvers::lanes::LANE_BLOCK;

use super::layer::{Slots, Way};
use crate::velocity::activation::{Act, Jet, Softplus, exp};
use crate::velocity::simd::{Isa, Kernel, Vector, dispatch};

/// The most bins.
pub(super) const MOST: usize = 32;
/// The most numbers of a conditioner.
pub(super) const MOST_NUMBERS: usize = 3 * MOST - 1;
/// The least share of a bin in the interval, and the least derivative, as in the authors' code.
const LEAST_SHARE: f64 = 1e-3;
const LEAST_SLOPE: f64 = 1e-3;
/// ln(e^(1 − [`LEAST_SLOPE`]) − 1): added to what the conditioner says, so that 0 stands for the derivative 1.
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
        return Err(format!("a spline of {bins} bins, not 2 to {MOST}"));
    }
    if !(bound > 0.0 && bound.is_finite()) {
        return Err(format!("a spline on [-{bound}, {bound}]"));
    }
    Ok(())
}

/// (y, ln y′) at x on the way forward, (x, ln x′) at y on the way back; lane l by the numbers `raw[..][l]`.
pub(super) fn pass(isa: Isa, raw: &[Slots], rule: Rule, way: Way, from: &Slots) -> (Slots, Slots) {
    let (mut to, mut ratio) = ([0.0; LANE_BLOCK], [0.0; LANE_BLOCK]);
    dispatch(isa, Pass { raw, rule, way, from, to: &mut to, ratio: &mut ratio });
    let sign = if way == Way::Forward { 1.0 } else { -1.0 };
    (to, ratio.map(|ratio| sign * ratio.ln()))
}

/// The pull-back of [`pass`]: what becomes of the cotangents `bar` of the result and `rate_bar` of the logarithm; `raw_bar`
/// becomes that of the numbers. `x` is the point on the data's side of the two.
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

/// The bins in which a vector of lanes lies.
struct Found<V> {
    /// The shares of widths and of heights, bin by bin.
    shares: [[V; 2]; MOST],
    /// Which bin.
    k: V,
    /// xₖ and yₖ.
    left: [V; 2],
    /// w and h.
    size: [V; 2],
    /// d₀ and d₁ less the least, and their derivatives by what the conditioner said.
    ends: [Jet<V>; 2],
}

/// `yes` where |x| < bound, else (and for NaN) `no`.
#[inline(always)]
fn if_inside<V: Vector<Elem = f64>>(x: V, bound: f64, yes: V, no: V) -> V {
    V::splat(bound).sub(x.abs()).if_positive(yes, no)
}

/// Shares that sum to 1, of the widths (`side` 0) or the heights (1).
#[inline(always)]
fn softmax<V: Vector<Elem = f64>>(raw: &[Slots], at: usize, shares: &mut [[V; 2]], side: usize) {
    let mut most = V::read(&raw[0], at);
    for part in &raw[1..] {
        most = V::read(part, at).max(most);
    }
    let mut sum = V::splat(0.0);
    for (share, part) in shares.iter_mut().zip(raw) {
        share[side] = exp(V::read(part, at).sub(most));
        sum = sum.add(share[side]);
    }
    let whole = V::splat(1.0).div(sum);
    for share in shares {
        share[side] = share[side].mul(whole);
    }
}

/// What the conditioner says of the derivative at a knot: at the ends of the interval 0, which stands for 1.
#[inline(always)]
fn said<V: Vector<Elem = f64>>(raw: &[Slots], bins: usize, knot: usize, at: usize) -> V {
    if knot < bins { V::read(&raw[2 * bins + knot - 1], at) } else { V::splat(0.0) }
}

// No closures over vectors below: what is not inlined into the function that has AVX2 goes through memory.
impl<V: Vector<Elem = f64>> Found<V> {
    /// The bins of `place`, strictly inside the interval, among the x (`side` 0) or the y (1).
    #[inline(always)]
    fn new(raw: &[Slots], rule: Rule, at: usize, place: V, side: usize) -> Self {
        let Rule { bins, bound } = rule;
        let mut shares = [[V::splat(0.0); 2]; MOST];
        softmax(&raw[..bins], at, &mut shares[..bins], 0);
        softmax(&raw[bins..2 * bins], at, &mut shares[..bins], 1);
        let (least, free) = (V::splat(2.0 * bound * LEAST_SHARE), V::splat(rule.free()));
        let mut k = V::splat(0.0);
        let (mut left, mut size): ([V; 2], [V; 2]) =
            ([V::splat(-bound); 2], [shares[0][0].fma(free, least), shares[0][1].fma(free, least)]);
        let mut ends = [V::splat(0.0), said(raw, bins, 1, at)];
        let mut knot = [left[0].add(size[0]), left[1].add(size[1])];
        for (i, share) in shares.iter().enumerate().take(bins).skip(1) {
            let beyond = place.sub(knot[side]);
            for c in 0..2 {
                let own = share[c].fma(free, least);
                left[c] = beyond.if_positive(knot[c], left[c]);
                size[c] = beyond.if_positive(own, size[c]);
                ends[c] = beyond.if_positive(said(raw, bins, i + c, at), ends[c]);
                knot[c] = knot[c].add(own);
            }
            k = beyond.if_positive(V::splat(i as f64), k);
        }
        let start = V::splat(START);
        let ends = [Softplus.jet(ends[0].add(start)), Softplus.jet(ends[1].add(start))];
        Self { shares, k, left, size, ends }
    }

    /// What the formulas are made of, at ξ.
    #[inline(always)]
    fn at(&self, xi: V) -> Bin<V> {
        let (one, two) = (V::splat(1.0), V::splat(2.0));
        let least = V::splat(LEAST_SLOPE);
        let (d0, d1) = (self.ends[0].value.add(least), self.ends[1].value.add(least));
        let s = self.size[1].div(self.size[0]);
        let rest = one.sub(xi);
        let both = xi.mul(rest);
        let bend = d0.add(d1).sub(two.mul(s));
        let denominator = bend.fma(both, s);
        let numerator = s.mul(xi).fma(xi, d0.mul(both));
        let rate = d1.mul(xi).fma(xi, two.mul(s).fma(both, d0.mul(rest).mul(rest)));
        Bin { xi, rest, both, s, d0, d1, bend, denominator, numerator, rate }
    }
}

impl Rule {
    /// What the least shares leave of the interval.
    fn free(self) -> f64 {
        2.0 * self.bound * (1.0 - LEAST_SHARE * self.bins as f64)
    }
}

/// ξ, 1 − ξ, ξ(1 − ξ), s, d₀, d₁, d₀ + d₁ − 2s; y = yₖ + h numerator / D and y′ = s² rate / D².
struct Bin<V> {
    xi: V,
    rest: V,
    both: V,
    s: V,
    d0: V,
    d1: V,
    bend: V,
    denominator: V,
    numerator: V,
    rate: V,
}

impl<V: Vector<Elem = f64>> Bin<V> {
    /// y′.
    #[inline(always)]
    fn slope(&self) -> V {
        let part = self.s.div(self.denominator);
        part.mul(part).mul(self.rate)
    }

    /// The derivatives of numerator, D and rate by ξ.
    #[inline(always)]
    fn by_xi(&self) -> [V; 3] {
        let two = V::splat(2.0);
        let turn = self.rest.sub(self.xi);
        let (s, d0, d1) = (self.s, self.d0, self.d1);
        let ends = d1.mul(self.xi).sub(d0.mul(self.rest));
        [two.mul(s).fma(self.xi, d0.mul(turn)), self.bend.mul(turn), two.mul(s.fma(turn, ends))]
    }
}

struct Pass<'a> {
    raw: &'a [Slots],
    rule: Rule,
    way: Way,
    from: &'a Slots,
    to: &'a mut Slots,
    ratio: &'a mut Slots,
}

impl Kernel<f64> for Pass<'_> {
    #[inline(always)]
    fn run<V: Vector<Elem = f64>>(self) {
        let (zero, one, bound) = (V::splat(0.0), V::splat(1.0), self.rule.bound);
        for at in (0..LANE_BLOCK).step_by(V::WIDTH) {
            let from = V::read(self.from, at);
            let place = if_inside(from, bound, from, zero);
            let side = usize::from(self.way == Way::Inverse);
            let found = Found::new(self.raw, self.rule, at, place, side);
            let ([xk, yk], [w, h]) = (found.left, found.size);
            let (to, slope) = if self.way == Way::Forward {
                let bin = found.at(place.sub(xk).div(w));
                (h.mul(bin.numerator).div(bin.denominator).add(yk), bin.slope())
            } else {
                // The root of a quadratic, in the form that does not cancel.
                let Bin { s, d0, bend, .. } = found.at(zero);
                let up = place.sub(yk);
                let a = h.mul(s.sub(d0)).add(up.mul(bend));
                let b = h.mul(d0).sub(up.mul(bend));
                let c = zero.sub(s.mul(up));
                let root = zero.max(b.mul(b).sub(V::splat(4.0).mul(a).mul(c))).sqrt();
                let xi = zero.max(V::splat(-2.0).mul(c).div(b.add(root)));
                let xi = xi.sub(one).if_positive(one, xi);
                (w.fma(xi, xk), found.at(xi).slope())
            };
            if_inside(from, bound, to, from).write(self.to, at);
            if_inside(from, bound, slope, one).write(self.ratio, at);
        }
    }
}

struct Back<'a> {
    raw: &'a [Slots],
    rule: Rule,
    way: Way,
    x: &'a Slots,
    bar: &'a Slots,
    rate_bar: &'a Slots,
    raw_bar: &'a mut [Slots],
    out: &'a mut Slots,
}

impl Kernel<f64> for Back<'_> {
    #[inline(always)]
    fn run<V: Vector<Elem = f64>>(self) {
        let (zero, one, two) = (V::splat(0.0), V::splat(1.0), V::splat(2.0));
        let (Rule { bins, bound }, half) = (self.rule, V::splat(0.5));
        for at in (0..LANE_BLOCK).step_by(V::WIDTH) {
            let (x, bar) = (V::read(self.x, at), V::read(self.bar, at));
            let place = if_inside(x, bound, x, zero);
            let found = Found::new(self.raw, self.rule, at, place, 0);
            let [w, h] = found.size;
            let bin = found.at(place.sub(found.left[0]).div(w));
            let [numerator_by, denominator_by, rate_by] = bin.by_xi();
            let value_bar = if_inside(x, bound, bar, zero);
            let rate_bar = if_inside(x, bound, V::read(self.rate_bar, at), zero);
            let (y_bar, log_bar) = if self.way == Way::Forward {
                (value_bar, rate_bar)
            } else {
                // y(x, p) = y: dx = (dy − yₚ dp) / yₓ, and ln x′ = −ln y′(x, p).
                let log_by = rate_by.div(bin.rate).sub(two.mul(denominator_by).div(bin.denominator)).div(w);
                let y_bar = value_bar.sub(rate_bar.mul(log_by)).div(bin.slope());
                (zero.sub(y_bar), zero.sub(rate_bar))
            };
            let share = bin.numerator.div(bin.denominator);
            let n_bar = y_bar.mul(h).div(bin.denominator);
            let d_bar = zero.sub(n_bar.mul(share).add(two.mul(log_bar).div(bin.denominator)));
            let r_bar = log_bar.div(bin.rate);
            let (xi, rest, both, s) = (bin.xi, bin.rest, bin.both, bin.s);
            let squared = n_bar.mul(xi).fma(xi, d_bar.mul(two.neg_fma(both, one)));
            let s_bar = two.mul(log_bar).div(s).add(squared).add(two.mul(r_bar).mul(both));
            let xi_bar = n_bar.mul(numerator_by).add(d_bar.mul(denominator_by)).add(r_bar.mul(rate_by));
            let end_bars =
                [n_bar.add(d_bar).mul(both).add(r_bar.mul(rest).mul(rest)), d_bar.mul(both).add(r_bar.mul(xi).mul(xi))];
            let x_bar = xi_bar.div(w);
            let out = if self.way == Way::Forward { x_bar } else { zero.sub(y_bar) };
            if_inside(x, bound, out, bar).write(self.out, at);

            // Through knots and softmaxes: a knot is the sum of the sizes below it.
            let size_bars = [zero.sub(s_bar.mul(s).add(xi_bar.mul(xi)).div(w)), y_bar.mul(share).add(s_bar.div(w))];
            let knot_bars = [zero.sub(x_bar), y_bar];
            let free = V::splat(self.rule.free());
            for c in 0..2 {
                let mut bars = [zero; MOST];
                let mut mean = zero;
                for (i, (bar, share)) in bars.iter_mut().zip(&found.shares).take(bins).enumerate() {
                    let ahead = found.k.sub(V::splat(i as f64));
                    let own = half.sub(ahead.abs()).if_positive(size_bars[c], zero);
                    *bar = free.mul(ahead.if_positive(knot_bars[c], own));
                    mean = share[c].fma(*bar, mean);
                }
                let raw_bars = &mut self.raw_bar[c * bins..][..bins];
                for (raw_bar, (bar, share)) in raw_bars.iter_mut().zip(bars.iter().zip(&found.shares)) {
                    share[c].mul(bar.sub(mean)).write(raw_bar, at);
                }
            }
            for knot in 1..bins {
                let ahead = found.k.sub(V::splat(knot as f64));
                let lower = half.sub(ahead.abs()).if_positive(end_bars[0].mul(found.ends[0].slope), zero);
                let upper = half.sub(ahead.add(one).abs()).if_positive(end_bars[1].mul(found.ends[1].slope), zero);
                lower.add(upper).write(&mut self.raw_bar[2 * bins + knot - 1], at);
            }
        }
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
        assert_eq!(START, (1.0 - LEAST_SLOPE).exp_m1().ln());
        for bins in [2, 3, 8, MOST] {
            let (raw, rule) = (vec![[0.0; LANE_BLOCK]; numbers(bins)], Rule { bins, bound: 4.0 });
            for round in 0..5 {
                let x = places(round, 4.0);
                let (y, rate) = pass(Isa::detect(), &raw, rule, Way::Forward, &x);
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
                    // Where the slope is small, x is not told by y to more than its last bits.
                    let blur = 1e-12 * (-rate[l]).exp().max(1.0);
                    assert!((back[l] - x[l]).abs() < blur, "{bins} {size} {}: {}", x[l], back[l]);
                    let turned = (rate[l] + undone[l]).abs();
                    assert!(turned < 1e-6 + 10.0 * blur * (MOST as f64), "{bins} {}: {} {}", y[l], rate[l], undone[l]);
                    let slope = (up[l] - down[l]) / (2.0 * h);
                    // A knot within h of x has the mean of two curvatures.
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
                assert_eq!(all(Isa::detect()), all(Isa::Portable), "{bins} {way:?}");
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
