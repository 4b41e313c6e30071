//! Grids of images: one of the data, and one of the samples of each model.

use super::{Comparison, Contender, ImageGrid};
use crate::plot::Options;
use crate::plot::colour::Tone;
use crate::plot::images::mosaic_size;
use crate::plot::legend::Heading;
use crate::plot::panel::{Aspect, Axis, Layer, Panel};
use crate::plot::sheet::PanelGrid;

/// So many grids stand in a row: with more an image would be too small to be read.
const MOST_COLUMNS: usize = 3;

/// The grids of the data and of all models, in rows of equally many.
pub(super) fn blocks(c: &Comparison, grid: ImageGrid, options: &Options) -> Vec<PanelGrid> {
    let note = |m: &Contender| match m.end {
        Some(_) => format!("{} {}", m.note(), c.score_unit),
        None => String::new(),
    };
    let all: Vec<(Heading, &[f64])> =
        std::iter::once((Heading { text: "data".into(), note: String::new(), tone: None }, c.data))
            .chain(c.contenders.iter().enumerate().map(|(k, m)| {
                (Heading { text: m.name.clone(), note: note(m), tone: Some(Tone::Series(k)) }, &m.samples[..])
            }))
            .collect();
    // On a page wider than high more of them.
    let most = match options.size {
        Some((wide, high)) if wide > 2 * high => all.len(),
        _ => MOST_COLUMNS,
    };
    let columns = all.len().div_ceil(all.len().div_ceil(most.max(1)));
    let block = |members: &[(Heading, &[f64])]| {
        let mut cells: Vec<Option<Panel>> = members.iter().map(|(_, images)| panel(images, grid)).collect();
        cells.resize(columns, None);
        let mut sheet = PanelGrid::new(cells, columns, 1.0);
        sheet.headings = members.iter().map(|(heading, _)| heading.clone()).collect();
        sheet
    };
    all.chunks(columns).map(block).collect()
}

/// The images of one; none where there are none.
fn panel(images: &[f64], ImageGrid { shape, columns }: ImageGrid) -> Option<Panel> {
    let n = images.len() / shape.len();
    if n == 0 {
        return None;
    }
    let (wide, high) = mosaic_size(shape, columns, n.div_ceil(columns));
    let axis = |length: f64| Axis { ticks: false, ..Axis::new("", (0.0, length)) };
    let layers = vec![Layer::Images { shape, images: images.to_vec(), columns }];
    Some(Panel { title: String::new(), x: axis(wide), y: axis(high), layers, aspect: Aspect::Equal })
}
