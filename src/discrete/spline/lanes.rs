//! Splines on vectors of lanes: each lane has knots of its own.
//!
//! No closures over vectors here: what is not inlined into the function that has AVX2 goes through memory.

use cnflow_kernels::activation::{Act, Jet, Softplus, exp};
use cnflow_kernels::simd::{Kernel, Vector};
use cnflow_solvers::lanes::LANE_BLOCK;

use super::{LEAST_SHARE, LEAST_SLOPE, MOST, Rule, START};
use crate::discrete::step::{Slots, Way};

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
    /// d₀ and d₁ less the least, and their derivatives by the conditioner's numbers.
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

/// The conditioner's number for the derivative at a knot: at the ends of the interval 0, which stands for 1.
#[inline(always)]
fn number<V: Vector<Elem = f64>>(raw: &[Slots], bins: usize, knot: usize, at: usize) -> V {
    if knot < bins { V::read(&raw[2 * bins + knot - 1], at) } else { V::splat(0.0) }
}

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
        let mut ends = [V::splat(0.0), number(raw, bins, 1, at)];
        let mut knot = [left[0].add(size[0]), left[1].add(size[1])];
        for (i, share) in shares.iter().enumerate().take(bins).skip(1) {
            let beyond = place.sub(knot[side]);
            for c in 0..2 {
                let own = share[c].fma(free, least);
                left[c] = beyond.if_positive(knot[c], left[c]);
                size[c] = beyond.if_positive(own, size[c]);
                ends[c] = beyond.if_positive(number(raw, bins, i + c, at), ends[c]);
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

/// `to` ← the points, `ratio` ← y′ there.
pub(super) struct Pass<'a> {
    pub raw: &'a [Slots],
    pub rule: Rule,
    pub way: Way,
    pub from: &'a Slots,
    pub to: &'a mut Slots,
    pub ratio: &'a mut Slots,
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
                // The authors' form of the root: it cancels only where b < 0, in bins far steeper at their end than s.
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

/// As [`back`](super::back).
pub(super) struct Back<'a> {
    pub raw: &'a [Slots],
    pub rule: Rule,
    pub way: Way,
    pub x: &'a Slots,
    pub bar: &'a Slots,
    pub rate_bar: &'a Slots,
    pub raw_bar: &'a mut [Slots],
    pub out: &'a mut Slots,
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
                let lower = half.sub(ahead.abs()).if_positive(end_bars[0].mul(found.ends[0].first), zero);
                let upper = half.sub(ahead.add(one).abs()).if_positive(end_bars[1].mul(found.ends[1].first), zero);
                lower.add(upper).write(&mut self.raw_bar[2 * bins + knot - 1], at);
            }
        }
    }
}
