//! The net of a coupling of images: convolutions of 3 × 3, of single pixels, and of 3 × 3 again.
//!
//! Where channels pass, the plane that it is given has these. Where pixels pass, it has all channels, zeros where
//! pixels are changed, and one channel more that is 1 where they pass: a zero is a grey level too. A condition scales
//! and shifts the channels behind the first convolution, by an embedding of its own.

use cnflow_kernels::{
    Activation, Embedding, ImageNet, ImageNetSpec, ImageOp, ImageRoom, ImageShape, ImageWorkspace, Keep, Passive,
    Scalar, Tile,
};
use cnflow_solvers::lanes::LANE_BLOCK;

use super::plane::Part;
use crate::Result;

/// Units of the embedding of a condition.
const EMBEDDING: usize = 32;

/// What a coupling of images depends on, but for its transform and its parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule<'a> {
    /// Of the plane.
    pub shape: ImageShape,
    /// The level of the plane.
    pub level: usize,
    /// What is changed.
    pub change: Part,
    /// Channels behind each convolution but the last.
    pub hidden: &'a [usize],
    /// The nonlinearity.
    pub activation: Activation,
    /// Numbers for each row that is changed.
    pub numbers: usize,
    /// Columns of the condition.
    pub condition_dim: usize,
}

impl Rule<'_> {
    /// Whether a row `[pixel][channel]` of the plane is changed.
    fn changes(&self, row: usize) -> bool {
        let ImageShape { width, channels, .. } = self.shape;
        let pixel = row / channels;
        self.change.holds(self.level, channels, (pixel / width, pixel % width, row % channels))
    }

    /// Rows of the plane that pass, and that are changed.
    pub fn parts(&self) -> (Vec<usize>, Vec<usize>) {
        (0..self.shape.len()).partition(|row| !self.changes(*row))
    }

    /// Channels of the first pixel that pass, or are changed, where channels do.
    fn channels(&self, changed: bool) -> usize {
        (0..self.shape.channels).filter(|row| self.changes(*row) == changed).count()
    }

    /// Whether pixels pass, or channels.
    fn of_pixels(&self) -> bool {
        self.change.is_of_pixels(self.level)
    }

    /// The net.
    pub fn net(&self) -> ImageNetSpec {
        let (inputs, changed) = match self.of_pixels() {
            true => (self.shape.channels.saturating_add(1), self.shape.channels),
            // A net without anything to go by is given zeros.
            false => (self.channels(false).max(1), self.channels(true)),
        };
        let given = self.condition_dim > 0;
        let act = Some(self.activation);
        let mut ops = Vec::new();
        for (i, channels) in self.hidden.iter().copied().enumerate() {
            let kernel = if i == 0 { 3 } else { 1 };
            let modulated = given && i == 0;
            ops.push(ImageOp::Conv { kernel, channels, activation: act.filter(|_| !modulated) });
            ops.extend(modulated.then_some(ImageOp::Modulate { scale: true, activation: act }));
        }
        ops.push(ImageOp::Conv { kernel: 3, channels: changed.saturating_mul(self.numbers), activation: None });
        if given && self.hidden.is_empty() {
            ops.push(ImageOp::Modulate { scale: true, activation: None });
        }
        let embedding = given.then(|| Embedding { layers: vec![EMBEDDING], activation: self.activation });
        let shape = ImageShape { channels: inputs, ..self.shape };
        ImageNetSpec { shape, aux: if given { self.condition_dim } else { 0 }, embedding, ops }
    }

    /// Names and shapes of the net's tensors, in order, and which of them are of the last layer.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>, bool)> {
        let net = self.net();
        let (Ok(params), Ok(shapes)) = (net.params(), net.shapes()) else { return Vec::new() };
        let mut tensors = Vec::new();
        let mut layer = |name: String, shape: Vec<usize>, last: bool| {
            let outputs = shape[0];
            tensors.push((format!("{name}.weight"), shape, last));
            tensors.push((format!("{name}.bias"), vec![outputs], last));
        };
        let mut inputs = net.aux;
        for (k, range) in params.embedding.iter().enumerate() {
            let outputs = range.len() / (inputs + 1);
            // With nothing hidden the modulations come last.
            let last = self.hidden.is_empty() && k + 1 == params.embedding.len();
            layer(format!("net.embedding.{k}"), vec![outputs, inputs], last);
            inputs = outputs;
        }
        let last = net.ops.iter().rposition(|op| matches!(op, ImageOp::Conv { .. }));
        for (k, (op, x)) in net.ops.iter().zip(&shapes).enumerate() {
            if let ImageOp::Conv { kernel, channels, .. } = *op {
                layer(format!("net.ops.{k}"), vec![channels, kernel, kernel, x.channels], last == Some(k));
            }
        }
        tensors
    }
}

/// The net with its parameters, and where its inputs and outputs lie.
pub(super) struct Convolution<T> {
    net: ImageNet<T>,
    condition: Passive<T>,
    /// The input's row of each row that passes.
    inputs: Vec<usize>,
    /// Rows of the input that are 1; those that are neither are 0.
    ones: Vec<usize>,
    /// The output's row of each changed row's first number; some rows of the output are for nobody where `sparse`.
    outputs: Vec<usize>,
    /// Rows from one number to the next.
    stride: usize,
    sparse: bool,
}

impl<T: Scalar> Convolution<T> {
    /// The net of a rule with parameters `theta`.
    ///
    /// # Errors
    /// As [`ImageNet::new`].
    pub fn new(rule: &Rule<'_>, theta: &[T]) -> Result<Self> {
        let spec = rule.net();
        let (pass, change) = rule.parts();
        let (all, given) = (rule.shape.channels, spec.shape.channels);
        let of_pixels = rule.of_pixels();
        let inputs: Vec<usize> = match of_pixels {
            true => pass.iter().map(|row| row / all * given + row % all).collect(),
            false => (0..pass.len()).collect(),
        };
        let ones = if of_pixels { inputs.iter().map(|row| row / given * given + all).collect() } else { Vec::new() };
        let stride = if of_pixels { all } else { rule.channels(true) };
        // Numbers of a pixel are [number][channel].
        let outputs = match of_pixels {
            true => change.iter().map(|row| row / all * rule.numbers * all + row % all).collect(),
            false => (0..change.len()).map(|k| k / stride * rule.numbers * stride + k % stride).collect(),
        };
        let sparse = of_pixels || inputs.len() < spec.shape.len();
        let net = ImageNet::new(&spec, theta)?;
        let mut condition = net.passive(0..spec.aux);
        condition.set(theta);
        Ok(Self { net, condition, inputs, ones, outputs, stride, sparse })
    }

    /// Its net.
    pub fn spec(&self) -> &ImageNetSpec {
        self.net.spec()
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        self.net.n_params()
    }

    /// The output's row of each changed row's first number, and the rows from one number to the next.
    pub fn outputs(&self) -> (&[usize], usize) {
        (&self.outputs, self.stride)
    }

    /// The input's row of each row that passes.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// Scratch for one block of lanes, of passes that are kept as far as `keep`.
    pub fn workspace(&self, keep: Keep) -> ImageWorkspace<T> {
        self.net.lean_workspace(keep)
    }

    /// What a pull-back uses.
    pub fn room(&self) -> ImageRoom<T> {
        self.net.room()
    }

    /// Runs the net on the rows `pass` of `x` and the condition.
    pub fn run(
        &self,
        (x, pass): (&Tile<f64>, &[usize]),
        condition: &Tile<T>,
        workspace: &mut ImageWorkspace<T>,
        keep: Keep,
    ) {
        let input = workspace.input();
        if self.sparse {
            input.clear(1);
        }
        for (to, from) in self.inputs.iter().zip(pass) {
            let (to, from) = (input.at_mut(0, *to), x.at(0, *from));
            (0..LANE_BLOCK).for_each(|l| to[l] = T::of(from[l]));
        }
        self.ones.iter().for_each(|row| input.at_mut(0, *row).fill(T::ONE));
        let aux = workspace.aux();
        if aux.rows() > 0 {
            (0..condition.rows()).for_each(|row| *aux.at_mut(0, row) = *condition.at(0, row));
        }
        self.net.run(workspace, keep);
    }

    /// Before the cotangents of numbers are set: those that nobody sets are zero.
    pub fn clear_outputs(&self, workspace: &mut ImageWorkspace<T>) {
        if self.sparse {
            workspace.output_bar().clear(1);
        }
    }

    /// From the cotangent of the output to that of the input; `g` gains the gradient.
    pub fn back(&self, workspace: &mut ImageWorkspace<T>, g: &mut [T]) {
        self.net.run_back(workspace, false, true, g);
    }

    /// `out`, `[c, lanes]`, ← the cotangent of the condition, behind [`Convolution::back`].
    pub fn condition_back(&self, workspace: &ImageWorkspace<T>, out: &mut Tile<T>) {
        self.net.aux_back(&self.condition, workspace, out);
    }
}
