//! What becomes of the sums of a product while they are still in registers.
//!
//! One epilogue for each use of a sum in a forward pass, a tangent and their pull-backs. [`Epilogue`] is for kernels
//! that are compiled with it; [`Output`] is the same choice at run time, made once a call.

#![allow(unsafe_code)]

use crate::activation::{self, Act, Activation};
use crate::simd::{PAIR, Scalar, Vector};
use crate::tile::{In, Out};

/// What becomes of the sums.
pub trait Epilogue<T: Scalar> {
    /// Panics unless the tiles have room for `rows` by `blocks`.
    fn expect(&self, rows: usize, blocks: usize);
    /// Takes two vectors of row `row` in block `block`, which begin at slot `slot` of the block.
    ///
    /// # Safety
    /// As checked by [`Epilogue::expect`].
    unsafe fn put<V: Vector<Elem = T>>(&self, sums: [V; PAIR], block: usize, row: usize, slot: usize);
}

/// y ← sum.
pub struct Store<'a, T>(pub Out<'a, T>);

/// h ← σ(sum).
pub struct Value<'a, T, A> {
    /// σ.
    pub act: A,
    /// h.
    pub h: Out<'a, T>,
}

/// h ← σ(sum), s ← σ′(sum).
pub struct WithFirst<'a, T, A> {
    /// σ.
    pub act: A,
    /// h.
    pub h: Out<'a, T>,
    /// σ′.
    pub first: Out<'a, T>,
}

/// h ← σ(sum), s ← σ′(sum), c ← σ″(sum).
pub struct WithSecond<'a, T, A> {
    /// σ.
    pub act: A,
    /// h.
    pub h: Out<'a, T>,
    /// σ′.
    pub first: Out<'a, T>,
    /// σ″.
    pub second: Out<'a, T>,
}

/// y ← sum · by.
pub struct Scaled<'a, T> {
    /// y.
    pub y: Out<'a, T>,
    /// The factor.
    pub by: In<'a, T>,
}

/// y ← sum · by\[0\]: one factor a lane.
pub struct ScaledByLane<'a, T> {
    /// y.
    pub y: Out<'a, T>,
    /// One row.
    pub by: In<'a, T>,
}

/// raw ← sum, y ← sum · by: a tangent before and behind an activation.
pub struct Tangent<'a, T> {
    /// Before.
    pub raw: Out<'a, T>,
    /// Behind.
    pub y: Out<'a, T>,
    /// σ′.
    pub by: In<'a, T>,
}

/// gathered += raw · sum, y ← sum · by: a tangent's cotangent on its way back through an activation.
pub struct Cotangent<'a, T> {
    /// Before the activation.
    pub y: Out<'a, T>,
    /// σ′.
    pub by: In<'a, T>,
    /// The tangent before the activation.
    pub raw: In<'a, T>,
    /// What σ″ will multiply.
    pub gathered: Out<'a, T>,
}

/// y ← sum · by + second · gathered: a value's cotangent on its way back, joined by the trace's.
pub struct Joined<'a, T> {
    /// Before the activation.
    pub y: Out<'a, T>,
    /// σ′.
    pub by: In<'a, T>,
    /// σ″.
    pub second: In<'a, T>,
    /// As gathered by [`Cotangent`].
    pub gathered: In<'a, T>,
}

/// The body of an epilogue: its tiles, and what is done with one vector at `offset` of each row.
macro_rules! epilogue {
    ($name:ident $(<$act:ident>)?, [$($tile:tt),+], |$this:ident, $sum:ident, $at:ident| $body:block) => {
        impl<T: Scalar $(, $act: Act)?> Epilogue<T> for $name<'_, T $(, $act)?> {
            fn expect(&self, rows: usize, blocks: usize) {
                $(epilogue!(@expect self, $tile, rows, blocks);)+
            }
            #[inline(always)]
            unsafe fn put<V: Vector<Elem = T>>(&self, sums: [V; PAIR], block: usize, row: usize, slot: usize) {
                let $this = self;
                for (half, $sum) in sums.into_iter().enumerate() {
                    let $at = (block, row, slot + half * V::WIDTH);
                    // SAFETY: the caller checked the shapes by `expect`.
                    unsafe { $body }
                }
            }
        }
    };
    (@expect $this:ident, (lane $tile:ident), $rows:ident, $blocks:ident) => { $this.$tile.expect(1, $blocks) };
    (@expect $this:ident, $tile:tt, $rows:ident, $blocks:ident) => { $this.$tile.expect($rows, $blocks) };
}

/// Where a vector stands: block, row, slot.
type Place = (usize, usize, usize);

#[inline(always)]
unsafe fn get<V: Vector>(tile: &In<'_, V::Elem>, (block, row, slot): Place) -> V {
    // SAFETY: the caller's.
    unsafe { V::load(tile.at(block, row).add(slot)) }
}

#[inline(always)]
unsafe fn set<V: Vector>(tile: &Out<'_, V::Elem>, (block, row, slot): Place, value: V) {
    // SAFETY: the caller's.
    unsafe { value.store(tile.at(block, row).add(slot)) }
}

epilogue!(Store, [0], |this, sum, at| { set(&this.0, at, sum) });
epilogue!(Value<A>, [h], |this, sum, at| { set(&this.h, at, this.act.jet(sum).value) });
epilogue!(WithFirst<A>, [h, first], |this, sum, at| {
    let jet = this.act.jet(sum);
    set(&this.h, at, jet.value);
    set(&this.first, at, jet.first);
});
epilogue!(WithSecond<A>, [h, first, second], |this, sum, at| {
    let jet = this.act.jet(sum);
    set(&this.h, at, jet.value);
    set(&this.first, at, jet.first);
    set(&this.second, at, jet.second);
});
epilogue!(Scaled, [y, by], |this, sum, at| { set(&this.y, at, sum.mul(get(&this.by, at))) });
epilogue!(ScaledByLane, [y, (lane by)], |this, sum, at| {
    set(&this.y, at, sum.mul(get(&this.by, (at.0, 0, at.2))));
});
epilogue!(Tangent, [raw, y, by], |this, sum, at| {
    set(&this.raw, at, sum);
    set(&this.y, at, sum.mul(get(&this.by, at)));
});
epilogue!(Cotangent, [y, by, raw, gathered], |this, sum, at| {
    let place = this.gathered.at(at.0, at.1).add(at.2);
    get::<V>(&this.raw, at).fma(sum, V::load(place)).store(place);
    set(&this.y, at, sum.mul(get(&this.by, at)));
});
epilogue!(Joined, [y, by, second, gathered], |this, sum, at| {
    let joined = get::<V>(&this.second, at).mul(get(&this.gathered, at));
    set(&this.y, at, sum.fma(get(&this.by, at), joined));
});

/// Where the rows that an operation computes go, and what happens to them on the way.
pub enum Output<'a, T> {
    /// y ← sum.
    Store(Store<'a, T>),
    /// h ← σ(sum).
    Value(Activation, Out<'a, T>),
    /// h ← σ(sum), and σ′(sum).
    WithFirst(Activation, [Out<'a, T>; 2]),
    /// h ← σ(sum), σ′(sum) and σ″(sum).
    WithSecond(Activation, [Out<'a, T>; 3]),
    /// A tangent passes an activation.
    Tangent(Tangent<'a, T>),
    /// A value's cotangent passes an activation on its way back.
    Scaled(Scaled<'a, T>),
    /// As [`Output::Scaled`], joined by what tangents gathered.
    Joined(Joined<'a, T>),
    /// A tangent's cotangent passes an activation on its way back.
    Cotangent(Cotangent<'a, T>),
}

/// A computation written for any epilogue.
pub trait WithEpilogue<T: Scalar> {
    /// Does it.
    fn run<E: Epilogue<T>>(self, epilogue: E);
}

impl<T: Scalar> Output<'_, T> {
    /// Runs a computation with the epilogue that this is.
    pub fn apply<W: WithEpilogue<T>>(self, with: W) {
        match self {
            Self::Value(activation, _) | Self::WithFirst(activation, _) | Self::WithSecond(activation, _) => {
                match activation {
                    Activation::Tanh => self.activate(activation::Tanh, with),
                    Activation::Softplus => self.activate(activation::Softplus, with),
                    Activation::Silu => self.activate(activation::Silu, with),
                    Activation::Elu => self.activate(activation::Elu, with),
                    Activation::Relu => self.activate(activation::Relu, with),
                }
            }
            Self::Store(epilogue) => with.run(epilogue),
            Self::Tangent(epilogue) => with.run(epilogue),
            Self::Scaled(epilogue) => with.run(epilogue),
            Self::Joined(epilogue) => with.run(epilogue),
            Self::Cotangent(epilogue) => with.run(epilogue),
        }
    }

    fn activate<A: Act, W: WithEpilogue<T>>(self, act: A, with: W) {
        match self {
            Self::Value(_, h) => with.run(Value { act, h }),
            Self::WithFirst(_, [h, first]) => with.run(WithFirst { act, h, first }),
            Self::WithSecond(_, [h, first, second]) => with.run(WithSecond { act, h, first, second }),
            // `apply` sends only the three.
            _ => {}
        }
    }
}
