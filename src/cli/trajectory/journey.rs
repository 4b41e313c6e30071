//! What is drawn of a trajectory: the places of the particles, and the densities at its moments.

use anyhow::Result;
use cnflow::continuous::Work;
use cnflow::model::BoundModel;
use cnflow::plot::{Grid, Journey, Moment};

use super::{CURVE, Found, Job, PATHS, PLANE, TrajectoryArgs, layer};
use crate::cli::Context;
use crate::cli::picture::Units;
use crate::cli::progress::watched;

impl Job {
    /// What is to be drawn over `times`, which are those of `found` from the `first` on.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing, used once")]
    pub(super) fn journey(
        &self,
        args: &TrajectoryArgs,
        found: &Found,
        first: usize,
        times: &[f64],
        moments: &[usize],
        film: bool,
        context: &Context,
    ) -> Result<Journey> {
        let d = self.setup.model.dim();
        let n = self.n();
        let ranges = &found.ranges;
        let units = Units::of(ranges);
        let rows = &found.places[first * n * d..(first + times.len()) * n * d];
        let places: Vec<f64> = rows.chunks_exact(d).flat_map(|row| self.columns.iter().map(|c| row[*c])).collect();
        let side = args.grid.map_or(if film { 64 } else { 150 }, usize::from);
        let (mut shown, mut plane) = (Vec::new(), None);
        if d > 2 || !self.setup.model.spec.is_dense() {
            shown.extend(moments.iter().map(|at| Moment { at: *at, density: None }));
        } else {
            let (nx, ny) = if d == 1 { (CURVE, 1) } else { (side, side) };
            let y = ranges.get(1).copied().unwrap_or((0.0, 1.0));
            // In one dimension the picture has the ends only.
            let ends = [moments[0], moments[moments.len() - 1]];
            let moments = if d == 1 && !film { &ends } else { moments };
            let cells = Grid { x: ranges[0], y, nx, ny, values: Vec::new() };
            let strip = Grid { x: ranges[0], y, nx: PLANE.1, ny: 1, values: Vec::new() };
            // Each layer has the part of the plane that is nearest to it, and no cell lies across the end of one.
            let wide = self.layers.map_or(PLANE.0, |layers| PLANE.0.next_multiple_of(2 * layers));
            let nearest = |t: f64| self.layers.map_or(t, |layers| (t * layers as f64).round() / layers as f64);
            let centre = |i: usize| nearest((i as f64 + 0.5) / wide as f64);
            let seen: Vec<f64> = moments.iter().map(|k| times[*k]).collect();
            let across: Vec<f64> = if d == 1 { (0..wide).map(centre).collect() } else { Vec::new() };
            let work = self.shares.len().max(1) * (self.solved(&seen) * nx * ny + self.solved(&across) * PLANE.1);
            let (grids, strips) = watched("densities", Some(work as u64), 1, context, |done| {
                let model = self.model.with_progress(done.clone())?;
                let all = |times: &[f64], cells: &Grid| self.densities(&model, times, cells, &units, &done);
                Ok::<_, anyhow::Error>((all(&seen, &cells)?, all(&across, &strip)?))
            })?;
            let (x, y) = (units.range(0, cells.x), units.range(1, cells.y));
            let grid = |values: Vec<f64>| Grid { x, y, values, ..cells.clone() };
            shown.extend(moments.iter().zip(grids).map(|(at, g)| Moment { at: *at, density: Some(grid(g)) }));
            if d == 1 {
                let values = (0..PLANE.1).flat_map(|j| strips.iter().map(move |strip| strip[j])).collect();
                plane = Some(Grid { x: (0.0, 1.0), y: units.range(0, ranges[0]), nx: wide, ny: PLANE.1, values });
            }
        }
        Ok(Journey {
            times: times.to_vec(),
            layers: self.layers,
            columns: self.columns.len(),
            places: units.rows(&places),
            threads: args.paths.unwrap_or(PATHS).into(),
            ranges: ranges.iter().enumerate().map(|(j, range)| units.range(j, *range)).collect(),
            moments: shown,
            plane,
        })
    }

    /// Of how many times a density must be computed: times between the same layers share theirs.
    fn solved(&self, times: &[f64]) -> usize {
        (0..times.len()).filter(|k| !self.repeats(times, *k)).count()
    }

    /// Whether the density of rising times is at the k-th as at the one before.
    fn repeats(&self, times: &[f64], k: usize) -> bool {
        let at = |k: usize| layer(&self.setup.model, times[k]);
        k > 0 && self.layers.is_some() && at(k) == at(k - 1)
    }

    /// The densities at rising times in the centres of cells, NaN where a trajectory fails.
    fn densities(
        &self,
        model: &BoundModel,
        times: &[f64],
        cells: &Grid,
        units: &Units,
        done: &Work,
    ) -> Result<Vec<Vec<f64>>> {
        let d = self.setup.model.dim();
        let centres = Grid::centres(cells.x, cells.y, cells.nx, cells.ny);
        let n = centres.len() / d;
        let conditions: Vec<(f64, Vec<f64>)> = match &self.shares[..] {
            [] => vec![(1.0, Vec::new())],
            shares => shares.iter().map(|(share, row)| (*share, row.repeat(n))).collect(),
        };
        let mut all: Vec<Vec<f64>> = Vec::with_capacity(times.len());
        for (k, t) in times.iter().enumerate() {
            if self.repeats(times, k) {
                all.extend(all.last().cloned());
                continue;
            }
            let mut density = vec![0.0; n];
            let stage = model.of_real_numbers()?.until(*t)?;
            for (share, condition) in &conditions {
                let log_prob = stage.log_prob(&centres, condition)?.log_prob;
                if self.layers.is_some() {
                    done.add(n);
                }
                density.iter_mut().zip(log_prob).for_each(|(p, log)| *p += share * units.density(log));
            }
            all.push(density);
        }
        Ok(all)
    }
}
