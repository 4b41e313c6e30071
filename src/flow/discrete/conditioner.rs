//! What a coupling asks: a net on a tile of lanes; where it is a relu net of one number, its first two layers by pieces.
//!
//! Of two columns each coupling passes one, so that this is every relu flow in the plane. Which of the two computes
//! is a matter of the sizes alone: a row's bits depend on nothing else.

use cnf_solvers::lanes::LANE_BLOCK;

use crate::Result;
use crate::velocity::dense::{Keep, Stack, Workspace};
use crate::velocity::pieces::{Pieces, Seats};
use crate::velocity::tile::Tile;
use crate::velocity::{Activation, Scalar};

/// A coupling's net with its parameters.
pub(super) struct Conditioner<T> {
    sizes: Vec<usize>,
    front: Option<Pieces<T>>,
    /// The length of the front's part of θ.
    front_len: usize,
    /// All layers, or those that follow the front.
    rest: Stack<T>,
}

/// The scratch of one caller.
pub(super) struct Desk<T> {
    pub net: Workspace<T>,
    front: Option<Front<T>>,
}

struct Front<T> {
    x: Tile<f64>,
    x_bar: Tile<T>,
    seats: Seats<T>,
}

impl<T: Scalar> Desk<T> {
    /// Of no net.
    pub fn empty() -> Self {
        Self { net: Workspace::empty(), front: None }
    }
}

impl<T: Scalar> Conditioner<T> {
    /// A net of layers `sizes[0] → sizes[1] → …`, whose first `leading` inputs are differentiated.
    pub fn new(sizes: Vec<usize>, activation: Activation, leading: usize, theta: &[T]) -> Result<Self> {
        if let ([1, h1, h2, _, ..], Activation::Relu) = (&sizes[..], activation) {
            let (widths, front_len) = ([*h1, *h2], Pieces::<T>::n_params([*h1, *h2]));
            let (own, others) = theta.split_at(front_len);
            let rest = Stack::new(&sizes[2..], activation, *h2, others)?;
            return Ok(Self { front: Some(Pieces::new(widths, own)), front_len, rest, sizes });
        }
        let rest = Stack::new(&sizes, activation, leading, theta)?;
        Ok(Self { front: None, front_len: 0, rest, sizes })
    }

    /// The number of units of each layer, the input first.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Scratch for up to `lanes` lanes.
    pub fn desk(&self, lanes: usize) -> Desk<T> {
        let front = self.front.as_ref().map(|_| Front {
            x: Tile::new(1, lanes),
            x_bar: Tile::new(1, lanes),
            seats: Seats::new(lanes),
        });
        Desk { net: self.rest.workspace(lanes), front }
    }

    /// Puts the columns `pass` of `x` and the condition before the net, and runs it.
    pub fn ask(
        &self,
        (x, pass): (&Tile<f64>, &[usize]),
        condition: &Tile<T>,
        desk: &mut Desk<T>,
        keep: Keep,
        blocks: usize,
    ) {
        desk.net.blocks = blocks;
        if let (Some(front), Some(own)) = (&self.front, &mut desk.front) {
            for block in 0..blocks {
                let to = own.x.at_mut(block, 0);
                match pass {
                    [column] => *to = *x.at(block, *column),
                    _ if condition.rows() > 0 => *to = condition.at(block, 0).map(|c| c.wide()),
                    // Without anything to go by, a net's input is one 0.
                    _ => *to = [0.0; LANE_BLOCK],
                }
            }
            front.forward(&own.x, &mut own.seats, &mut desk.net.h[0], blocks);
        } else {
            let input = &mut desk.net.h[0];
            for block in 0..blocks {
                for (row, column) in pass.iter().enumerate() {
                    let from = x.at(block, *column);
                    let to = input.at_mut(block, row);
                    (0..LANE_BLOCK).for_each(|l| to[l] = T::of(from[l]));
                }
                for row in 0..condition.rows() {
                    *input.at_mut(block, pass.len() + row) = *condition.at(block, row);
                }
            }
        }
        self.rest.run(&mut desk.net, keep);
    }

    /// The length of what a pull-back gathers.
    pub fn n_slopes(&self) -> usize {
        self.front.as_ref().map_or(0, Pieces::n_sums) + self.rest.n_params()
    }

    /// From the cotangent in `desk.net.out_bar` to that of the inputs ([`Conditioner::in_bar`]); `g` gains the slopes.
    pub fn back(&self, desk: &mut Desk<T>, g: &mut [T]) {
        let Desk { net, front: own } = desk;
        let (sums, others) = g.split_at_mut(g.len() - self.rest.n_params());
        self.rest.run_back(net, None, true, others);
        if let (Some(front), Some(own)) = (&self.front, own) {
            front.back(&own.seats, (&net.h[0], &net.in_bar), sums, &mut own.x_bar, net.blocks);
        }
    }

    /// The cotangent of the inputs that are differentiated.
    pub fn in_bar<'a>(&self, desk: &'a Desk<T>) -> &'a Tile<T> {
        desk.front.as_ref().map_or(&desk.net.in_bar, |front| &front.x_bar)
    }

    /// The gradient by θ of what pull-backs gathered.
    pub fn fold(&self, slopes: &[T], g: &mut [T]) {
        let (sums, others) = slopes.split_at(slopes.len() - self.rest.n_params());
        let (own, rest) = g.split_at_mut(self.front_len);
        rest.copy_from_slice(others);
        if let Some(front) = &self.front {
            front.fold(sums, own);
        }
    }
}
