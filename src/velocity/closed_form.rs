//! The trace of nets with one and two hidden layers, in closed form at any dimension.
//!
//! One: tr = Σ_q m_q σ′(a₁)_q with m = diag(W₁ₓ W₂). Two: tr = σ′(a₂)ᵀ M σ′(a₁) with M = W₂ ∘ (W₁ₓ W₃)ᵀ, where
//! W₁ₓ are the columns of W₁ that multiply x. m and M depend on θ alone; their gradients are summed in
//! the extra part of the gradient buffer and spread over θ once ([`ClosedForm::fold`]). Tangents would cost d
//! times a velocity instead.

use cnflow_kernels::Scalar;
use cnflow_kernels::product::Panels;

/// m or M, packed.
#[derive(Clone, Debug)]
pub enum ClosedForm<T> {
    /// One hidden layer.
    One {
        /// m, one a unit.
        m: Vec<T>,
    },
    /// Two hidden layers.
    Two {
        /// Mᵀ as given, `[H₁, H₂]`, the numbers of which `forward` and `back` are made.
        m: Vec<T>,
        /// M, packed.
        forward: Panels<T>,
        /// Mᵀ, packed.
        back: Panels<T>,
    },
}

/// The layer sizes that matter, and where the weights lie in θ.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// Layer sizes, the input first; the last is d.
    pub sizes: &'a [usize],
}

impl Shape<'_> {
    fn weight_at(&self, layer: usize) -> usize {
        self.sizes.windows(2).take(layer).map(|pair| (pair[0] + 1) * pair[1]).sum()
    }
}

impl<T: Scalar> ClosedForm<T> {
    /// Room for the form of a net of these sizes, where it has one.
    pub fn new(shape: Shape<'_>) -> Option<Self> {
        match *shape.sizes {
            [_, h, _] => Some(Self::One { m: vec![T::ZERO; h] }),
            [_, h1, h2, _] => {
                Some(Self::Two { m: vec![T::ZERO; h1 * h2], forward: Panels::new(h2, h1), back: Panels::new(h1, h2) })
            }
            _ => None,
        }
    }

    /// The number of entries of m or M.
    pub fn len(&self) -> usize {
        match self {
            Self::One { m } | Self::Two { m, .. } => m.len(),
        }
    }

    /// Computes m or M from θ, in place.
    pub fn set(&mut self, shape: Shape<'_>, theta: &[T]) {
        let (inputs, h1) = (shape.sizes[0], shape.sizes[1]);
        let dim = shape.sizes[shape.sizes.len() - 1];
        let w1 = theta;
        match self {
            Self::One { m } => {
                let w2 = &theta[shape.weight_at(1)..];
                for (q, m) in m.iter_mut().enumerate() {
                    *m = (0..dim).fold(T::ZERO, |sum, i| w1[q * inputs + i].mul_add(w2[i * h1 + q], sum));
                }
            }
            Self::Two { m, forward, back } => {
                let h2 = shape.sizes[2];
                let (w2, w3) = (&theta[shape.weight_at(1)..], &theta[shape.weight_at(2)..]);
                // K[q, p] = Σᵢ W₁[q, i] W₃[i, p], at first in the place of M[p, q]: all along rows.
                m.fill(T::ZERO);
                for (q, row) in m.chunks_exact_mut(h2).enumerate() {
                    for (w1, w3) in w1[q * inputs..][..dim].iter().zip(w3.chunks_exact(h2)) {
                        row.iter_mut().zip(w3).for_each(|(k, w3)| *k += *w1 * *w3);
                    }
                    row.iter_mut().enumerate().for_each(|(p, k)| *k *= w2[p * h1 + q]);
                }
                forward.pack(|p, q| m[q * h2 + p]);
                back.pack(|q, p| m[q * h2 + p]);
            }
        }
    }

    /// Spreads the gradient of m or M, behind that of θ in the buffer, over θ's.
    pub fn fold(&self, shape: Shape<'_>, theta: &[T], gradient: &mut [T]) {
        let (inputs, h1) = (shape.sizes[0], shape.sizes[1]);
        let dim = shape.sizes[shape.sizes.len() - 1];
        let (g, m_bar) = gradient.split_at_mut(theta.len());
        let second = shape.weight_at(1);
        match self {
            Self::One { .. } => {
                for (q, &m_bar) in m_bar.iter().enumerate() {
                    for i in 0..dim {
                        let (w1, w2) = (q * inputs + i, second + i * h1 + q);
                        g[w1] += m_bar * theta[w2];
                        g[w2] += m_bar * theta[w1];
                    }
                }
            }
            Self::Two { .. } => {
                let h2 = shape.sizes[2];
                let third = shape.weight_at(2);
                for p in 0..h2 {
                    for q in 0..h1 {
                        let (w2, m_bar) = (second + p * h1 + q, m_bar[p * h1 + q]);
                        let k_bar = m_bar * theta[w2];
                        let mut k = T::ZERO;
                        for i in 0..dim {
                            let (w1, w3) = (q * inputs + i, third + i * h2 + p);
                            k = theta[w1].mul_add(theta[w3], k);
                            g[w1] += k_bar * theta[w3];
                            g[w3] += k_bar * theta[w1];
                        }
                        g[w2] += m_bar * k;
                    }
                }
            }
        }
        m_bar.fill(T::ZERO);
    }
}
