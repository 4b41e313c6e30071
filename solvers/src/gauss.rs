//! Gauss-Legendre rules on \[0, 1\].

#![allow(clippy::excessive_precision)] // tables keep the digits of their source

/// An n-point rule, exact for polynomials of degree 2n − 1.
#[derive(Debug)]
pub struct Gauss {
    /// Nodes in (0, 1), increasing.
    pub nodes: &'static [f64],
    /// Weights; they add up to 1.
    pub weights: &'static [f64],
}

impl Gauss {
    /// The number of nodes.
    pub fn points(&self) -> usize {
        self.nodes.len()
    }

    /// The rule's error on an interval of length h is this constant times h^{2n+1} times the 2n-th divided
    /// difference of the integrand.  Ref: Davis & Rabinowitz, *Methods of Numerical Integration*, 2.7.
    pub fn error_constant(&self) -> f64 {
        let n = self.points() as u32;
        let factorial = |m: u32| (1..=m).map(f64::from).product::<f64>();
        factorial(n).powi(4) / (f64::from(2 * n + 1) * factorial(2 * n).powi(2))
    }

    /// The rule whose order matches a method of this order: its error is no larger than the path's.
    pub fn for_order(order: u32) -> &'static Gauss {
        match order {
            0..=3 => &RULES[0],
            4 | 5 => &RULES[1],
            6 | 7 => &RULES[2],
            _ => &RULES[3],
        }
    }
}

/// The rules of 2 to 5 points.  Ref: Abramowitz & Stegun, table 25.4, moved to \[0, 1\].
pub static RULES: [Gauss; 4] = [
    Gauss { nodes: &[0.211_324_865_405_187_12, 0.788_675_134_594_812_9], weights: &[0.5, 0.5] },
    Gauss {
        nodes: &[0.112_701_665_379_258_31, 0.5, 0.887_298_334_620_741_7],
        weights: &[5.0 / 18.0, 4.0 / 9.0, 5.0 / 18.0],
    },
    Gauss {
        nodes: &[0.069_431_844_202_973_71, 0.330_009_478_207_571_87, 0.669_990_521_792_428_1, 0.930_568_155_797_026_3],
        weights: &[
            0.173_927_422_568_726_93,
            0.326_072_577_431_273_07,
            0.326_072_577_431_273_07,
            0.173_927_422_568_726_93,
        ],
    },
    Gauss {
        nodes: &[
            0.046_910_077_030_668_0,
            0.230_765_344_947_158_45,
            0.5,
            0.769_234_655_052_841_6,
            0.953_089_922_969_332,
        ],
        weights: &[
            0.118_463_442_528_094_54,
            0.239_314_335_249_683_23,
            0.284_444_444_444_444_44,
            0.239_314_335_249_683_23,
            0.118_463_442_528_094_54,
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_exact_to_their_degree_and_know_their_error_beyond_it() {
        for rule in &RULES {
            let n = rule.points() as i32;
            let integral = |p: i32| rule.nodes.iter().zip(rule.weights).map(|(x, w)| w * x.powi(p)).sum::<f64>();
            for p in 0..2 * n {
                let exact = 1.0 / f64::from(p + 1);
                assert!((integral(p) - exact).abs() < 1e-15, "{n} points, x^{p}: {}", integral(p) - exact);
            }
            // The divided difference of x^{2n} is 1 everywhere.
            let defect = 1.0 / f64::from(2 * n + 1) - integral(2 * n);
            let predicted = rule.error_constant();
            assert!((defect / predicted - 1.0).abs() < 1e-6, "{n} points: {defect:e} against {predicted:e}");
        }
    }
}
