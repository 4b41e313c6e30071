//! The columns of the table.

use cnflow::check::Ranks;
use cnflow::html::Better;
use cnflow::words;

use super::Row;

/// A column: its name in files, its head, and its value for a row.
pub struct Field {
    pub key: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    pub about: &'static str,
    pub better: Better,
    pub value: fn(&Row<'_>) -> Option<f64>,
    pub text: fn(&Row<'_>) -> String,
}

/// A number that exists.
pub fn number(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// `2.8312 ± 0.0041`.
fn with_error((value, se): (f64, f64)) -> String {
    words::estimate(value, se, 4)
}

/// A number, or a dash for what does not exist.
fn or_dash(value: f64, text: impl Fn(f64) -> String) -> String {
    if value.is_finite() { text(value) } else { "–".into() }
}

/// `3e-7`.
fn roughly(value: f64) -> String {
    or_dash(value, |v| format!("{v:.0e}"))
}

/// `0.0123`.
fn four(value: f64) -> String {
    words::number(value, 4)
}

/// `203 k`.
fn rate(value: f64) -> String {
    match value {
        v if !v.is_finite() => "–".into(),
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e4 => format!("{:.0} k", v / 1e3),
        v if v >= 1e3 => format!("{:.1} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

/// Every column.
pub const FIELDS: [Field; 18] = [
    Field {
        key: "nll",
        title: "NLL",
        unit: "nats",
        about: "mean −log p of held-out rows ± its standard error (where the truth is known, that of the excess).",
        better: Better::Lower,
        value: |r| number(r.nll().0),
        text: |r| with_error(r.nll()),
    },
    Field {
        key: "bits_per_dim",
        title: "bits/dim",
        unit: "",
        about: "the NLL of images in bits for each of their numbers, NLL / (D ln 2): what a code for the grey levels needs at most.",
        better: Better::Lower,
        value: |r| r.bits().and_then(|bits| number(bits.0)),
        text: |r| r.bits().map_or_else(|| "–".into(), |(bits, se)| words::estimate(bits, se, 3)),
    },
    Field {
        key: "nll_median",
        title: "median",
        unit: "nats",
        about: "median −log p of the same rows: shown where few rows carry the mean.",
        better: Better::Lower,
        value: |r| number(r.dominance().median).filter(|_| r.dominance().few.is_some()),
        text: |r| or_dash(r.dominance().median, four),
    },
    Field {
        key: "excess",
        title: "excess",
        unit: "nats",
        about: "mean log p_true − log p on the same rows: how far above the best possible NLL.",
        better: Better::Lower,
        value: |r| r.excess().map(|e| e.0),
        text: |r| r.excess().map_or_else(|| "–".into(), with_error),
    },
    Field {
        key: "params",
        title: "parameters",
        unit: "",
        about: "fitted parameters.",
        better: Better::Neither,
        value: |r| number(r.mean(|m| m.entry.params as f64)),
        text: |r| format!("{:.0}", r.mean(|m| m.entry.params as f64)),
    },
    Field {
        key: "train_seconds",
        title: "training",
        unit: "s",
        about: "wall-clock time of the training, with its validations.",
        better: Better::Neither,
        value: |r| number(r.mean(|m| m.entry.seconds)),
        text: |r| or_dash(r.mean(|m| m.entry.seconds), |s| words::number(s, 1)),
    },
    Field {
        key: "steps",
        title: "steps",
        unit: "",
        about: "steps of the optimiser.",
        better: Better::Neither,
        value: |r| number(r.mean(|m| m.entry.steps as f64)),
        text: |r| format!("{:.0}", r.mean(|m| m.entry.steps as f64)),
    },
    Field {
        key: "samples_per_second",
        title: "samples",
        unit: "1/s",
        about: "samples a second, 10 000 (of images 1000) at a time on all threads.",
        better: Better::Higher,
        value: |r| number(r.mean(|m| m.metrics.sample_rate)),
        text: |r| rate(r.mean(|m| m.metrics.sample_rate)),
    },
    Field {
        key: "densities_per_second",
        title: "densities",
        unit: "1/s",
        about: "log-densities a second, up to 10 000 (of images 1000) at a time on all threads.",
        better: Better::Higher,
        value: |r| number(r.mean(|m| m.metrics.density_rate)),
        text: |r| rate(r.mean(|m| m.metrics.density_rate)),
    },
    Field {
        key: "work",
        title: "work",
        unit: "",
        about: "velocity evaluations of a sample (NFE), or couplings.",
        better: Better::Neither,
        value: |r| {
            r.layers().map(|n| n as f64).or_else(|| number(r.mean(|m| m.metrics.nfe_sample))).filter(|w| *w > 0.0)
        },
        text: |r| match r.layers() {
            Some(couplings) => words::count(couplings as u64, "coupling"),
            None if r.seeds[0].metrics.nfe_sample > 0.0 => {
                format!("{} NFE", words::number(r.mean(|m| m.metrics.nfe_sample), 0))
            }
            None => "–".into(),
        },
    },
    Field {
        key: "round_trip_mean",
        title: "round trip",
        unit: "σ",
        about: "mean over the model's samples of |x − f(f⁻¹(x))|, its greatest column, in deviations of the data.",
        better: Better::Lower,
        value: |r| number(r.mean(|m| m.metrics.round_trip_mean)),
        text: |r| roughly(r.mean(|m| m.metrics.round_trip_mean)),
    },
    Field {
        key: "round_trip_max",
        title: "worst",
        unit: "σ",
        about: "the worst round trip of 10 000 samples (of 1000 images).",
        better: Better::Lower,
        value: |r| number(r.worst(|m| m.metrics.round_trip_max)),
        text: |r| roughly(r.worst(|m| m.metrics.round_trip_max)),
    },
    Field {
        key: "failed",
        title: "failed",
        unit: "rows",
        about: "held-out rows without a density, over all seeds: the means leave them out, so the NLL is too optimistic.",
        better: Better::Lower,
        value: |r| Some(r.total(|m| m.metrics.failed) as f64).filter(|n| *n > 0.0),
        text: |r| r.total(|m| m.metrics.failed).to_string(),
    },
    Field {
        key: "outside",
        title: "outside",
        unit: "rows",
        about: "held-out rows outside the support, over all seeds: log p is -inf there, and the NLL is that of the others.",
        better: Better::Lower,
        value: |r| Some(r.total(|m| m.metrics.outside) as f64).filter(|n| *n > 0.0),
        text: |r| r.total(|m| m.metrics.outside).to_string(),
    },
    Field {
        key: "mass",
        title: "∫p",
        unit: "",
        about: "the integral of the density: on a grid in one and two dimensions, else by importance sampling; – where that is too noisy; of the first seed, under the first row's condition.",
        better: Better::Neither,
        value: |r| r.seeds[0].metrics.mass,
        text: |r| r.seeds[0].metrics.mass.map_or_else(|| "–".into(), four),
    },
    Field {
        key: "calibration",
        title: "calibration",
        unit: "",
        about: "distance of the expected coverage from its level, the greatest; of held-out rows among samples under their own conditions, of the first seed; in brackets what chance alone reaches in 5 of 100 cases.",
        better: Better::Lower,
        value: |r| r.ranks().map(Ranks::distance),
        text: |r| {
            r.ranks().map_or_else(
                || "–".into(),
                |ranks| format!("{} ({})", words::number(ranks.distance(), 3), words::number(ranks.noise(), 3)),
            )
        },
    },
    Field {
        key: "energy",
        title: "energy",
        unit: "σ",
        about: "energy distance of samples to the data, in deviations; in brackets that of two halves of the data.",
        better: Better::Lower,
        value: |r| number(r.mean(|m| m.metrics.energy)),
        text: |r| {
            let (energy, floor) = (r.mean(|m| m.metrics.energy), roughly(r.seeds[0].metrics.energy_floor));
            or_dash(energy, |energy| format!("{} ({floor})", words::error(energy)))
        },
    },
    Field {
        key: "sliced",
        title: "SW₂",
        unit: "σ",
        about: "sliced Wasserstein distance of samples to the data, in deviations; in brackets that of two halves of the data.",
        better: Better::Lower,
        value: |r| number(r.mean(|m| m.metrics.sliced)),
        text: |r| {
            let (sliced, floor) = (r.mean(|m| m.metrics.sliced), r.seeds[0].metrics.sliced_floor);
            or_dash(sliced, |sliced| format!("{} ({})", four(sliced), or_dash(floor, four)))
        },
    },
];
