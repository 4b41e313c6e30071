//! Colours: two themes, the tones of marks, and the map from density to colour.
//!
//! The light map runs from white to a dark violet with lightness falling linearly in OKLab
//! (Ottosson 2020), so that equal ratios look equal and zero density is white; the dark one is inferno.

/// Red, green, blue.
pub(super) type Rgb = [u8; 3];

/// Light for print, dark for slides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Theme {
    /// Dark marks on white.
    #[default]
    Light,
    /// Light marks on near black.
    Dark,
}

/// What a mark stands for; the theme gives the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Of the data: blue.
    Data,
    /// Of the model: vermilion.
    Model,
    /// A reference: grey.
    Reference,
    /// The k-th of many, from nine that the colour-blind can tell apart (Okabe & Ito 2008, and three of ours).
    Series(usize),
    /// A place on the colour wheel, in 256ths of a turn, equally light all around: for what has a direction or an
    /// order.
    Hue(u8),
}

/// So many tones of a series differ.
const SERIES: usize = 9;

/// Blue, vermilion, green, purple, sky, orange of Okabe & Ito; brown, indigo, wine, dark enough to differ from those.
const SERIES_LIGHT: [Rgb; SERIES] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [86, 180, 233],
    [230, 159, 0],
    [96, 60, 0],
    [51, 34, 136],
    [136, 34, 85],
];

/// The same six, lighter; straw, crimson, pale green.
const SERIES_DARK: [Rgb; SERIES] = [
    [40, 120, 220],
    [228, 96, 20],
    [0, 168, 120],
    [220, 130, 180],
    [130, 205, 255],
    [240, 170, 20],
    [245, 240, 140],
    [176, 64, 88],
    [190, 225, 180],
];

/// How a density becomes a place on the colour map.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Scale {
    /// In proportion.
    #[default]
    Linear,
    /// By a power, (p / max)^γ; γ = ½ lifts what is faint.
    Power(f64),
    /// By the logarithm, over so many decades below the maximum.
    Log(f64),
}

impl Scale {
    /// The place in \[0, 1\] of `value` where `max` is the end of the map.
    pub(super) fn place(self, value: f64, max: f64) -> f64 {
        let part = value / max;
        if part.is_nan() || part <= 0.0 {
            return 0.0;
        }
        let place = match self {
            Self::Linear => part,
            Self::Power(gamma) => part.powf(gamma),
            Self::Log(decades) => 1.0 + part.log10() / decades,
        };
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }
}

impl Theme {
    pub(super) fn background(self) -> Rgb {
        match self {
            Self::Light => [255, 255, 255],
            Self::Dark => [13, 13, 18],
        }
    }

    /// Text and frames.
    pub(super) fn ink(self) -> Rgb {
        match self {
            Self::Light => [38, 38, 42],
            Self::Dark => [226, 226, 230],
        }
    }

    /// Frames and ticks.
    pub(super) fn frame(self) -> Rgb {
        self.faded(self.ink(), 0.55)
    }

    /// Lines behind the curves.
    pub(super) fn guide(self) -> Rgb {
        self.faded(self.ink(), 0.11)
    }

    /// `colour` at this strength over the background.
    pub(super) fn faded(self, colour: Rgb, strength: f64) -> Rgb {
        blend(self.background(), colour, strength)
    }

    pub(super) fn tone(self, tone: Tone) -> Rgb {
        match (tone, self) {
            (Tone::Data, Self::Light) => [31, 87, 145],
            (Tone::Data, Self::Dark) => [108, 176, 240],
            (Tone::Model, Self::Light) => [206, 82, 20],
            (Tone::Model, Self::Dark) => [255, 150, 80],
            (Tone::Reference, _) => self.faded(self.ink(), 0.62),
            (Tone::Series(k), Self::Light) => SERIES_LIGHT[k % SERIES],
            (Tone::Series(k), Self::Dark) => SERIES_DARK[k % SERIES],
            (Tone::Hue(k), Self::Light) => oklch(0.64, 0.17, std::f64::consts::TAU * f64::from(k) / 256.0),
            (Tone::Hue(k), Self::Dark) => oklch(0.76, 0.14, std::f64::consts::TAU * f64::from(k) / 256.0),
        }
    }

    /// The density map in 1024 steps.
    pub(super) fn map(self) -> Vec<Rgb> {
        (0..1024)
            .map(|i| {
                let s = f64::from(i) / 1023.0;
                match self {
                    Self::Light => ink_wash(s),
                    Self::Dark => {
                        // The map's first tenth is darker than the background, and starts from it.
                        let c = colorous::INFERNO.eval_continuous(0.1 + 0.9 * s).as_array();
                        blend(self.background(), c, s * 16.0)
                    }
                }
            })
            .collect()
    }
}

/// `a` turned towards `b` by `part`.
pub(super) fn blend(a: Rgb, b: Rgb, part: f64) -> Rgb {
    let part = part.clamp(0.0, 1.0);
    std::array::from_fn(|i| (f64::from(a[i]) + part * (f64::from(b[i]) - f64::from(a[i]))).round() as u8)
}

/// White, pale blue, blue, dark violet: lightness 1 − 0.76 s, hue 228° to 308°.
fn ink_wash(s: f64) -> Rgb {
    let lightness = 1.0 - 0.76 * s;
    let chroma = 0.13 * (std::f64::consts::PI * s.powf(0.85)).sin().powf(1.1) + 0.06 * s * s;
    let hue = (228.0 + 80.0 * s).to_radians();
    oklch(lightness, chroma, hue)
}

/// OKLCh to sRGB.  Ref: Ottosson, *A perceptual color space for image processing* (2020).
fn oklch(lightness: f64, chroma: f64, hue: f64) -> Rgb {
    let (a, b) = (chroma * hue.cos(), chroma * hue.sin());
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548 * b).powi(3);
    [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701 * s,
    ]
    .map(|linear| {
        let c = linear.clamp(0.0, 1.0);
        let encoded = if c <= 0.003_130_8 { 12.92 * c } else { 1.055 * c.powf(1.0 / 2.4) - 0.055 };
        (255.0 * encoded).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_density_is_more_contrast_and_none_is_the_background() {
        for theme in [Theme::Light, Theme::Dark] {
            let map = theme.map();
            assert_eq!(map[0], theme.background());
            // Luma (Rec. 709); a step of the map may fall within the rounding of a byte.
            let luma = |c: &Rgb| 0.2126 * f64::from(c[0]) + 0.7152 * f64::from(c[1]) + 0.0722 * f64::from(c[2]);
            let away = |c: &Rgb| (luma(c) - luma(&theme.background())).abs();
            assert!(map.windows(2).all(|w| away(&w[1]) > away(&w[0]) - 1.0), "{theme:?}");
            assert!(away(&map[1023]) > 180.0, "{theme:?}");
        }
    }

    /// OKLab of linear light.
    fn lab(linear: [f64; 3]) -> [f64; 3] {
        let [r, g, b] = linear.map(|c| c.clamp(0.0, 1.0));
        let l = (0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b).cbrt();
        let m = (0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b).cbrt();
        let s = (0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b).cbrt();
        [
            0.210_454_255_3 * l + 0.793_617_785 * m - 0.004_072_046_8 * s,
            1.977_998_495_1 * l - 2.428_592_205 * m + 0.450_593_709_9 * s,
            0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766 * s,
        ]
    }

    #[test]
    fn the_tones_of_a_series_differ_for_every_eye_and_from_the_page() {
        // Full eyes, and those without red or green cones.  Ref: Machado, Oliveira & Fernandes (2009), table 1.
        let eyes: [[[f64; 3]; 3]; 3] = [
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
            [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        ];
        let linear = |c: Rgb| {
            c.map(|b| f64::from(b) / 255.0)
                .map(|c| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) })
        };
        let light = |c: Rgb| linear(c).iter().zip([0.2126, 0.7152, 0.0722]).map(|(c, w)| c * w).sum::<f64>();
        for theme in [Theme::Light, Theme::Dark] {
            let tones: Vec<Rgb> = (0..SERIES).map(|k| theme.tone(Tone::Series(k))).collect();
            for (i, a) in tones.iter().enumerate() {
                let (one, page) = (light(*a), light(theme.background()));
                // Okabe & Ito's sky and orange on white have 2.3.
                assert!((one.max(page) + 0.05) / (one.min(page) + 0.05) > 2.2, "{theme:?} {a:?}");
                for b in &tones[..i] {
                    for eye in &eyes {
                        let seen = |c: &Rgb| lab(eye.map(|row| row.iter().zip(linear(*c)).map(|(w, c)| w * c).sum()));
                        let away = seen(a).iter().zip(seen(b)).map(|(p, q)| (p - q).powi(2)).sum::<f64>().sqrt();
                        // What Okabe & Ito's nearest pair is apart, green and purple for a deuteranope.
                        assert!(away > 0.076, "{theme:?} {a:?} {b:?}: {away}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_scale_runs_from_nothing_to_the_maximum() {
        for scale in [Scale::Linear, Scale::Power(0.5), Scale::Log(4.0)] {
            assert_eq!(
                (scale.place(0.0, 3.0), scale.place(3.0, 3.0), scale.place(f64::INFINITY, 3.0)),
                (0.0, 1.0, 1.0)
            );
            let places: Vec<f64> = (1..=100).map(|i| scale.place(0.03 * f64::from(i), 3.0)).collect();
            assert!(places.windows(2).all(|w| w[0] < w[1]), "{scale:?}");
        }
        assert!((Scale::Log(4.0).place(0.03, 3.0) - 0.5).abs() < 1e-12);
    }
}
