//! The places and labels of ticks.

/// A tick: its value and its label.
pub(super) type Tick = (f64, String);

/// The finest ticks, at most nine of them, whose labels fit side by side.
///
/// `room` gives the pixels that a label takes, by its text, where the axis is `pixels` long.
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

/// As [`fitting`] where equal ratios are equally long: powers of ten, or 1, 2 and 5 times them where few powers fall
/// into the range. A value without a label keeps its tick where the tick shows the scale.
pub(super) fn fitting_ratios(range: (f64, f64), pixels: f64, room: impl Fn(&str) -> f64) -> Vec<Tick> {
    let decades = (range.1 / range.0).log10();
    if !(range.0 > 0.0 && decades.is_finite() && decades > 0.0) {
        return Vec::new();
    }
    let place = |value: f64| (value / range.0).log10() / decades * pixels;
    let (first, last) = (range.0.log10().floor() as i32, range.1.log10().ceil() as i32);
    let inside = |value: &f64| (range.0 * (1.0 - 1e-9)..=range.1 * (1.0 + 1e-9)).contains(value);
    let all = |digits: &'static [f64], every: i32| {
        let powers = (first..=last).filter(move |e| e.rem_euclid(every) == 0);
        powers.flat_map(move |e| digits.iter().map(move |m| m * 10f64.powi(e))).filter(inside)
    };
    let plain = (-4..=4).contains(&first) && (-4..=5).contains(&last);
    let words = |value: f64| {
        let exponent = (value.log10() + 1e-9).floor() as i32;
        let power = (value / 10f64.powi(exponent) - 1.0).abs() < 1e-6;
        if plain || !power { label(value, 10f64.powi(exponent)) } else { format!("10{}", raised(exponent)) }
    };
    // Digits before a power of ten are clutter where there are powers enough.
    let few = decades < if plain { 3.0 } else { 2.0 };
    let mut levels: Vec<(&[f64], i32)> = if few { vec![(&[1.0, 2.0, 5.0], 1), (&[1.0, 3.0], 1)] } else { Vec::new() };
    levels.extend((1..=last - first).map(|every| (&[1.0][..], every)));
    for (digits, every) in levels {
        let said: Vec<Tick> = all(digits, every).map(|value| (value, words(value))).collect();
        let fits = |w: &[Tick]| 0.5 * (room(&w[0].1) + room(&w[1].1)) <= place(w[1].0) - place(w[0].0);
        if said.len() < 2 || !said.windows(2).all(fits) {
            continue;
        }
        let between: &[f64] = if every == 1 { &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0] } else { &[1.0] };
        let mute = |value: f64| said.iter().all(|t| (t.0 / value - 1.0).abs() > 1e-6);
        // Ticks that run together show nothing.
        let roomy = decades * 60.0 < pixels || every > 1;
        let silent = all(between, 1).filter(|v| roomy && mute(*v)).map(|v| (v, String::new()));
        let mut found: Vec<Tick> = said.iter().cloned().chain(silent).collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        return found;
    }
    // Not two of those numbers: the steps are even enough for the scale not to matter.
    fitting(range, pixels, room)
}

/// The offset that the labels of a range leave out and the name of the axis shows: a round number near a short range
/// far from 0, whose labels would differ in a late digit only; 0 for any other.
pub(super) fn offset(range: (f64, f64)) -> f64 {
    const FAR: f64 = 1e4;
    const NEAR: f64 = 10.0;
    let (length, centre) = (range.1 - range.0, 0.5 * range.0 + 0.5 * range.1);
    if !(length > 0.0 && length.is_finite() && centre.abs() > FAR * length) {
        return 0.0;
    }
    // The roundest number from which labels have few digits.
    let last = length.log10().floor() as i32;
    let first = centre.abs().log10().floor() as i32;
    let rounded = |exponent: i32| {
        // Whole powers are exact where negative ones are not.
        let power = 10f64.powi(exponent.abs());
        if exponent < 0 { (centre * power).round() / power } else { (centre / power).round() * power }
    };
    (last..=first).rev().map(rounded).find(|o| (centre - o).abs() <= NEAR * length).unwrap_or(0.0)
}

/// The name of an axis with what its labels leave out: `t − 2459000`.
pub(super) fn with_offset(name: &str, range: (f64, f64)) -> String {
    let offset = offset(range);
    if offset == 0.0 {
        return name.to_owned();
    }
    let size = offset.abs();
    let number = if (1e-4..1e12).contains(&size) { size.to_string() } else { format!("{size:e}").replace('-', "−") };
    let sign = if offset > 0.0 { '−' } else { '+' };
    format!("{name} {sign} {number}").trim_start().to_owned()
}

/// Steps of 1, 2 or 5 times a power of ten, so that about `count` of them fill the range.
fn ticks(range: (f64, f64), count: f64) -> Vec<Tick> {
    let offset = offset(range);
    if offset != 0.0 {
        let near = ticks((range.0 - offset, range.1 - offset), count);
        return near.into_iter().map(|(value, words)| (offset + value, words)).collect();
    }
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

/// `value` with just the digits that distinguish it from its neighbours a `step` away.
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
    fn short_ranges_far_from_zero_have_short_labels_and_an_offset_in_the_name() {
        for scale in [1e-200, 1e-3, 1.0, 1e5, 1e200] {
            for far in [2e4, 1e6, 1e9, 1e12, -1e9, 3.7e11] {
                let range = (scale * far - 0.4 * scale, scale * far + 0.6 * scale);
                let found = fitting(range, 400.0, |label| 6.0 * label.chars().count() as f64);
                assert!((2..=10).contains(&found.len()), "{range:?}: {found:?}");
                assert!(found.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 != w[1].1), "{range:?}: {found:?}");
                // At most ten lengths away, in steps of a tenth: two digits and a few signs.
                assert!(found.iter().all(|t| t.1.chars().count() <= 9), "{range:?}: {found:?}");
                // The offset and a label make the place of its tick, to round-off of the offset.
                assert!((offset(range) - scale * far).abs() <= 10.5 * scale, "{range:?}: {}", offset(range));
                assert_ne!(with_offset("x", range), "x");
            }
        }
        let words = |range| -> Vec<String> { ticks(range, 3.0).into_iter().map(|t| t.1).collect() };
        assert_eq!(
            words((1e9 - 3e-3, 1e9 + 3e-3)),
            ["−0.002", "0.000", "0.002"].map(|w| if w == "0.000" { "0" } else { w })
        );
        assert_eq!(with_offset("x", (1e9 - 3e-3, 1e9 + 3e-3)), "x − 1000000000");
        assert_eq!(with_offset("t", (2_459_000.2, 2_459_001.1)), "t − 2459000");
        assert_eq!(with_offset("t", (-2_459_001.1, -2_459_000.2)), "t + 2459000");
        assert_eq!(with_offset("x", (-1.0, 3.0)), "x");
        assert_eq!(with_offset("x", (1e18, 1e18 + 4096.0)), "x − 1e18");
    }

    #[test]
    fn ticks_of_ratios_are_inside_in_order_and_their_labels_apart() {
        for power in -9..9 {
            for k in 1..40 {
                let low = 0.7 * 10f64.powi(power) * f64::from(k);
                for ratio in [1.02, 1.9, 7.0, 40.0, 900.0, 3e5, 1e11] {
                    let range = (low, low * ratio);
                    let found = fitting_ratios(range, 300.0, |label| 7.0 * (label.chars().count() + 1) as f64);
                    let said: Vec<&Tick> = found.iter().filter(|t| !t.1.is_empty()).collect();
                    assert!((2..=12).contains(&said.len()), "{range:?}: {found:?}");
                    assert!(found.windows(2).all(|w| w[0].0 < w[1].0), "{range:?}: {found:?}");
                    assert!(said.windows(2).all(|w| w[0].1 != w[1].1), "{range:?}: {found:?}");
                    let slack = 1e-5 * (range.1 - range.0);
                    assert!(
                        found.iter().all(|t| t.0 > range.0 - slack && t.0 < range.1 + slack),
                        "{range:?}: {found:?}"
                    );
                }
            }
        }
        let words = |range| -> Vec<String> {
            let all = fitting_ratios(range, 300.0, |label| 7.0 * (label.chars().count() + 1) as f64);
            all.into_iter().map(|t| t.1).filter(|w| !w.is_empty()).collect()
        };
        assert_eq!(words((0.9, 1100.0)), ["1", "10", "100", "1000"]);
        assert_eq!(words((3.0, 40.0)), ["5", "10", "20"]);
        assert_eq!(words((1e-7, 2e-5)), ["10⁻⁷", "10⁻⁶", "10⁻⁵"]);
    }

    #[test]
    fn labels_hold_the_digits_that_matter() {
        let said =
            [(0.5, 0.5), (-2.0, 1.0), (0.25, 0.05), (0.0, 3.0), (2500.0, 500.0), (150_000.0, 50_000.0), (2e-6, 1e-6)];
        let labels = said.map(|(value, step)| label(value, step));
        assert_eq!(labels, ["0.5", "−2", "0.25", "0", "2500", "1.5×10⁵", "2×10⁻⁶"]);
    }
}
