//! Whether a mean is that of many values or of a few.
//!
//! The mean of n values with one of 10¹⁸ among them is 10¹⁸/n, and so is its standard error: both describe that value,
//! not the others. The measure is the number k of values, the farthest from the median first, that together make up
//! more than half of Σ |v − median|. Of a Gaussian these are 24 in 100 (2φ(c) = φ(0) at c = 1.18), of an exponential
//! 19, of Student's t with 3 degrees of freedom 18, of a lognormal with σ = 1 16 in 100. Few values dominate the mean
//! where k is at most one in [`FEW`].
//!
//! False alarms, by simulation of 4000 samples each (`honest_values_are_rarely_called_dominated` holds them):
//! at n = 30 and more none of a Gaussian, below 1 in 1000 of χ² with one degree of freedom (the heaviest tail that the
//! score of a correct Gaussian model has), below 1 in 300 of Student's t with 3 degrees, below 1 in 50 of a lognormal
//! with σ = 1. Below 30 values one of them holds more than half by chance too often; [`share`] is then larger.
//!
//! It is so too where more than half of the values equal the median, as of a density that is constant over most rows (a
//! spike and a slab): all deviations are then those of the other values, and few of honest ones make up half of them
//! (`a_spike_and_a_slab_are_dominated_only_by_what_lies_far_out`). Where at most one value in [`FEW`] differs from the
//! median, these few make up all deviations and are reported.
//!
//! Values are log-densities in nats: what few of them add to the mean must be worth [`LEAST_NATS`] to be reported, or
//! the scores of a nearly constant density would be.

use crate::words;

/// At most one value in so many is few.
const FEW: usize = 30;
/// Samples smaller than this have no bulk that one value could dominate.
const LEAST: usize = 3;

/// Less than this, in nats, on the mean is negligible.
const LEAST_NATS: f64 = 0.01;

/// The part of Σ |v − median| beyond which few values dominate the mean of `n`; `spike` where more than half of them
/// equal the median.
fn share(n: u64, spike: bool) -> f64 {
    match n {
        0..8 => 0.999,
        8..30 => 0.95,
        _ if spike => 0.95,
        _ => 0.5,
    }
}

/// The median of some values, and whether few of them dominate their mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dominance {
    /// How many values there are.
    pub n: u64,
    /// Their median; NaN of none.
    pub median: f64,
    /// How many of them make up more than half of all deviations from the median, where these are few.
    pub few: Option<u64>,
    /// The place of the value farthest from the median, counted from 0; 0 of none.
    pub farthest: u64,
}

/// A value that stands for `weight` values like it, and its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighted {
    /// The value.
    pub value: f64,
    /// How many values it stands for.
    pub weight: f64,
    /// Its place among all, counted from 0.
    pub at: u64,
}

impl Dominance {
    /// Of values that are not known.
    pub const UNKNOWN: Self = Self { n: 0, median: f64::NAN, few: None, farthest: 0 };

    /// Of the finite ones of `values`; the others keep their places.
    pub fn of(values: &[f64]) -> Self {
        let each = values.iter().enumerate().map(|(i, v)| Weighted { value: *v, weight: 1.0, at: i as u64 });
        Self::weighted(each.collect())
    }

    /// Of values that stand for several each, as a sample of many does; those that are not finite are left out.
    pub fn weighted(mut values: Vec<Weighted>) -> Self {
        values.retain(|v| v.value.is_finite());
        let total: f64 = values.iter().map(|v| v.weight).sum();
        let n = total.round() as u64;
        values.sort_unstable_by(|a, b| a.value.total_cmp(&b.value).then(a.at.cmp(&b.at)));
        let median = median(&values, total);
        let away = |v: &Weighted| (v.value - median).abs();
        values.sort_by(|a, b| away(b).total_cmp(&away(a)));
        let farthest = values.first().map_or(0, |v| v.at);
        Self { n, median, few: few(&values, away, n), farthest }
    }

    /// How many carry the mean, and the median, where few dominate; `set` is whose rows they are, or empty.
    pub fn brief(&self, set: &str) -> Option<String> {
        self.sentence(set, "")
    }

    /// How many carry the mean, which is farthest, and the median, where few dominate; `set` is whose rows they are,
    /// such as `test`, or empty.
    pub fn words(&self, set: &str) -> Option<String> {
        self.sentence(set, &format!(" (the farthest is row {}, counted from 0)", self.farthest))
    }

    /// The sentence, with `which` after the mean.
    fn sentence(&self, set: &str, which: &str) -> Option<String> {
        let few = self.few?;
        let carry = if few == 1 { "carries" } else { "carry" };
        let space = if set.is_empty() { "" } else { " " };
        let (n, median) = (self.n, words::number(self.median, 4));
        Some(format!("{few} of {n} {set}{space}rows {carry} the mean{which}; the median is {median}"))
    }

    /// The same of the negated values.
    pub fn negated(self) -> Self {
        Self { median: -self.median, ..self }
    }

    /// Of values that were measured several times, as by models of several seeds: the means of the medians, and the
    /// fewest rows.
    pub fn mean_of(all: &[Self]) -> Option<Self> {
        let first = all.first()?;
        let median = all.iter().map(|one| one.median).sum::<f64>() / all.len() as f64;
        let fewest = all.iter().filter(|one| one.few.is_some()).min_by_key(|one| one.few);
        Some(Self { median, ..*fewest.unwrap_or(first) })
    }
}

/// The value with half of the weight below it; the middle between two of them.
fn median(sorted: &[Weighted], total: f64) -> f64 {
    let mut below = 0.0;
    for (i, v) in sorted.iter().enumerate() {
        below += v.weight;
        if below > 0.5 * total {
            return v.value;
        }
        if below == 0.5 * total {
            // Halves, lest the sum overflow.
            return sorted.get(i + 1).map_or(v.value, |next| 0.5 * v.value + 0.5 * next.value);
        }
    }
    f64::NAN
}

/// How many of the farthest make up more than their [`share`], if these are few.
fn few(farthest_first: &[Weighted], away: impl Fn(&Weighted) -> f64, n: u64) -> Option<u64> {
    let greatest = farthest_first.first().map(&away).filter(|a| *a > 0.0)?;
    if n < LEAST as u64 {
        return None;
    }
    // In parts of the greatest, lest the sum overflow.
    let each = |v: &Weighted| away(v) / greatest;
    let part = |v: &Weighted| v.weight * each(v);
    let equal: f64 = farthest_first.iter().filter(|v| away(v) == 0.0).map(|v| v.weight).sum();
    let enough = share(n, 2.0 * equal > n as f64) * farthest_first.iter().map(part).sum::<f64>();
    let (mut sum, mut rows) = (0.0, 0.0);
    for v in farthest_first {
        if sum + part(v) > enough {
            // So many of the values that it stands for.
            let last = (((enough - sum) / each(v)).floor() + 1.0).min(v.weight);
            (sum, rows) = (sum + last * each(v), rows + last);
            break;
        }
        (sum, rows) = (sum + part(v), rows + v.weight);
    }
    let rows = rows.round() as u64;
    // sum · greatest / n is what they add to the mean, up to its sign.
    if sum * greatest < LEAST_NATS * n as f64 {
        return None;
    }
    (rows <= (n / FEW as u64).max(1)).then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use rand::Rng as _;
    use rand_distr::StandardNormal;

    fn normal(n: usize, rng: &mut crate::Rng) -> Vec<f64> {
        (0..n).map(|_| rng.sample(StandardNormal)).collect()
    }

    /// How many of `trials` samples of `n` are called dominated, out of `draw` of seven normal numbers.
    fn alarms(n: usize, trials: usize, draw: impl Fn(&[f64]) -> f64) -> usize {
        let mut rng = rng::stream(7, n as u64);
        let sample = |rng: &mut _| -> Vec<f64> { normal(7 * n, rng).chunks_exact(7).map(&draw).collect() };
        (0..trials).filter(|_| Dominance::of(&sample(&mut rng)).few.is_some()).count()
    }

    #[test]
    fn honest_values_are_rarely_called_dominated() {
        let student = |z: &[f64], nu: usize| z[0] / (z[1..=nu].iter().map(|v| v * v).sum::<f64>() / nu as f64).sqrt();
        for (n, trials) in [(3, 4000), (5, 4000), (8, 4000), (12, 4000), (30, 4000), (45, 2000), (300, 200)] {
            let most = |per_mille: f64| {
                // Four deviations of the count of rare events above its mean, and one.
                let mean = 1e-3 * per_mille * trials as f64;
                (mean + 4.0 * mean.sqrt() + 1.0) as usize
            };
            for (name, count, per_mille) in [
                ("Gaussian", alarms(n, trials, |z| z[0]), 1.0),
                ("half of χ²₁", alarms(n, trials, |z| 0.5 * z[0] * z[0]), 3.0),
                ("Student, 5", alarms(n, trials, |z| student(z, 5)), 1.0),
                ("Student, 3", alarms(n, trials, |z| student(z, 3)), 3.3),
                ("lognormal", alarms(n, trials, |z| z[0].exp()), 20.0),
            ] {
                assert!(count <= most(per_mille), "{name}, n = {n}: {count} of {trials}");
            }
        }
    }

    #[test]
    fn a_spike_and_a_slab_are_dominated_only_by_what_lies_far_out() {
        let mut rng = rng::stream(2, 5);
        for n in [300, 2000] {
            for spike in [0.5, 0.6, 0.8, 0.9, 0.94] {
                for scale in [0.5, 5.0] {
                    // A density that is constant over most rows, and whose logarithm spreads over the others.
                    let slab = n - (spike * f64::from(n)) as i32;
                    let spread: Vec<f64> = normal(slab as usize, &mut rng).iter().map(|z| scale * z).collect();
                    let mut values = [&vec![-1.0; (n - slab) as usize][..], &spread[..]].concat();
                    let honest = Dominance::of(&values);
                    assert!(honest.few.is_none(), "{n} {spike} {scale}: {honest:?}");
                    for count in [1, 3] {
                        values[..count].fill(-1e6);
                        let found = Dominance::of(&values);
                        // Two of three equal ones are more than half.
                        let few = found.few.is_some_and(|k| (1..=count as u64).contains(&k));
                        assert!(few && found.farthest == 0, "{n} {spike} {scale} {count}: {found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_value_and_few_are_found_with_their_place_wherever_the_rest_lies() {
        let bulk = normal(300, &mut rng::stream(1, 2));
        for shift in [0.0, -1e3, 1e9] {
            for far in [1e6, -1e6, 1e18, 1e300] {
                for count in [1, 3, 10] {
                    let mut values: Vec<f64> = bulk.iter().map(|v| v + shift).collect();
                    let far = if far == 1e6 { far + shift } else { far };
                    (0..count).for_each(|k| values[20 * k + 7] = far * if k == 0 { 1.5 } else { 1.0 });
                    let found = Dominance::of(&values);
                    // More than half of equal ones are half of them and one; the first is half as large again.
                    let most = count as u64 / 2 + 1;
                    assert!(found.few.is_some_and(|k| (1..=most).contains(&k)), "{shift} {far} {count}: {found:?}");
                    assert!((found.median - shift).abs() < 0.5 && found.farthest == 7 && found.n == 300, "{found:?}");
                }
            }
            let plain = Dominance::of(&bulk.iter().map(|v| v + shift).collect::<Vec<_>>());
            assert!(plain.few.is_none() && (plain.median - shift).abs() < 0.5, "{plain:?}");
        }
    }

    #[test]
    fn small_empty_and_equal_samples_have_an_answer() {
        assert!(Dominance::of(&[]).median.is_nan() && Dominance::of(&[]).few.is_none());
        assert!(Dominance::of(&[f64::NAN, f64::INFINITY]).median.is_nan());
        for (values, median, few) in [
            (&[3.0][..], 3.0, None),
            (&[1.0, 1e18], 5e17, None),
            (&[1.0, 2.0, 1e18], 2.0, Some(1)),
            (&[1.0, 2.0, 4.0], 2.0, None),
            (&[5.0; 40], 5.0, None),
            // Nothing that matters on the mean.
            (&[5.0, 5.0, 5.0, 5.0, 5.001], 5.0, None),
            // One value is another: all deviation there is.
            (&[5.0, 5.0, 5.0, 5.0, 6.0], 5.0, Some(1)),
            (&[1.0, f64::NAN, 2.0, 3.0], 2.0, None),
        ] {
            let found = Dominance::of(values);
            assert_eq!((found.median, found.few), (median, few), "{values:?}");
        }
    }

    #[test]
    fn a_value_that_stands_for_several_counts_as_several() {
        let one = |value, weight| Weighted { value, weight, at: 0 };
        let values = [(1.0, 40.0), (2.0, 30.0), (3.0, 30.0)];
        let apart: Vec<f64> = values.iter().flat_map(|(v, w)| vec![*v; *w as usize]).collect();
        for far in [3.5, 1e3, 1e9] {
            let together = values.iter().map(|(v, w)| one(*v, *w)).chain([one(far, 1.0)]).collect();
            let (a, b) = (Dominance::weighted(together), Dominance::of(&[&apart[..], &[far]].concat()));
            assert_eq!((a.n, a.median, a.few), (b.n, b.median, b.few));
        }
        // Of several far ones that one value stands for, no more are counted than are needed.
        let far = Dominance::weighted(vec![one(0.0, 1000.0), one(1.0, 990.0), one(1e6, 10.0)]);
        let apart = Dominance::of(&[vec![0.0; 1000], vec![1.0; 990], vec![1e6; 10]].concat());
        assert_eq!((far.few, far.n), (Some(6), 2000));
        assert_eq!((apart.few, apart.median), (far.few, far.median));
    }
}
