//! The nets of operations on images that every law holds for, and the plainest loops that compute the same.

use cnflow_kernels::{Activation, Embedding, ImageNet, ImageNetSpec, ImageOp, ImageParams, ImageShape, Scalar};

use crate::cases::{numbers, sigma};

/// `[y][x][channel]`.
struct Plane {
    shape: ImageShape,
    data: Vec<f64>,
}

impl Plane {
    fn new(shape: ImageShape, f: impl Fn(usize, usize, usize) -> f64) -> Self {
        let ImageShape { height, width, channels } = shape;
        let mut data = Vec::new();
        for y in 0..height {
            for x in 0..width {
                (0..channels).for_each(|c| data.push(f(y, x, c)));
            }
        }
        Self { shape, data }
    }

    /// Zero outside.
    fn at(&self, y: isize, x: isize, c: usize) -> f64 {
        let ImageShape { height, width, channels } = self.shape;
        let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
        if inside { self.data[(y as usize * width + x as usize) * channels + c] } else { 0.0 }
    }
}

fn dense(theta: &mut &[f64], x: &[f64], outputs: usize) -> Vec<f64> {
    let (w, rest) = theta.split_at(x.len() * outputs);
    let (b, rest) = rest.split_at(outputs);
    *theta = rest;
    (0..outputs).map(|o| b[o] + w[o * x.len()..].iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).collect()
}

/// y at one image, by loops.
pub fn by_loops(spec: &ImageNetSpec, mut theta: &[f64], x: &[f64], aux: &[f64]) -> Vec<f64> {
    let mut planes = vec![Plane { shape: spec.shape, data: x.to_vec() }];
    let channels: Vec<usize> = spec.shapes().unwrap().iter().map(|shape| shape.channels).collect();
    let of_op = |(op, c): (&ImageOp, &usize)| match op {
        ImageOp::Modulate { scale, .. } => c * if *scale { 2 } else { 1 },
        _ => 0,
    };
    let rows: usize = spec.ops.iter().zip(&channels).map(of_op).sum();
    let mut modulations = Vec::new();
    if rows > 0 {
        let embedding = spec.embedding.as_ref().unwrap();
        let mut h = aux.to_vec();
        for &width in &embedding.layers {
            h = dense(&mut theta, &h, width).into_iter().map(|a| sigma(embedding.activation, a)).collect();
        }
        modulations = dense(&mut theta, &h, rows);
    }
    let mut modulations = &modulations[..];
    for op in &spec.ops {
        let from = planes.last().unwrap();
        let ImageShape { height, width, channels } = from.shape;
        let mut plane = match *op {
            ImageOp::Conv { kernel, channels: out, .. } => {
                let (w, rest) = theta.split_at(out * kernel * kernel * channels);
                let (b, rest) = rest.split_at(out);
                theta = rest;
                let pad = (kernel / 2) as isize;
                Plane::new(ImageShape { channels: out, ..from.shape }, |y, x, o| {
                    let mut sum = b[o];
                    for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
                        for i in 0..channels {
                            let (y, x) = (y as isize + ky as isize - pad, x as isize + kx as isize - pad);
                            sum += w[((o * kernel + ky) * kernel + kx) * channels + i] * from.at(y, x, i);
                        }
                    }
                    sum
                })
            }
            ImageOp::SpaceToDepth { factor } => {
                let (height, width) = (height.div_ceil(factor), width.div_ceil(factor));
                let shape = ImageShape { height, width, channels: channels * factor * factor };
                Plane::new(shape, |y, x, c| {
                    let (square, c) = (c / channels, c % channels);
                    from.at((y * factor + square / factor) as isize, (x * factor + square % factor) as isize, c)
                })
            }
            ImageOp::DepthToSpace { factor, height, width } => {
                let shape = ImageShape { height, width, channels: channels / (factor * factor) };
                Plane::new(shape, |y, x, c| {
                    let square = y % factor * factor + x % factor;
                    from.at((y / factor) as isize, (x / factor) as isize, square * shape.channels + c)
                })
            }
            ImageOp::Modulate { scale, .. } => {
                let (scales, rest) = modulations.split_at(if scale { channels } else { 0 });
                let (shifts, rest) = rest.split_at(channels);
                modulations = rest;
                let s = |c: usize| scales.get(c).copied().unwrap_or(0.0);
                Plane::new(from.shape, |y, x, c| from.at(y as isize, x as isize, c) * (1.0 + s(c)) + shifts[c])
            }
            ImageOp::Add { plane, .. } => Plane::new(from.shape, |y, x, c| {
                let (y, x) = (y as isize, x as isize);
                from.at(y, x, c) + planes[plane].at(y, x, c)
            }),
            ImageOp::Bound { at } => {
                let at = f64::from(at);
                Plane::new(from.shape, |y, x, c| at * (from.at(y as isize, x as isize, c) / at).tanh())
            }
            _ => Plane::new(from.shape, |y, x, c| from.at(y as isize, x as isize, c)),
        };
        if let Some(activation) = op.activation() {
            plane.data.iter_mut().for_each(|a| *a = sigma(activation, *a));
        }
        planes.push(plane);
    }
    planes.pop().unwrap().data
}

/// Weights that keep numbers of order 1: uniform in ± 1.5/√inputs, the embedding's first.
pub fn theta<T: Scalar>(spec: &ImageNetSpec, seed: u64) -> Vec<T> {
    let mut theta = numbers::<f64>(spec.n_params(), seed);
    let ImageParams { embedding, ops } = spec.params().unwrap();
    let widths = [vec![spec.aux], spec.embedding.as_ref().map_or_else(Vec::new, |e| e.layers.clone())].concat();
    let shapes = spec.shapes().unwrap();
    let of_op = |(op, shape): (&ImageOp, &ImageShape)| match op {
        ImageOp::Conv { kernel, .. } => kernel * kernel * shape.channels,
        _ => 1,
    };
    let inputs = widths.into_iter().take(embedding.len()).chain(spec.ops.iter().zip(&shapes).map(of_op));
    for (range, inputs) in embedding.iter().chain(&ops).zip(inputs) {
        theta[range.clone()].iter_mut().for_each(|w| *w *= 1.5 / (inputs as f64).sqrt());
    }
    theta.into_iter().map(T::of).collect()
}

pub fn net<T: Scalar>(spec: &ImageNetSpec, theta: &[T]) -> ImageNet<T> {
    ImageNet::new(spec, theta).unwrap()
}

pub fn shape(height: usize, width: usize, channels: usize) -> ImageShape {
    ImageShape { height, width, channels }
}

pub fn conv(kernel: usize, channels: usize, activation: Option<Activation>) -> ImageOp {
    ImageOp::Conv { kernel, channels, activation }
}

/// Every operation, each with and without an activation, first and last, on images of all shapes; no more than some
/// hundred parameters each.
pub fn every_small_net() -> Vec<ImageNetSpec> {
    let (tanh, silu, soft) = (Some(Activation::Tanh), Some(Activation::Silu), Some(Activation::Softplus));
    let embedding = |layers: &[usize]| Some(Embedding { layers: layers.to_vec(), activation: Activation::Tanh });
    let of = |shape, aux, embedding, ops| ImageNetSpec { shape, aux, embedding, ops };
    let modulate = |scale, activation| ImageOp::Modulate { scale, activation };
    let add = |plane, activation| ImageOp::Add { plane, activation };
    let depth = |factor| ImageOp::SpaceToDepth { factor };
    let bound = |at| ImageOp::Bound { at };
    let space = |factor, height, width| ImageOp::DepthToSpace { factor, height, width };
    vec![
        of(shape(1, 1, 1), 0, None, vec![conv(3, 1, None)]),
        of(shape(1, 1, 3), 0, None, vec![conv(1, 5, silu), conv(3, 2, tanh)]),
        of(shape(5, 7, 3), 0, None, vec![conv(3, 5, None)]),
        of(shape(5, 7, 1), 0, None, vec![conv(3, 6, silu), conv(3, 1, tanh)]),
        of(shape(1, 9, 2), 0, None, vec![conv(3, 4, soft), conv(1, 2, None), add(0, silu)]),
        of(
            shape(9, 1, 2),
            0,
            None,
            vec![ImageOp::Activate { activation: Activation::Silu }, conv(3, 2, None), add(0, None)],
        ),
        of(shape(5, 7, 2), 0, None, vec![depth(2), conv(1, 8, tanh), space(2, 5, 7), add(0, None), conv(3, 1, None)]),
        of(shape(4, 6, 1), 0, None, vec![depth(3), space(3, 4, 6)]),
        of(
            shape(3, 4, 2),
            0,
            None,
            vec![bound(1), conv(3, 3, silu), bound(2), add(2, None), conv(1, 2, None), bound(3)],
        ),
        of(shape(3, 2, 2), 3, embedding(&[4]), vec![modulate(true, None)]),
        of(shape(3, 2, 3), 2, embedding(&[]), vec![modulate(false, silu), modulate(true, tanh), conv(1, 2, None)]),
        of(
            shape(4, 3, 2),
            2,
            embedding(&[3, 5]),
            vec![
                conv(3, 3, None),
                modulate(true, silu),
                conv(3, 3, None),
                modulate(false, soft),
                conv(3, 3, None),
                add(2, None),
                ImageOp::Activate { activation: Activation::Tanh },
                conv(1, 3, None),
                // The same plane twice, and one that is no convolution's.
                add(2, tanh),
                add(7, silu),
            ],
        ),
    ]
}

/// The recipe for small images of all kinds.
pub fn recipes() -> Vec<ImageNetSpec> {
    let of =
        |(height, width, channels)| ImageNetSpec::recipe(shape(height, width, channels), 3, ImageNetSpec::CHANNELS);
    [(1, 1, 1), (5, 7, 1), (8, 8, 3), (17, 19, 1)].map(of).to_vec()
}
