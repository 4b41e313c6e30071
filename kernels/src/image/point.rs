//! What happens at each number of a plane by itself: scale and shift of its channel, a second plane, the activation.
//!
//! z = a ∘ (1 + s) + b + a′, h = σ(z), one pass each for a value, a tangent and their pull-backs. The pass follows its
//! convolution row of pixels by row, while the sums are in the first caches; σ costs far more than to store and load
//! them.

#![allow(unsafe_code)]

use std::ops::Range;

use cnflow_solvers::Real;

use super::ImageShape;
use crate::activation::{self, Act, Activation, Jet};
use crate::simd::{Isa, Kernel, PAIR, Scalar, Vector, dispatch, steps};
use crate::tile::{In, Out};

/// What a number becomes at the end of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// σ of it.
    Activation(Activation),
    /// at · tanh(x / at).
    Bound(u32),
}

/// The numbers that a pass goes over: rows of pixels of planes of one shape.
#[derive(Clone, Debug)]
pub struct Part {
    /// Of the planes.
    pub shape: ImageShape,
    /// Rows of pixels.
    pub rows: Range<usize>,
}

impl Part {
    fn expect(&self) {
        assert!(self.rows.end <= self.shape.height);
    }
}

/// A pass over a part, and what it reads and writes.
struct Pass<O> {
    part: Part,
    on: O,
}

/// Does something with each vector of a part: its row of the plane, its channel, its slot.
///
/// Not a function of a closure: that would not be sure to be compiled into the kernel, with the kernel's instructions.
macro_rules! each {
    ($part:ident, |$row:ident, $channel:ident, $slot:ident| $body:block) => {
        let ImageShape { width, channels, .. } = $part.shape;
        for pixel in $part.rows.start * width..$part.rows.end * width {
            for $channel in 0..channels {
                let $row = pixel * channels + $channel;
                for $slot in (0..PAIR * steps::<V>()).map(|step| step * V::WIDTH) {
                    // SAFETY: the entry of each kernel checked all planes and rows.
                    unsafe { $body }
                }
            }
        }
    };
}

#[inline(always)]
unsafe fn get<V: Vector>(plane: &In<'_, V::Elem>, row: usize, slot: usize) -> V {
    // SAFETY: the caller's.
    unsafe { V::load(plane.at(0, row).add(slot)) }
}

#[inline(always)]
unsafe fn set<V: Vector>(plane: &Out<'_, V::Elem>, row: usize, slot: usize, to: V) {
    // SAFETY: the caller's.
    unsafe { to.store(plane.at(0, row).add(slot)) }
}

#[inline(always)]
unsafe fn gain<V: Vector>(plane: &Out<'_, V::Elem>, row: usize, slot: usize, by: V) {
    // SAFETY: the caller's.
    unsafe {
        let place = plane.at(0, row).add(slot);
        V::load(place).add(by).store(place);
    }
}

/// h ← σ(a ∘ scale + shift + plus), σ′ and σ″ with it where there is room for them.
pub struct Value<'a, T> {
    /// a.
    pub a: In<'a, T>,
    /// 1 + s, one row a channel.
    pub scale: Option<In<'a, T>>,
    /// b, one row a channel.
    pub shift: Option<In<'a, T>>,
    /// A second plane.
    pub plus: Option<In<'a, T>>,
    /// h; it may be where a was.
    pub h: Out<'a, T>,
    /// σ′.
    pub first: Option<Out<'a, T>>,
    /// σ″.
    pub second: Option<Out<'a, T>>,
}

/// The pass of a value.
pub fn value<T: Scalar>(isa: Isa, part: Part, curve: Option<Curve>, on: Value<'_, T>) {
    let (all, channels) = (part.shape.len(), part.shape.channels);
    part.expect();
    on.a.expect(all, 1);
    on.h.expect(all, 1);
    on.plus.iter().for_each(|plane| plane.expect(all, 1));
    on.first.iter().chain(&on.second).for_each(|plane| plane.expect(all, 1));
    on.scale.iter().chain(&on.shift).for_each(|rows| rows.expect(channels, 1));
    match curve {
        None => dispatch(isa, Pass { part, on: (Identity, on) }),
        Some(Curve::Bound(at)) => dispatch(isa, Pass { part, on: (Bounded { at: f64::from(at) }, on) }),
        Some(Curve::Activation(Activation::Tanh)) => dispatch(isa, Pass { part, on: (activation::Tanh, on) }),
        Some(Curve::Activation(Activation::Softplus)) => dispatch(isa, Pass { part, on: (activation::Softplus, on) }),
        Some(Curve::Activation(Activation::Silu)) => dispatch(isa, Pass { part, on: (activation::Silu, on) }),
        Some(Curve::Activation(Activation::Elu)) => dispatch(isa, Pass { part, on: (activation::Elu, on) }),
        Some(Curve::Activation(Activation::Relu)) => dispatch(isa, Pass { part, on: (activation::Relu, on) }),
    }
}

#[derive(Clone, Copy)]
struct Identity;

impl Act for Identity {
    #[inline(always)]
    fn jet<V: Vector>(self, a: V) -> Jet<V> {
        Jet { value: a, first: V::splat(V::Elem::ONE), second: V::splat(V::Elem::ZERO) }
    }
}

/// at · tanh(x / at).
#[derive(Clone, Copy)]
struct Bounded {
    at: f64,
}

impl Act for Bounded {
    #[inline(always)]
    fn jet<V: Vector>(self, a: V) -> Jet<V> {
        let (at, part) = (V::splat(V::Elem::of(self.at)), V::splat(V::Elem::of(1.0 / self.at)));
        let Jet { value, first, second } = activation::Tanh.jet(a.mul(part));
        Jet { value: value.mul(at), first, second: second.mul(part) }
    }
}

impl<T: Scalar, A: Act> Kernel<T> for Pass<(A, Value<'_, T>)> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { part, on: (act, Value { a, scale, shift, plus, h, first, second }) } = self;
        each!(part, |row, channel, slot| {
            let mut z: V = get(&a, row, slot);
            match (&scale, &shift) {
                (Some(scale), Some(shift)) => z = z.fma(get(scale, channel, slot), get(shift, channel, slot)),
                (None, Some(shift)) => z = z.add(get(shift, channel, slot)),
                (_, None) => {}
            }
            if let Some(plus) = &plus {
                z = z.add(get(plus, row, slot));
            }
            let jet = act.jet(z);
            set(&h, row, slot, jet.value);
            if let Some(first) = &first {
                set(first, row, slot, jet.first);
            }
            if let Some(second) = &second {
                set(second, row, slot, jet.second);
            }
        });
    }
}

/// ż = ȧ ∘ scale + plus, raw ← ż and ḣ ← σ′ ∘ ż.
pub struct Tangent<'a, T> {
    /// ȧ.
    pub a: In<'a, T>,
    /// 1 + s.
    pub scale: Option<In<'a, T>>,
    /// The tangent of the second plane.
    pub plus: Option<In<'a, T>>,
    /// σ′ and raw, where there is an activation.
    pub bend: Option<(In<'a, T>, Out<'a, T>)>,
    /// ḣ; it may be where ȧ was.
    pub h: Out<'a, T>,
}

/// The pass of a tangent.
pub fn tangent<T: Scalar>(isa: Isa, part: Part, on: Tangent<'_, T>) {
    let (all, channels) = (part.shape.len(), part.shape.channels);
    part.expect();
    on.a.expect(all, 1);
    on.h.expect(all, 1);
    on.plus.iter().for_each(|plane| plane.expect(all, 1));
    on.scale.iter().for_each(|rows| rows.expect(channels, 1));
    if let Some((first, raw)) = &on.bend {
        first.expect(all, 1);
        raw.expect(all, 1);
    }
    dispatch(isa, Pass { part, on });
}

impl<T: Scalar> Kernel<T> for Pass<Tangent<'_, T>> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { part, on: Tangent { a, scale, plus, bend, h } } = self;
        each!(part, |row, channel, slot| {
            let mut z: V = get(&a, row, slot);
            if let Some(scale) = &scale {
                z = z.mul(get(scale, channel, slot));
            }
            if let Some(plus) = &plus {
                z = z.add(get(plus, row, slot));
            }
            if let Some((first, raw)) = &bend {
                set(raw, row, slot, z);
                z = z.mul(get(first, row, slot));
            }
            set(&h, row, slot, z);
        });
    }
}

/// z̄ = σ′ ∘ h̄ \[+ σ″ ∘ gathered\], the cotangents of scale and shift, and ā = z̄ ∘ scale: of a value, or of a
/// tangent.
pub struct Back<'a, T> {
    /// h̄.
    pub h_bar: In<'a, T>,
    /// σ′, where there is an activation.
    pub first: Option<In<'a, T>>,
    /// What an activation's second derivative has to do with it.
    pub bend: Bend<'a, T>,
    /// 1 + s, and a or ȧ.
    pub scale: Option<(In<'a, T>, In<'a, T>)>,
    /// The cotangents of s, one row a channel: gains z̄ ∘ a.
    pub scale_bar: Option<Out<'a, T>>,
    /// Those of b: gains z̄.
    pub shift_bar: Option<Out<'a, T>>,
    /// The cotangent of the second plane, and whether it holds something already.
    pub plus_bar: Option<(Out<'a, T>, bool)>,
    /// ā; it may be where h̄ was.
    pub a_bar: Out<'a, T>,
    /// Whether ā holds something already.
    pub add: bool,
}

/// The share of σ″.
pub enum Bend<'a, T> {
    /// None.
    No,
    /// Of a tangent: gathered += raw ∘ h̄.
    Gather(In<'a, T>, Out<'a, T>),
    /// Of a value: z̄ += σ″ ∘ gathered.
    Join(In<'a, T>, In<'a, T>),
}

/// The pass of a pull-back.
pub fn back<T: Scalar>(isa: Isa, part: Part, on: Back<'_, T>) {
    let (all, channels) = (part.shape.len(), part.shape.channels);
    part.expect();
    on.h_bar.expect(all, 1);
    on.a_bar.expect(all, 1);
    on.first.iter().for_each(|plane| plane.expect(all, 1));
    on.plus_bar.iter().for_each(|(plane, _)| plane.expect(all, 1));
    on.scale_bar.iter().chain(&on.shift_bar).for_each(|rows| rows.expect(channels, 1));
    if let Some((scale, a)) = &on.scale {
        scale.expect(channels, 1);
        a.expect(all, 1);
    }
    match &on.bend {
        Bend::No => {}
        Bend::Gather(raw, gathered) => {
            raw.expect(all, 1);
            gathered.expect(all, 1);
        }
        Bend::Join(second, gathered) => {
            second.expect(all, 1);
            gathered.expect(all, 1);
        }
    }
    dispatch(isa, Pass { part, on });
}

impl<T: Scalar> Kernel<T> for Pass<Back<'_, T>> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { part, on } = self;
        each!(part, |row, channel, slot| {
            let h_bar: V = get(&on.h_bar, row, slot);
            let mut z = h_bar;
            if let Some(first) = &on.first {
                z = z.mul(get(first, row, slot));
            }
            match &on.bend {
                Bend::No => {}
                Bend::Gather(raw, gathered) => gain(gathered, row, slot, get::<V>(raw, row, slot).mul(h_bar)),
                Bend::Join(second, gathered) => {
                    z = get::<V>(second, row, slot).fma(get(gathered, row, slot), z);
                }
            }
            if let Some(shift) = &on.shift_bar {
                gain(shift, channel, slot, z);
            }
            match &on.plus_bar {
                Some((plus, true)) => gain(plus, row, slot, z),
                Some((plus, false)) => set(plus, row, slot, z),
                None => {}
            }
            if let Some((scale, a)) = &on.scale {
                if let Some(of_scale) = &on.scale_bar {
                    gain(of_scale, channel, slot, z.mul(get(a, row, slot)));
                }
                z = z.mul(get(scale, channel, slot));
            }
            if on.add {
                gain(&on.a_bar, row, slot, z);
            } else {
                set(&on.a_bar, row, slot, z);
            }
        });
    }
}
