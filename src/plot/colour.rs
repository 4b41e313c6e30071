//! Colours: two themes, the tones of marks, and the map from density to colour.
//!
//! The light map runs from white to a dark violet with lightness falling linearly in OKLab
//! (Ottosson 2020), so that equal ratios look equal and no density is no ink; the dark one is inferno.

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
    /// What was observed: blue.
    Data,
    /// What the model says: vermilion.
    Model,
    /// A reference: grey.
    Reference,
    /// The k-th of many, from a palette that the colour-blind can read (Okabe & Ito 2008).
    Series(usize),
    /// A place on the colour wheel, in 256ths of a turn, equally light all around: for what has a direction or an order.
    Hue(u8),
}

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
        const OKABE_ITO: [Rgb; 7] = [
            [0, 114, 178],
            [213, 94, 0],
            [0, 158, 115],
            [204, 121, 167],
            [86, 180, 233],
            [230, 159, 0],
            [120, 120, 120],
        ];
        match (tone, self) {
            (Tone::Data, Self::Light) => [31, 87, 145],
            (Tone::Data, Self::Dark) => [108, 176, 240],
            (Tone::Model, Self::Light) => [206, 82, 20],
            (Tone::Model, Self::Dark) => [255, 150, 80],
            (Tone::Reference, _) => self.faded(self.ink(), 0.62),
            (Tone::Series(k), _) => OKABE_ITO[k % OKABE_ITO.len()],
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
