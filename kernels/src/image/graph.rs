//! A spec as nodes on planes: which buffer each operation reads and writes, and what its pull-back finds there.
//!
//! An activation, a shift and an addition happen in place where nobody else needs the plane before them; with a scale
//! that plane is kept, since the scale's cotangent needs it. On the way back the cotangent of a plane that is also
//! added later is written first by the addition, and then gains what comes from the operation behind the plane.

use std::ops::Range;

use super::conv::{Conv, ConvSize};
use super::point::Curve;
use super::regroup::Regroup;
use super::{ImageNetSpec, ImageOp, ImageShape};
use crate::{Result, Scalar};

/// The nodes of a net, and its planes.
#[derive(Clone, Debug)]
pub(super) struct Graph<T> {
    pub nodes: Vec<Node<T>>,
    /// Of each buffer; the image is the first, the result the last.
    pub shapes: Vec<ImageShape>,
    /// Of each activation.
    pub bends: Vec<ImageShape>,
    /// The rows of modulations that are scales.
    pub scales: Vec<Range<usize>>,
    /// Rows of modulations.
    pub modulations: usize,
    /// Nodes that are run together, row of pixels by row, forward and back.
    pub forward: Vec<Range<usize>>,
    pub back: Vec<Range<usize>>,
}

/// From one buffer to another, or to the same.
#[derive(Clone, Debug)]
pub(super) struct Node<T> {
    pub kind: Kind<T>,
    pub input: usize,
    pub output: usize,
    /// On the way back the input's cotangent holds something already.
    pub add: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Kind<T> {
    /// With its part of θ.
    Conv(Conv<T>, Range<usize>),
    Regroup(Regroup),
    Point(Point),
}

/// What happens at each number by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Point {
    /// The first row of scales, and of shifts, among the modulations.
    pub scale: Option<usize>,
    pub shift: Option<usize>,
    /// A second plane, and whether on the way back its cotangent holds something already.
    pub plus: Option<(usize, bool)>,
    /// With the number of its buffers.
    pub curve: Option<(Curve, usize)>,
}

impl<T: Scalar> Graph<T> {
    /// Of a valid spec, with zeros for parameters.
    pub fn new(spec: &ImageNetSpec) -> Result<Self> {
        let (planes, params) = (spec.shapes()?, spec.params()?.ops);
        let mut graph = Self {
            nodes: vec![],
            shapes: vec![spec.shape],
            bends: vec![],
            scales: vec![],
            modulations: 0,
            forward: vec![],
            back: vec![],
        };
        // The buffer of each plane.
        let mut at = vec![0];
        for (index, op) in spec.ops.iter().enumerate() {
            let (x, y, input) = (planes[index], planes[index + 1], at[index]);
            let kind = match *op {
                ImageOp::Conv { kernel, channels, .. } => {
                    let conv = Conv::new(ConvSize { x, outputs: channels, kernel });
                    Some(Kind::Conv(conv, params[index].clone()))
                }
                ImageOp::SpaceToDepth { factor } => Some(Kind::Regroup(Regroup::to_depth(x, factor))),
                ImageOp::DepthToSpace { factor, .. } => Some(Kind::Regroup(Regroup::to_space(y, factor))),
                _ => None,
            };
            let mut output = input;
            if let Some(kind) = kind {
                output = graph.plane(y);
                graph.nodes.push(Node { kind, input, output, add: false });
            }
            let point = graph.point(op, x.channels, y, &at);
            if point.curve.is_some() || point.shift.is_some() || point.plus.is_some() {
                // In place behind a node of the same operation, or where nobody else reads the plane before.
                let again = |op: &ImageOp| matches!(op, ImageOp::Add { plane, .. } if *plane == index);
                let alone = input != 0 && point.scale.is_none() && !spec.ops.iter().any(again);
                let before = output;
                if output == input && !alone {
                    output = graph.plane(y);
                }
                graph.nodes.push(Node { kind: Kind::Point(point), input: before, output, add: false });
            }
            at.push(output);
        }
        graph.mark();
        graph.group();
        Ok(graph)
    }

    /// Takes the parameters of the convolutions from θ, in place.
    pub fn set_params(&mut self, theta: &[T]) {
        for node in &mut self.nodes {
            if let Kind::Conv(conv, params) = &mut node.kind {
                conv.set_params(&theta[params.clone()]);
            }
        }
    }

    fn plane(&mut self, shape: ImageShape) -> usize {
        self.shapes.push(shape);
        self.shapes.len() - 1
    }

    fn point(&mut self, op: &ImageOp, channels: usize, shape: ImageShape, at: &[usize]) -> Point {
        let mut point = Point::default();
        if let ImageOp::Modulate { scale, .. } = *op {
            let from = self.modulations;
            point.scale = scale.then_some(from);
            let shift = if scale { from + channels } else { from };
            (point.shift, self.modulations) = (Some(shift), shift + channels);
            self.scales.extend(scale.then_some(from..shift));
        }
        if let ImageOp::Add { plane, .. } = *op {
            point.plus = Some((at[plane], false));
        }
        point.curve = op.curve().map(|curve| {
            self.bends.push(shape);
            (curve, self.bends.len() - 1)
        });
        point
    }

    /// Finds, in the order of the way back, which cotangents hold something already.
    fn mark(&mut self) {
        let mut holds = vec![false; self.shapes.len()];
        for node in self.nodes.iter_mut().rev() {
            if let Kind::Point(Point { plus: Some((plane, add)), .. }) = &mut node.kind {
                *add = std::mem::replace(&mut holds[*plane], true);
            }
            if node.input != node.output {
                node.add = std::mem::replace(&mut holds[node.input], true);
            }
        }
    }

    /// Groups on the way forward: a node, and all that happens at each number of its result by itself. On the way back:
    /// all that happened at each number of its plane before, and the node.
    fn group(&mut self) {
        let is_point = |k: usize| matches!(self.nodes[k].kind, Kind::Point(_));
        let n = self.nodes.len();
        let cuts = |is_cut: &dyn Fn(usize) -> bool| {
            let mut cuts: Vec<usize> = (1..n).filter(|k| is_cut(*k)).collect();
            cuts.insert(0, 0);
            cuts.push(n);
            cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
        };
        let (forward, back) = (cuts(&|k| !is_point(k)), cuts(&|k| !is_point(k - 1)));
        (self.forward, self.back) = (forward, back);
    }
}
