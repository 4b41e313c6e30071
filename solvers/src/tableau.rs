//! Runge-Kutta methods as data.

/// An explicit Runge-Kutta method with an embedded error estimate and a continuous extension.
///
/// Stage i is k_i = f(t + c_i h, y + h Σ_{j<i} a_ij k_j); the step is y + h Σ b_i k_i.
/// Whether the last stage is the first of the next step (FSAL) is derived, never declared.
#[derive(Debug)]
pub struct Tableau {
    /// The name, as users type it.
    pub name: &'static str,
    /// Order of the propagated solution.
    pub order: u32,
    /// Order of the embedded solution; 0 where there is none (fixed-step methods).
    pub embedded_order: u32,
    /// Rows of the strictly lower triangle: `a[i]` has i entries; `a[0]` is empty. The rows after the first
    /// `b.len()` are extra stages that only the dense output needs (evaluated after a step is accepted).
    pub a: &'static [&'static [f64]],
    /// Nodes, one for each row of `a`.
    pub c: &'static [f64],
    /// Weights, one for each stage of a step.
    pub b: &'static [f64],
    /// b − b̂, one for each stage of a step; empty for fixed-step methods.
    pub e: &'static [f64],
    /// A second error estimate, used only by dop853 (Hairer's combination of a 5th- and a 3rd-order one); else empty.
    pub e_low: &'static [f64],
    /// Continuous extension y(t + θh) = y + h Σ_i b_i(θ) k_i: for each row of `a` the coefficients of
    /// θ, θ², θ³, … of b_i(θ). b_i(1) = b_i.
    pub dense: &'static [&'static [f64]],
    /// Order of the continuous extension (its local error is O(h^{dense_order + 1})).
    pub dense_order: u32,
    /// h·ρ beyond which the step is limited by stability, not accuracy (real axis).
    pub stability: f64,
}

impl Tableau {
    /// The number of stages of a step.
    pub fn stages(&self) -> usize {
        self.b.len()
    }

    /// The number of extra stages for dense output.
    pub fn extra_stages(&self) -> usize {
        self.a.len() - self.b.len()
    }

    /// The last stage is evaluated at (t + h, y₁): it is the first of the next step.
    pub fn fsal(&self) -> bool {
        let s = self.stages();
        s > 1 && self.c[s - 1] == 1.0 && self.b[s - 1] == 0.0 && self.a[s - 1].iter().zip(self.b).all(|(a, b)| a == b)
    }

    /// The longest stretch of time between two neighbouring slopes that enter the step or its error estimate, as a part
    /// of a step, where steps are equal and follow each other: what begins and ends within it leaves no trace.
    pub fn longest_gap(&self) -> f64 {
        let counts = |i: &usize| self.b[*i] != 0.0 || self.e.get(*i).is_some_and(|e| *e != 0.0);
        let mut nodes: Vec<f64> = (0..self.stages()).filter(counts).map(|i| self.c[i]).collect();
        nodes.sort_by(f64::total_cmp);
        // The first of the next step.
        nodes.extend(nodes.first().map(|first| 1.0 + first));
        nodes.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
    }

    /// Degree in θ of the dense output.
    pub fn dense_degree(&self) -> usize {
        self.dense.iter().map(|polynomial| polynomial.len()).max().unwrap_or(1)
    }

    /// Has an error estimate.
    pub fn adaptive(&self) -> bool {
        !self.e.is_empty()
    }
}
