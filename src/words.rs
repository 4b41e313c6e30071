//! Numbers, durations and counts as people read them: one rule each, for reports, messages and pictures.
//!
//! A number has as many decimals as its size and its error allow, at most 17 characters, and powers of ten where it is
//! very large or very small. What does not exist (the standard error of one row, the mean of none) is left out or said
//! in words, never printed as NaN. −∞ and ∞ are `-inf` and `inf`, as programs read them: log p of a point outside the
//! support, and the mean over it.

use cnflow_kernels::ImageShape;

/// From here on, and below its inverse by a hundred, a number is written with a power of ten.
const LARGE: f64 = 1e6;

/// NaN in words.
const UNDEFINED: &str = "undefined";

/// `value` with up to `decimals` decimals: fewer where it is large, a power of ten where it is very large or small.
pub fn number(value: f64, decimals: usize) -> String {
    let size = value.abs();
    let least = 10f64.powi(-(decimals as i32));
    match size {
        _ if value.is_nan() => UNDEFINED.into(),
        _ if size.is_infinite() => if value > 0.0 { "inf" } else { "-inf" }.into(),
        0.0 => format!("{:.decimals$}", 0.0),
        s if s >= LARGE || (s < 0.05 && s < 10.0 * least) => power(value, decimals.clamp(1, 3)),
        s => {
            // No more than eight digits in all before and after the point.
            let whole = s.log10().floor().max(0.0) as usize;
            let kept = decimals.min(8usize.saturating_sub(whole));
            format!("{value:.kept$}")
        }
    }
}

/// Characters of a number in a table.
const WIDE: usize = 12;

/// A number of a column with this deviation, for a table: as [`number`] with five decimals where these resolve a
/// hundredth of the deviation, else with as many digits as do, at most 12 characters in all.
pub fn resolved(value: f64, deviation: f64) -> String {
    let short = number(value, 5);
    let wanted = 0.01 * deviation;
    if value == 0.0 || !value.is_finite() || !(wanted > 0.0 && wanted.is_finite()) || unit(&short) <= wanted {
        return short;
    }
    let decimals = -wanted.log10().floor() as i32;
    let (size, most) = (value.abs(), WIDE as i32);
    let fits = |text: &String| text.len() <= WIDE;
    let longer = if (1e-3..1e12).contains(&size) {
        (0..=decimals.clamp(0, most)).rev().map(|k| format!("{value:.*}", k as usize)).find(fits)
    } else {
        let digits = size.log10().floor() as i32 + decimals;
        (1..=digits.clamp(1, most)).rev().map(|k| power(value, k as usize)).find(fits)
    };
    longer.filter(|text| unit(text) < unit(&short)).unwrap_or(short)
}

/// What the last digit of a finite number counts.
fn unit(text: &str) -> f64 {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let decimals = digits.split_once('.').map_or(0, |(_, decimals)| decimals.len() as i32);
    10f64.powi(exponent.parse::<i32>().unwrap_or(0) - decimals)
}

/// As [`number`], with a sign in front of what is positive too.
pub fn change(value: f64, decimals: usize) -> String {
    let text = number(value, decimals);
    if value >= 0.0 { format!("+{text}") } else { text }
}

/// `value ± se`: up to `decimals` decimals, fewer where the error is large, so that it has up to four digits; a power
/// of ten common to both where one of them is very large. An error that does not exist is left out.
pub fn estimate(value: f64, se: f64, decimals: usize) -> String {
    if !value.is_finite() || !se.is_finite() {
        return number(value, decimals);
    }
    let largest = value.abs().max(se.abs());
    if largest >= LARGE {
        let exponent = largest.log10().floor() as i32;
        // Of two steps, lest 10^exponent overflow or vanish.
        let scaled = |v: f64| v / 10f64.powi(exponent / 2) / 10f64.powi(exponent - exponent / 2);
        let scaled_se = scaled(se);
        let digits = if scaled_se > 0.0 { (1 - scaled_se.log10().floor() as i32).clamp(2, 6) as usize } else { 3 };
        // An error far below what the digits resolve has its own power.
        if scaled_se > 0.0 && scaled_se < 0.5 * 10f64.powi(-(digits as i32)) {
            return format!("{} ± {}", power(value, 6), power(se, 1));
        }
        return format!("({:.digits$} ± {:.digits$})e{exponent}", scaled(value), scaled_se);
    }
    if se > 0.0 && se < 0.5 * 10f64.powi(-(decimals as i32)) {
        return format!("{} ± {}", number(value, decimals), power(se, 1));
    }
    if value != 0.0 && largest < 0.5 * 10f64.powi(-(decimals as i32)) {
        return format!("{} ± {}", power(value, 3), error(se));
    }
    let fewer = if se > 0.0 { (3 - se.log10().floor() as i32).clamp(0, decimals as i32) as usize } else { decimals };
    let whole = if largest > 0.0 { largest.log10().floor().max(0.0) as usize } else { 0 };
    let kept = fewer.min(8usize.saturating_sub(whole));
    format!("{value:.kept$} ± {se:.kept$}")
}

/// A small error or difference: `1.2e-4`, `0`, and in words where it is none.
pub fn error(value: f64) -> String {
    match value {
        v if v.is_nan() => UNDEFINED.into(),
        v if v.is_infinite() => if v > 0.0 { "inf" } else { "-inf" }.into(),
        0.0 => "0".into(),
        v => power(v, 1),
    }
}

/// A number with all of its digits, as messages repeat given values: `2`, `-0.1`, `1e60`.
pub fn exact(value: f64) -> String {
    let text = format!("{value:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A number with at most seven digits: `99.9`, where round-off makes it 99.90000000000001.
pub fn rounded(value: f64) -> String {
    exact(format!("{value:.6e}").parse().unwrap_or(value))
}

/// As [`estimate`], with the unit, and what it is over: `2.83 ± 0.02 nats over 300 points`; a single value has no
/// standard error, and the text states it.
pub fn mean(value: f64, se: f64, decimals: usize, unit: &str, n: u64, one: &str) -> String {
    let over = count(n, one);
    match n {
        0 => format!("undefined: {over}"),
        1 => format!("{} {unit} over {over}{}", number(value, decimals), no_error(n)),
        _ => format!("{} {unit} over {over}", estimate(value, se, decimals)),
    }
}

/// The remark after a mean of `n` values whose standard error does not exist; empty where it does.
pub fn no_error(n: u64) -> &'static str {
    if n == 1 { " (no standard error of one)" } else { "" }
}

/// In powers of ten, as `1.6e16`.
fn power(value: f64, digits: usize) -> String {
    format!("{value:.digits$e}")
}

/// `1 row`, `3 rows`: the plural is `one` and an s.
pub fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("{n} {one}") } else { format!("{n} {one}s") }
}

/// The size of an image: `28 × 28`, `32 × 32 × 3`.
pub fn image(shape: ImageShape) -> String {
    let ImageShape { height, width, channels } = shape;
    if channels == 1 { format!("{height} × {width}") } else { format!("{height} × {width} × {channels}") }
}

/// `0.142 s`, `3.2 s`, `2 min 10 s`, `2 h 5 min`, `11 d 3 h`; "an unknown time" for NaN.
pub fn duration(seconds: f64) -> String {
    if !(seconds.is_finite() && seconds >= 0.0) {
        return "an unknown time".into();
    }
    match (seconds, seconds.round() as u64) {
        (s, _) if s < 0.9995 => format!("{s:.3} s"),
        (s, _) if s < 119.95 => format!("{s:.1} s"),
        (_, whole) if whole < 7200 => format!("{} min {} s", whole / 60, whole % 60),
        (_, whole) if whole < 48 * 3600 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        (s, _) if s > 1e4 * 86400.0 => format!("{} d", number(s / 86400.0, 0)),
        (_, whole) => format!("{} d {} h", whole / 86400, whole / 3600 % 24),
    }
}

/// The seconds of a time as it is typed: `500ms`, `90s`, `1.5m`, `1h`; none for other text, and where it is not finite
/// or below 0.
pub fn seconds(text: &str) -> Option<f64> {
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let number = |(name, unit): &(&str, f64)| Some(text.strip_suffix(name)?.parse::<f64>().ok()? * unit);
    units.iter().find_map(number).filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
}

/// A column as it is called everywhere: by its name, else by its number counted from 0, as column indices do
/// everywhere.
pub fn column(names: Option<&[String]>, j: usize) -> String {
    match names.and_then(|names| names.get(j)).filter(|name| !name.is_empty()) {
        Some(name) => format!("`{name}`"),
        None => format!("column {j} (counted from 0)"),
    }
}

/// What to do about a row with this number, which is not finite.
pub fn leave_out(number: f64) -> &'static str {
    if number.is_nan() { "leave out rows with missing values" } else { "leave out rows with infinite numbers" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of every size and kind.
    fn odd() -> Vec<f64> {
        let sizes = [0.0, 1e-320, 1e-300, 1e-60, 1e-9, 9.9e-6, 3e-4, 0.049, 0.05, 0.999_999, 1.0, 9.999_999, 427.8];
        let large = [9999.4, 99_999.96, 999_999.9, 1e6, 1.6e16, 1e60, 1e300, f64::MAX, f64::INFINITY];
        let all: Vec<f64> = sizes.into_iter().chain(large).collect();
        all.iter().copied().chain(all.iter().map(|v| -v)).chain([f64::NAN]).collect()
    }

    /// The numbers in a text.
    fn numbers(text: &str) -> Vec<String> {
        let kept = text.replace(|c: char| !(c.is_ascii_digit() || ".e-+".contains(c)), " ");
        kept.split_whitespace().filter(|w| w.chars().any(|c| c.is_ascii_digit())).map(str::to_owned).collect()
    }

    #[test]
    fn every_number_is_short_and_reads_back_to_what_its_digits_say() {
        for value in odd() {
            for decimals in 0..=6 {
                let text = number(value, decimals);
                assert!(text.len() <= 12 && !text.contains("NaN"), "{value:e}: {text}");
                if value.is_finite() {
                    let back: f64 = text.parse().unwrap();
                    // Half a unit of the last decimal, or of a mantissa of at least one digit.
                    let unit = 10f64.powi(-(decimals as i32));
                    let slack =
                        if text.contains('e') { 0.5 * value.abs() } else { 0.5001 * unit.max(1e-8 * value.abs()) };
                    // The largest of all, rounded up, is beyond what a number can be.
                    let beyond = back.is_infinite() && value.abs() > 1.7e308;
                    assert!(beyond || (back - value).abs() <= slack, "{value:e} with {decimals}: {text}");
                    // What is not zero is not printed as zero, where decimals were asked for.
                    assert!(value == 0.0 || back != 0.0 || decimals == 0, "{value:e} with {decimals}: {text}");
                }
            }
            for se in odd() {
                for decimals in [3, 4, 5] {
                    let text = estimate(value, se.abs(), decimals);
                    assert!(text.chars().count() <= 34, "{value:e} ± {se:e}: {text}");
                    assert!(numbers(&text).iter().all(|n| n.len() <= 17), "{value:e} ± {se:e}: {text}");
                    assert!(!text.contains("NaN"), "{value:e} ± {se:e}: {text}");
                    assert_eq!(text.contains('±'), value.is_finite() && se.is_finite(), "{value:e} ± {se:e}: {text}");
                    assert!(!text.contains("inf") || value.is_infinite(), "{value:e} ± {se:e}: {text}");
                }
            }
        }
    }

    #[test]
    fn numbers_of_a_column_differ_where_its_rows_do() {
        for (value, deviation, words) in [
            (2_459_000.25, 0.3, "2459000.250"),
            (2_459_000.25, 1e-3, "2459000.2500"),
            (-2_459_000.25, 40.0, "-2459000.2"),
            (2_459_000.25, 4e4, "2459000"),
            (2_459_000.25, 1e6, "2.459e6"),
            (1.6e16, 1e12, "1.600000e16"),
            (1.0, 1e-6, "1.00000000"),
            (1.25e-7, 1e-12, "1.2500000e-7"),
            (0.5, 0.1, "0.50000"),
            (2_459_000.25, 0.0, "2.459e6"),
            (0.0, 1e-9, "0.00000"),
            (2_459_000.25, f64::NAN, "2.459e6"),
            (f64::INFINITY, 1.0, "inf"),
            (f64::NAN, 1.0, UNDEFINED),
        ] {
            assert_eq!(resolved(value, deviation), words, "{value:e}, deviation {deviation:e}");
        }
        for value in odd() {
            for deviation in odd().into_iter().map(f64::abs) {
                let text = resolved(value, deviation);
                assert!(text.len() <= WIDE, "{value:e}, deviation {deviation:e}: {text}");
                // Two numbers a deviation apart are told apart, where twelve characters can hold their difference: of
                // these a sign, a point and a power of ten take seven.
                let other = value + deviation;
                if (1e-4 * value.abs()..1e300).contains(&deviation) && deviation > 1e-290 && other.is_finite() {
                    assert_ne!(text, resolved(other, deviation), "{value:e}, deviation {deviation:e}");
                }
            }
        }
    }

    #[test]
    fn estimates_have_the_digits_that_their_errors_leave() {
        for (value, se, words) in [
            (2.831_23, 0.004_12, "2.8312 ± 0.0041"),
            (-5.161, 0.351, "-5.1610 ± 0.3510"),
            (427.812_3, 12.3, "427.81 ± 12.30"),
            (1612.3, 1203.1, "1612 ± 1203"),
            (1.6e16, 1.6e16, "(1.60 ± 1.60)e16"),
            (-1.234_567e9, 2.5e4, "(-1.234567 ± 0.000025)e9"),
            (1e12, 1.0, "1.000000e12 ± 1.0e0"),
            (3.0, 2.1e7, "(0.00 ± 2.10)e7"),
            (2.5, 0.0, "2.5000 ± 0.0000"),
            (2.5, 1e-14, "2.5000 ± 1.0e-14"),
            (3e-9, 2e-10, "3.000e-9 ± 2.0e-10"),
            (2.5, f64::NAN, "2.5000"),
            (f64::NEG_INFINITY, f64::NAN, "-inf"),
            (f64::NAN, 1.0, "undefined"),
        ] {
            assert_eq!(estimate(value, se, 4), words, "{value:e} ± {se:e}");
        }
        let repeated = [2.0, -0.1, 1e60, -1e-320, f64::MAX, 123_456_789.0].map(exact);
        assert_eq!(repeated, ["2", "-0.1", "1e60", "-1e-320", "1.7976931348623157e308", "123456789"]);
        assert_eq!((change(0.5, 2), change(-0.5, 2)), ("+0.50".into(), "-0.50".into()));
        assert_eq!((error(0.0), error(1.23e-7), error(f64::NAN)), ("0".into(), "1.2e-7".into(), UNDEFINED.into()));
    }

    #[test]
    fn a_mean_of_one_or_none_says_so() {
        assert_eq!(mean(f64::NAN, f64::NAN, 4, "nats", 0, "point"), "undefined: 0 points");
        assert_eq!(mean(1.5, f64::NAN, 4, "nats", 1, "point"), "1.5000 nats over 1 point (no standard error of one)");
        assert_eq!(mean(1.5, 0.25, 4, "nats", 2, "point"), "1.5000 ± 0.2500 nats over 2 points");
    }

    #[test]
    fn a_duration_has_the_units_that_fit_it() {
        let short =
            [(0.1417, "0.142 s"), (0.9999, "1.0 s"), (3.21, "3.2 s"), (119.97, "2 min 0 s"), (130.2, "2 min 10 s")];
        let long = [(3599.6, "60 min 0 s"), (7500.0, "2 h 5 min"), (1e6, "11 d 13 h"), (1e60, "1.2e55 d")];
        for (seconds, words) in short.into_iter().chain(long).chain([(f64::NAN, "an unknown time")]) {
            assert_eq!(duration(seconds), words);
        }
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        let times = [("500ms", 0.5), ("90s", 90.0), ("1.5m", 90.0), ("1h", 3600.0), ("0s", 0.0)];
        for (text, expected) in times {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in ["", "s", "90", "-1s", "infs", "NaNs", "1d"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn counts_and_columns_have_one_rule() {
        assert_eq!(
            (count(1, "row"), count(0, "row"), count(12, "row")),
            ("1 row".into(), "0 rows".into(), "12 rows".into())
        );
        let names = ["a".to_owned(), String::new()];
        assert_eq!(column(Some(&names), 0), "`a`");
        assert_eq!(
            (column(Some(&names), 1), column(None, 3)),
            ("column 1 (counted from 0)".into(), "column 3 (counted from 0)".into())
        );
    }
}
