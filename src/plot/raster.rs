//! Maps and scatters as pixels: what would be thousands of shapes is one image.

use super::colour::blend;
use super::panel::{Axis, Grid, Layer, Panel};
use super::pen::Style;

/// The maps of a panel over the background, and its scatters over both, `[height, width, 3]`.
pub(super) fn image(panel: &Panel, pen: &Style, width: usize, height: usize) -> Vec<u8> {
    let mut pixels = pen.theme.background().repeat(width * height);
    let mut over = false;
    for layer in &panel.layers {
        if let Layer::Heat { grid, smooth } = layer {
            heat(&mut pixels, width, panel, grid, *smooth, pen);
            over = true;
        }
    }
    let scatters = panel.layers.iter().filter_map(|layer| match layer {
        Layer::Dots { points, tone, .. } => Some((points, pen.theme.tone(*tone))),
        _ => None,
    });
    let size = pen.em * pen.fine as f64 * if over { 0.07 } else { 0.13 };
    // What lies below must shine through.
    let most = if scatters.clone().count() > 1 {
        0.42
    } else if over {
        0.5
    } else {
        0.85
    };
    let clouds: Vec<_> =
        scatters.map(|(points, colour)| (dots(panel, points, width, height, size, most), colour)).collect();
    for (k, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        // No cloud lies above another: where they meet, each has its part of the colour.
        let (mut clear, mut cover, mut sum) = (1.0, 0.0, [0.0; 3]);
        for (through, colour) in &clouds {
            let through = f64::from(through[k]);
            clear *= through;
            cover += 1.0 - through;
            sum.iter_mut().zip(colour).for_each(|(s, c)| *s += (1.0 - through) * f64::from(*c));
        }
        if cover > 0.0 {
            let mixed = blend([pixel[0], pixel[1], pixel[2]], sum.map(|s| (s / cover).round() as u8), 1.0 - clear);
            pixel.copy_from_slice(&mixed);
        }
    }
    pixels
}

/// For each pixel along an axis: the two cells whose centres are around it and the part of the second.
fn neighbours(
    axis: &Axis,
    edges: (f64, f64),
    cells: usize,
    pixels: usize,
    smooth: bool,
) -> Vec<Option<(usize, usize, f64)>> {
    (0..pixels)
        .map(|p| {
            let value = axis.value((p as f64 + 0.5) / pixels as f64);
            let place = (value - edges.0) / (edges.1 - edges.0) * cells as f64;
            if !(0.0..=cells as f64).contains(&place) {
                return None;
            }
            let last = cells - 1;
            if !smooth {
                let cell = (place as usize).min(last);
                return Some((cell, cell, 0.0));
            }
            let centred = (place - 0.5).clamp(0.0, last as f64);
            let low = (centred as usize).min(last);
            Some((low, (low + 1).min(last), centred - low as f64))
        })
        .collect()
}

fn heat(pixels: &mut [u8], width: usize, panel: &Panel, grid: &Grid, smooth: bool, pen: &Style) {
    let columns = neighbours(&panel.x, grid.x, grid.nx, width, smooth);
    let height = pixels.len() / (3 * width);
    let upwards = Axis { inverted: !panel.y.inverted, ..panel.y.clone() };
    let lines = neighbours(&upwards, grid.y, grid.ny, height, smooth);
    let last = (pen.map.len() - 1) as f64;
    for (row, line) in pixels.chunks_exact_mut(3 * width).zip(lines) {
        let Some((j0, j1, b)) = line else { continue };
        let (low, high) = (&grid.values[j0 * grid.nx..], &grid.values[j1 * grid.nx..]);
        for (pixel, column) in row.chunks_exact_mut(3).zip(&columns) {
            let Some((i0, i1, a)) = *column else { continue };
            let value = if smooth {
                (1.0 - b) * ((1.0 - a) * low[i0] + a * low[i1]) + b * ((1.0 - a) * high[i0] + a * high[i1])
            } else {
                low[i0]
            };
            if value.is_nan() {
                continue;
            }
            let place = pen.scale.place(value, pen.max);
            pixel.copy_from_slice(&pen.map[(place * last).round() as usize]);
        }
    }
}

/// How much light each pixel lets through under discs with smooth edges, at most `size` in radius and `most` opaque.
fn dots(panel: &Panel, points: &[f64], width: usize, height: usize, size: f64, most: f64) -> Vec<f32> {
    let n = (points.len() / 2).max(1) as f64;
    let room = (width * height) as f64;
    // Smaller and fainter where they would cover more than the panel.
    let radius = (0.45 * (room / (std::f64::consts::PI * n)).sqrt()).clamp(0.45 * size, size);
    let cover = n * std::f64::consts::PI * radius * radius / room;
    let opacity = (0.32 / cover).clamp(0.12, most);

    let mut clear = vec![1.0f32; width * height];
    for p in points.chunks_exact(2) {
        let (x, y) = (panel.x.place(p[0]) * width as f64, (1.0 - panel.y.place(p[1])) * height as f64);
        let reach = radius + 1.0;
        let inside = x > -reach && y > -reach && x < width as f64 + reach && y < height as f64 + reach;
        if !inside {
            continue;
        }
        let low = |c: f64| (c - reach).floor().max(0.0) as usize;
        let high = |c: f64, end: usize| ((c + reach).ceil().max(0.0) as usize).min(end);
        for j in low(y)..high(y, height) {
            for i in low(x)..high(x, width) {
                let away = (i as f64 + 0.5 - x).hypot(j as f64 + 0.5 - y);
                let covered = (radius + 0.5 - away).clamp(0.0, 1.0) * opacity;
                clear[j * width + i] *= 1.0 - covered as f32;
            }
        }
    }
    clear
}
