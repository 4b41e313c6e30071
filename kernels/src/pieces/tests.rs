use super::*;
use crate::numbers::Numbers;

const WIDTHS: [[usize; 2]; 5] = [[1, 1], [3, 5], [8, 16], [64, 64], [50, 23]];

/// Parameters with all that hinges can be: together, far out, and none.
fn theta<T: Scalar>([h1, h2]: [usize; 2], seed: u64) -> Vec<T> {
    let mut numbers = Numbers::new(seed);
    let mut theta: Vec<f64> = (0..Pieces::<T>::n_params([h1, h2])).map(|_| numbers.draw()).collect();
    if h1 >= 8 {
        (theta[1], theta[h1 + 1]) = (-theta[0], -theta[h1]);
        (theta[2], theta[h1 + 2]) = (1e-7, 0.9);
        (theta[3], theta[h1 + 3]) = (-1e-7, 0.9);
        (theta[4], theta[h1 + 4]) = (0.0, 0.7);
        (theta[5], theta[h1 + 5]) = (0.0, -0.7);
        (theta[6], theta[h1 + 6]) = (0.5, 0.0);
    }
    theta.into_iter().map(T::of).collect()
}

fn points(lanes: usize) -> Vec<f64> {
    let mut numbers = Numbers::new(91);
    let mut x: Vec<f64> = (0..lanes).map(|_| 4.0 * numbers.draw()).collect();
    (x[0], x[1], x[2]) = (0.0, 1e3, -1e3);
    x
}

fn cotangents(lanes: usize, h2: usize) -> Vec<f64> {
    let mut numbers = Numbers::new(92);
    (0..lanes * h2).map(|_| numbers.draw()).collect()
}

/// h `[lanes, H₂]`, x̄ and the gradient by θ.
struct Found {
    h: Vec<f64>,
    x_bar: Vec<f64>,
    g: Vec<f64>,
}

fn by_pieces<T: Scalar>(isa: Isa, widths: [usize; 2], theta: &[T], x: &[f64]) -> Found {
    let (lanes, h2) = (x.len(), widths[1]);
    let blocks = lanes.div_ceil(LANE_BLOCK);
    let pieces = Pieces::on(isa, widths, theta);
    let (mut at, mut h, mut h_bar) = (Tile::new(1, lanes), Tile::new(h2, lanes), Tile::<T>::new(h2, lanes));
    let bars = cotangents(lanes, h2);
    for (lane, x) in x.iter().enumerate() {
        at.at_mut(lane / LANE_BLOCK, 0)[lane % LANE_BLOCK] = *x;
        (0..h2).for_each(|i| h_bar.at_mut(lane / LANE_BLOCK, i)[lane % LANE_BLOCK] = T::of(bars[lane * h2 + i]));
    }
    let (mut indices, mut x_bar) = (BinIndices::new(lanes), Tile::new(1, lanes));
    pieces.forward(&at, &mut indices, &mut h, blocks);
    let (mut sums, mut g) = (vec![T::ZERO; pieces.n_sums()], vec![T::ZERO; theta.len()]);
    pieces.back(&indices, (&h, &h_bar), &mut sums, &mut x_bar, blocks);
    pieces.fold(&sums, &mut g);
    let read = |tile: &Tile<T>, lane: usize, row: usize| tile.at(lane / LANE_BLOCK, row)[lane % LANE_BLOCK].to_f64();
    Found {
        h: (0..lanes * h2).map(|k| read(&h, k / h2, k % h2)).collect(),
        x_bar: (0..lanes).map(|lane| read(&x_bar, lane, 0)).collect(),
        g: g.iter().map(|g| g.to_f64()).collect(),
    }
}

/// Layer by layer, in f64.
fn by_layers<T: Scalar>([h1, h2]: [usize; 2], theta: &[T], x: &[f64]) -> Found {
    let theta: Vec<f64> = theta.iter().map(|w| w.to_f64()).collect();
    let (w1, b1) = (&theta[..h1], &theta[h1..2 * h1]);
    let (w2, b2) = theta[2 * h1..].split_at(h1 * h2);
    let bars = cotangents(x.len(), h2);
    let mut found = Found { h: Vec::new(), x_bar: Vec::new(), g: vec![0.0; theta.len()] };
    for (lane, x) in x.iter().enumerate() {
        let a1: Vec<f64> = (0..h1).map(|j| w1[j] * x + b1[j]).collect();
        let mut by_h1 = vec![0.0; h1];
        for i in 0..h2 {
            let a2 = b2[i] + (0..h1).map(|j| w2[i * h1 + j] * a1[j].max(0.0)).sum::<f64>();
            found.h.push(a2.max(0.0));
            let bar = if a2 > 0.0 { bars[lane * h2 + i] } else { 0.0 };
            found.g[2 * h1 + h1 * h2 + i] += bar;
            for j in 0..h1 {
                found.g[2 * h1 + i * h1 + j] += bar * a1[j].max(0.0);
                by_h1[j] += bar * w2[i * h1 + j];
            }
        }
        let on: Vec<f64> = (0..h1).map(|j| if a1[j] > 0.0 { by_h1[j] } else { 0.0 }).collect();
        found.x_bar.push((0..h1).map(|j| on[j] * w1[j]).sum());
        for (j, on) in on.iter().enumerate() {
            found.g[j] += on * x;
            found.g[h1 + j] += on;
        }
    }
    found
}

fn check<T: Scalar>() {
    for (seed, widths) in WIDTHS.into_iter().enumerate() {
        let theta = theta::<T>(widths, seed as u64);
        let x = points(48);
        let (pieces, layers) = (by_pieces(Isa::detect(), widths, &theta, &x), by_layers(widths, &theta, &x));
        // Sums of at most 64 terms below 1e3 in size: a sum of n terms has n ε relative to their magnitudes.
        let bound = |size: f64| 64.0 * T::EPSILON * size;
        for (name, ours, exact) in
            [("h", &pieces.h, &layers.h), ("x_bar", &pieces.x_bar, &layers.x_bar), ("g", &pieces.g, &layers.g)]
        {
            let size = exact.iter().fold(1.0, |most: f64, v| most.max(v.abs()));
            for (i, (a, b)) in ours.iter().zip(exact).enumerate() {
                assert!((a - b).abs() <= bound(size), "{widths:?} {name}[{i}]: {a} {b}");
            }
        }
    }
}

#[test]
fn pieces_give_what_the_layers_give() {
    check::<f64>();
    check::<f32>();
}

#[test]
fn both_vectors_give_the_same_bits() {
    fn same<T: Scalar>() {
        for (seed, widths) in WIDTHS.into_iter().enumerate() {
            let (theta, x) = (theta::<T>(widths, 7 + seed as u64), points(40));
            let (a, b) = (by_pieces(Isa::detect(), widths, &theta, &x), by_pieces(Isa::PORTABLE, widths, &theta, &x));
            let bits = |found: &Found| {
                found.h.iter().chain(&found.x_bar).chain(&found.g).map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            assert_eq!(bits(&a), bits(&b), "{widths:?}");
        }
    }
    same::<f32>();
    same::<f64>();
}

#[test]
fn at_a_hinge_both_lines_meet() {
    let (widths, mut numbers) = ([8, 16], Numbers::new(50));
    let theta: Vec<f64> = (0..Pieces::<f64>::n_params(widths)).map(|_| numbers.draw()).collect();
    let pieces = Pieces::new(widths, &theta);
    assert_eq!(pieces.hinges.len(), 8);
    for (k, hinge) in pieces.hinges.iter().enumerate() {
        for unit in 0..16 {
            let value = |k: usize| {
                let at = k * pieces.stride() + unit / 4 * 8 + unit % 4;
                pieces.lines[at] + pieces.lines[at + 4] * (hinge.at - pieces.centres[k])
            };
            // Eight terms, as large as the farthest hinge makes them.
            assert!((value(k) - value(k + 1)).abs() < 1e-14 * (1.0 + hinge.at.abs()), "{k} {unit}");
        }
    }
}

#[test]
fn a_nan_shows() {
    for place in 0..Pieces::<f32>::n_params([3, 5]) {
        let mut theta = theta::<f32>([3, 5], 1);
        theta[place] = f32::NAN;
        let found = by_pieces(Isa::detect(), [3, 5], &theta, &points(16));
        // b₂ and W₂ belong to one unit, W₁ and b₁ to all.
        let unit = match place {
            0..6 => None,
            6..21 => Some((place - 6) / 3),
            _ => Some(place - 21),
        };
        let concerned = |i: usize| unit.is_none_or(|unit| i % 5 == unit);
        let lost = found.h.iter().enumerate().filter(|(i, _)| concerned(*i)).all(|(_, h)| h.is_nan());
        assert!(lost, "parameter {place}");
    }
    let found = by_pieces(Isa::detect(), [3, 5], &theta::<f32>([3, 5], 1), &[f64::NAN; 16]);
    assert!(found.h.iter().all(|h| h.is_nan()));
}
