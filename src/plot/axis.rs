//! Where the ticks go and what they say.

/// A tick: its value and its label.
pub(super) type Tick = (f64, String);

/// The finest ticks, at most nine of them, whose labels fit side by side.
///
/// `room` says how many pixels a label asks for, given its text, where the axis is `pixels` long.
pub(super) fn fitting(range: (f64, f64), pixels: f64, room: impl Fn(&str) -> f64) -> Vec<Tick> {
    let mut coarse = Vec::new();
    for count in [9.0, 7.0, 5.0, 4.0, 3.0, 2.0, 1.4] {
        let found = ticks(range, count);
        let [first, second, ..] = found.as_slice() else { break };
        let apart = (second.0 - first.0) / (range.1 - range.0) * pixels;
        let fits = found.iter().all(|t| room(&t.1) <= apart);
        coarse = found;
        if fits {
            break;
        }
    }
    coarse
}

/// Steps of 1, 2 or 5 times a power of ten, so that about `count` of them fill the range.
fn ticks(range: (f64, f64), count: f64) -> Vec<Tick> {
    let length = range.1 - range.0;
    if !length.is_finite() || length <= 0.0 {
        return Vec::new();
    }
    let raw = length / count;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= 0.999 * raw).unwrap_or(raw);
    let (first, last) = ((range.0 / step - 1e-6).ceil(), (range.1 / step + 1e-6).floor());
    if !(first.abs() < 1e15 && last - first < 100.0) {
        return Vec::new();
    }
    (first as i64..=last as i64).map(|k| k as f64 * step).map(|value| (value, label(value, step))).collect()
}

/// Each power of ten from 10^−`decades` of `max` up to it, at most `count` of them.
pub(super) fn decades(max: f64, decades: f64, count: f64) -> Vec<Tick> {
    let top = max.log10();
    if !top.is_finite() {
        return Vec::new();
    }
    let (first, last) = ((top - decades - 1e-9).ceil() as i32, (top + 1e-9).floor() as i32);
    let every = (f64::from(last - first + 1) / count.max(2.0)).ceil().max(1.0) as i32;
    (first..=last).filter(|e| e.rem_euclid(every) == 0).map(|e| (10f64.powi(e), format!("10{}", raised(e)))).collect()
}

/// `value` with just the digits that tell it from its neighbours a `step` away.
pub(super) fn label(value: f64, step: f64) -> String {
    let finest = (step.abs().log10() + 1e-9).floor() as i32;
    if value == 0.0 {
        return "0".into();
    }
    let exponent = (value.abs().log10() + 1e-9).floor() as i32;
    let text = if finest < -4 || exponent >= 5 {
        let digits = (exponent - finest).clamp(0, 6) as usize;
        format!("{:.digits$}×10{}", value / 10f64.powi(exponent), raised(exponent))
    } else {
        format!("{value:.*}", (-finest).max(0) as usize)
    };
    text.replace('-', "−")
}

/// An exponent in superscript digits.
fn raised(exponent: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digits = exponent.unsigned_abs().to_string();
    let sign = (exponent < 0).then_some('⁻');
    sign.into_iter().chain(digits.bytes().map(|b| DIGITS[usize::from(b - b'0')])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_inside_and_told_apart_by_their_labels() {
        for power in -12..12 {
            for k in 1..40 {
                let length = 10f64.powi(power) * (1.0 + 0.23 * f64::from(k));
                for start in [0.0, -0.37 * length, 5.1 * length, -1e3 * length] {
                    let range = (start, start + length);
                    let found = fitting(range, 400.0, |label| 6.0 * label.chars().count() as f64);
                    assert!((2..=10).contains(&found.len()), "{range:?}: {found:?}");
                    let slack = 1e-5 * length;
                    assert!(
                        found.iter().all(|t| t.0 > range.0 - slack && t.0 < range.1 + slack),
                        "{range:?}: {found:?}"
                    );
                    assert!(found.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 != w[1].1), "{range:?}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn labels_hold_the_digits_that_matter() {
        let said =
            [(0.5, 0.5), (-2.0, 1.0), (0.25, 0.05), (0.0, 3.0), (2500.0, 500.0), (150_000.0, 50_000.0), (2e-6, 1e-6)];
        let labels = said.map(|(value, step)| label(value, step));
        assert_eq!(labels, ["0.5", "−2", "0.25", "0", "2500", "1.5×10⁵", "2×10⁻⁶"]);
    }
}
