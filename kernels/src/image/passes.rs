//! The passes of a net of operations on images: value, tangent, and the pull-backs of both.

use std::ops::Range;

use super::graph::{Kind, Node, Point};
use super::point::{self, Back, Bend, Part};
use super::workspace::{Bends, Form, ImageRoom, ImageWorkspace, backward, onward};
use super::{ImageNet, ImageShape};
use crate::net::Passive;
use crate::simd::{Isa, Scalar};
use crate::{Keep, Tile};

/// Rows of a plane, each 16 lanes, that nodes of a group work on in turn: 32 KiB of f32.
const CHUNK: usize = 512;

/// Ranges of rows of pixels, from the top.
fn chunks(shape: ImageShape) -> impl Iterator<Item = Range<usize>> {
    let rows = (CHUNK / (shape.width * shape.channels)).clamp(1, shape.height);
    (0..shape.height).step_by(rows).map(move |top| top..(top + rows).min(shape.height))
}

/// What is pulled back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Value,
    /// With what tangents gathered.
    ValueJoined,
    Tangent,
}

impl<T: Scalar> ImageNet<T> {
    /// Scratch for all passes over one block of lanes.
    pub fn workspace(&self) -> ImageWorkspace<T> {
        ImageWorkspace::new(self, Form::Full)
    }

    /// Scratch for values that are kept as far as `keep`, [`Keep::Value`] or [`Keep::First`]: without tangents, and
    /// with cotangents while an [`ImageRoom`] lends them. For a net whose values are pulled back much later, as one of
    /// many layers is.
    pub fn lean_workspace(&self, keep: Keep) -> ImageWorkspace<T> {
        ImageWorkspace::new(self, Form::Lean(keep))
    }

    /// What lean workspaces of this net's spec use in a pull-back.
    pub fn room(&self) -> ImageRoom<T> {
        ImageRoom::new(self)
    }

    /// From [`ImageWorkspace::input`] and [`ImageWorkspace::aux`] to [`ImageWorkspace::output`]; unused slots hold
    /// numbers.
    ///
    /// Keep [`Keep::First`] for tangents and for [`ImageNet::run_back`], [`Keep::Second`] to pull back tangents.
    pub fn run(&self, ws: &mut ImageWorkspace<T>, keep: Keep) {
        if let Some(net) = &self.embedding {
            ws.embed(net, &self.graph.scales, keep);
        }
        ws.begin(keep);
        self.each(|node, rows| self.value(node, ws, keep, rows));
    }

    /// From [`ImageWorkspace::direction`] to [`ImageWorkspace::end`], where the last [`ImageNet::run`] was.
    pub fn advance(&self, ws: &mut ImageWorkspace<T>) {
        debug_assert_ne!(ws.kept, Keep::Value, "a tangent needs σ′");
        self.each(|node, rows| self.tangent(node, ws, rows));
    }

    /// Each node on its way forward, with rows of pixels of its group.
    fn each(&self, mut f: impl FnMut(&Node<T>, Range<usize>)) {
        for group in &self.graph.forward {
            let nodes = &self.graph.nodes[group.clone()];
            for rows in chunks(self.graph.shapes[nodes[0].output]) {
                nodes.iter().for_each(|node| f(node, rows.clone()));
            }
        }
    }

    /// Pulls [`ImageWorkspace::output_bar`], the cotangent of the last tangent's end, back to
    /// [`ImageWorkspace::input_bar`], that of its direction; `g` (as long as θ) gains the gradient but for what passes
    /// σ″ or the embedding, which [`ImageNet::run_back`] adds. Unused slots of the cotangent hold zeros.
    pub fn retreat(&self, ws: &mut ImageWorkspace<T>, g: &mut [T]) {
        debug_assert_eq!(ws.kept, Keep::Second, "the pull-back of a tangent needs σ″");
        self.pull_back(ws, Of::Tangent, true, g);
    }

    /// From [`ImageWorkspace::output_bar`], the cotangent of y, to [`ImageWorkspace::input_bar`] where `to_x`; `g`
    /// gains the gradient.
    ///
    /// With `joined`, of the tangents too that [`ImageNet::retreat`] pulled back since the last [`ImageNet::run`].
    pub fn run_back(&self, ws: &mut ImageWorkspace<T>, joined: bool, to_x: bool, g: &mut [T]) {
        debug_assert!(ws.kept == Keep::Second || (ws.kept == Keep::First && !joined), "a pull-back needs σ′, or σ″");
        self.pull_back(ws, if joined { Of::ValueJoined } else { Of::Value }, to_x, g);
        if let Some(net) = &self.embedding {
            net.run_back(&mut ws.embedding, None, true, &mut g[self.embedding_params()]);
        }
    }

    /// The numbers of `aux` in this range, for [`ImageNet::aux_back`]; none where nothing is modulated.
    pub fn passive(&self, inputs: Range<usize>) -> Passive<T> {
        let Some(net) = &self.embedding else { return Passive::new(0..0, 0, 0) };
        let outputs = net.params(0).len() / (net.inputs() + 1);
        Passive::new(inputs, net.inputs(), outputs)
    }

    /// `out`, `[inputs, lanes]`, ← the derivatives by numbers of `aux` of what the last [`ImageNet::run_back`] pulled
    /// back.
    pub fn aux_back(&self, passive: &Passive<T>, ws: &ImageWorkspace<T>, out: &mut Tile<T>) {
        if !passive.is_empty() {
            passive.back(self.isa, &ws.embedding, out);
        }
    }

    fn pull_back(&self, ws: &mut ImageWorkspace<T>, of: Of, to_x: bool, g: &mut [T]) {
        for group in self.graph.back.iter().rev() {
            let nodes = &self.graph.nodes[group.clone()];
            let Some(last) = nodes.last() else { continue };
            if let Kind::Conv(conv, params) = &last.kind {
                let inputs = if of == Of::Tangent { &ws.dots } else { &ws.values };
                let (x, bar) = (inputs[last.input].read(), ws.bars[last.output].read());
                conv.gradient(self.isa, x, bar, of != Of::Tangent, (&mut ws.scratch, &mut g[params.clone()]));
                if last.input == 0 && !to_x {
                    continue;
                }
            }
            for rows in chunks(self.graph.shapes[last.input]) {
                for node in nodes.iter().rev() {
                    self.back(node, ws, of, rows.clone());
                }
            }
        }
    }

    fn value(&self, node: &Node<T>, ws: &mut ImageWorkspace<T>, keep: Keep, rows: Range<usize>) {
        let (x, y) = onward(&mut ws.values, node.input, node.output);
        let shape = self.graph.shapes[node.output];
        match &node.kind {
            Kind::Conv(conv, _) => conv.forward(self.isa, x, y, rows),
            Kind::Regroup(regroup) => regroup.forward(self.isa, x, y, runs(rows, shape, regroup.runs().0)),
            Kind::Point(point) => {
                let (below, above) = ws.values.split_at_mut(node.output);
                let h = above[0].write();
                let a = if node.input == node.output { h.before() } else { below[node.input].read() };
                let modulation = |row: usize| ws.modulations.read_from(row);
                let (mut first, mut second) = (None, None);
                if let (Some((_, bend)), true) = (point.curve, keep != Keep::Value) {
                    let Bends { first: of_first, second: of_second, .. } = &mut ws.bends[bend];
                    (first, second) = (Some(of_first.write()), (keep == Keep::Second).then(|| of_second.write()));
                }
                let (scale, shift) = (point.scale.map(modulation), point.shift.map(modulation));
                let plus = point.plus.map(|(plane, _)| below[plane].read());
                let curve = point.curve.map(|(curve, _)| curve);
                let on = point::Value { a, scale, shift, plus, h, first, second };
                point::value(self.isa, Part { shape, rows }, curve, on);
            }
        }
    }

    fn tangent(&self, node: &Node<T>, ws: &mut ImageWorkspace<T>, rows: Range<usize>) {
        let (x, y) = onward(&mut ws.dots, node.input, node.output);
        let shape = self.graph.shapes[node.output];
        match &node.kind {
            Kind::Conv(conv, _) => conv.tangent(self.isa, x, y, rows),
            Kind::Regroup(regroup) => regroup.forward(self.isa, x, y, runs(rows, shape, regroup.runs().0)),
            Kind::Point(point) => {
                let (below, above) = ws.dots.split_at_mut(node.output);
                let h = above[0].write();
                let a = if node.input == node.output { h.before() } else { below[node.input].read() };
                let scale = point.scale.map(|row| ws.modulations.read_from(row));
                let plus = point.plus.map(|(plane, _)| below[plane].read());
                let bend = point.curve.map(|(_, bend)| {
                    let Bends { first, raw, .. } = &mut ws.bends[bend];
                    (first.read(), raw.write())
                });
                point::tangent(self.isa, Part { shape, rows }, point::Tangent { a, scale, plus, bend, h });
            }
        }
    }

    fn back(&self, node: &Node<T>, ws: &mut ImageWorkspace<T>, of: Of, rows: Range<usize>) {
        let (isa, shape) = (self.isa, self.graph.shapes[node.input]);
        match &node.kind {
            Kind::Conv(conv, _) => {
                let (y_bar, x_bar) = backward(&mut ws.bars, node.output, node.input);
                conv.transpose(isa, y_bar, x_bar, node.add, rows);
            }
            Kind::Regroup(regroup) => {
                let (y_bar, x_bar) = backward(&mut ws.bars, node.output, node.input);
                regroup.transpose(isa, y_bar, x_bar, node.add, runs(rows, shape, regroup.runs().1));
            }
            Kind::Point(point) => point_back(isa, Part { shape, rows }, (node, point), ws, of),
        }
    }
}

/// The runs of these rows of pixels, of a plane that has `all`.
fn runs(rows: Range<usize>, shape: ImageShape, all: usize) -> Range<usize> {
    let each = all / shape.height;
    rows.start * each..rows.end * each
}

fn point_back<T: Scalar>(isa: Isa, part: Part, (node, point): (&Node<T>, &Point), ws: &mut ImageWorkspace<T>, of: Of) {
    let channels = part.shape.channels;
    let (below, above) = ws.bars.split_at_mut(node.output);
    let of_h = above[0].write();
    let h_bar = of_h.before();
    // The plane itself is its own cotangent's place where the node works in place.
    let mut of_a = (node.input == node.output).then_some(of_h);
    let mut plus_bar = None;
    for (index, tile) in below.iter_mut().enumerate() {
        if index == node.input {
            of_a = Some(tile.write());
        } else if let Some((_, holds)) = point.plus.filter(|(plane, _)| *plane == index) {
            plus_bar = Some((tile.write(), holds));
        }
    }
    let Some(a_bar) = of_a else { return };
    let (mut first, mut bend) = (None, Bend::No);
    if let Some((_, index)) = point.curve {
        let Bends { first: of_first, second, raw, gathered } = &mut ws.bends[index];
        first = Some(of_first.read());
        bend = match of {
            Of::Value => Bend::No,
            Of::ValueJoined => Bend::Join(second.read(), gathered.read()),
            Of::Tangent => Bend::Gather(raw.read(), gathered.write()),
        };
    }
    let inputs = if of == Of::Tangent { &ws.dots } else { &ws.values };
    let scale = point.scale.map(|row| (ws.modulations.read_from(row), inputs[node.input].read()));
    // A tangent has no shift. Scales lie right before the shifts of their operation.
    let bars = &mut ws.embedding.output_bar;
    let (mut scale_bar, mut shift_bar) = (None, None);
    match (point.scale, point.shift) {
        (Some(scale), Some(shift)) => {
            debug_assert_eq!(scale + channels, shift);
            let (scales, shifts) = bars.write_two(scale, shift);
            (scale_bar, shift_bar) = (Some(scales), (of != Of::Tangent).then_some(shifts));
        }
        (None, Some(shift)) => shift_bar = (of != Of::Tangent).then(|| bars.write_from(shift)),
        _ => {}
    }
    let on = Back { h_bar, first, bend, scale, scale_bar, shift_bar, plus_bar, a_bar, add: node.add };
    point::back(isa, part, on);
}
