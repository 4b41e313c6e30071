//! Which latent goes with which row of data: the pairing of least Σ |x − z|² in a batch, exactly.
//!
//! Random pairs cross each other, so the regression of flow matching has targets that contradict each other and
//! fits curved paths; paired by optimal transport they do not cross, the target's variance falls and the paths
//! straighten. Ref: Tong et al. (2023), Pooladian et al. (2023).
//!
//! The linear assignment min Σᵢ c[i, π(i)] has the dual max Σ u + Σ v under uᵢ + vⱼ ≤ c[i, j]; a permutation on whose
//! pairs that is an equality is a least one. As Jonker & Volgenant (*A shortest augmenting path algorithm for dense
//! and sparse linear assignment problems*, 1987): prices v from the least entry of each column, augmenting row
//! reduction, then a shortest augmenting path for each row that is left. Before the row reduction it runs as an
//! auction, which is the same step with ε added to each fall of a price (Bertsekas 1988), at three falling ε: where
//! costs are distances between points the row reduction alone ends in price wars. Of 256 rows 35 need a path then,
//! through 14 others, instead of 91 through 55; in all 256 rows take 1.1 ms instead of 1.5, and 1024 rows a third of
//! the time.
//!
//! All inner loops are passes over a whole row without branches, which the compiler makes vectors of; the lists of
//! columns that implementations keep to skip what is done would cost more than they save. A predecessor of each
//! column is not kept: the few on the path are found again by the number they gave. Costs are f32: at 256 points
//! f64 takes 1.4 times as long and at 1024 twice, and which of two pairings within 1e-6 is taken does not matter.

mod batch;

pub use self::batch::{CONDITION_WEIGHT, Conditions, pair, pair_given};
pub(crate) use self::batch::{pair_given_part, pair_part};

/// No row, or no column.
const NONE: u32 = u32::MAX;
/// Partial minima in a pass over a row: independent, so that they fill vectors.
const WIDE: usize = 8;
/// Entries that are searched together.
const SPAN: usize = 32;
/// ε of the auctions, as shares of the mean cost after column reduction.
const EPSILONS: [f64; 3] = [0.05, 0.01, 0.002];
/// Bids of an auction for each row before it is given up (points take five): rounding can bring prices to a halt.
const MOST_BIDS: usize = 64;
/// Passes of row reduction.
const PASSES: usize = 2;

/// The column of each row in a permutation of least total cost. `cost` is `[n, n]`, row-major.
///
/// Deterministic; costs of any sign. The total is least up to the round-off of f32 on the largest cost, which must
/// stay below 1e38/n. Where costs are not finite the result still is a permutation, but not a least one. Time is O(n³)
/// at worst and about n² for points, memory is O(n) beside the costs.
///
/// # Panics
/// Where `cost` does not have n² entries.
pub fn assign(cost: &[f32], n: usize) -> Vec<u32> {
    assign_with_prices(cost, n).0
}

/// As [`assign`], with the prices v of the columns: in each row c − v is least at the row's own column, which proves
/// that no permutation costs less.
///
/// # Panics
/// As [`assign`].
pub fn assign_with_prices(cost: &[f32], n: usize) -> (Vec<u32>, Vec<f32>) {
    assert_eq!(cost.len(), n * n, "an assignment of {n} rows needs {n} × {n} costs");
    if n < 2 {
        return (vec![0; n], vec![0.0; n]);
    }
    let mut market = Market::new(cost, n);
    market.auctions();
    let mut free = market.take_what_is_least();
    for _ in 0..PASSES {
        free = market.reduce_rows(free);
    }
    market.augment(&free);
    (market.column_of, market.v)
}

struct Market<'a> {
    cost: &'a [f32],
    n: usize,
    /// The price of each column.
    v: Vec<f32>,
    column_of: Vec<u32>,
    row_of: Vec<u32>,
}

impl<'a> Market<'a> {
    /// Column reduction: a price is the least cost of its column.
    fn new(cost: &'a [f32], n: usize) -> Self {
        let mut v = cost[..n].to_vec();
        for row in cost.chunks_exact(n).skip(1) {
            for (v, c) in v.iter_mut().zip(row) {
                *v = lesser(*c, *v);
            }
        }
        Self { cost, n, v, column_of: vec![NONE; n], row_of: vec![NONE; n] }
    }

    fn row(&self, i: usize) -> &'a [f32] {
        &self.cost[i * self.n..][..self.n]
    }

    fn vacate(&mut self) {
        self.column_of.fill(NONE);
        self.row_of.fill(NONE);
    }

    /// Prices that are nearly those of the optimum.
    fn auctions(&mut self) {
        let above = |row: &[f32]| row.iter().zip(&self.v).map(|(c, v)| f64::from(c - v)).sum::<f64>();
        let mean = self.cost.chunks_exact(self.n).map(above).sum::<f64>() / (self.n * self.n) as f64;
        for epsilon in EPSILONS.map(|share| (share * mean) as f32) {
            if epsilon > 0.0 {
                self.vacate();
                self.auction(epsilon);
            }
        }
    }

    /// Each row bids for the column that is cheapest to it, as much as keeps it cheapest up to ε.
    fn auction(&mut self, epsilon: f32) {
        let mut waiting: Vec<u32> = (0..self.n as u32).rev().collect();
        for _ in 0..MOST_BIDS * self.n {
            let Some(i) = waiting.pop() else { return };
            let row = self.row(i as usize);
            let (first, second) = two_least(row, &self.v);
            let j = place(row, &self.v, first, None);
            self.v[j] -= (second - first) + epsilon;
            let outbid = std::mem::replace(&mut self.row_of[j], i);
            if outbid != NONE {
                waiting.push(outbid);
            }
        }
    }

    /// Gives each row its cheapest column, where that is still free; returns the other rows.
    fn take_what_is_least(&mut self) -> Vec<u32> {
        self.vacate();
        let mut free = Vec::new();
        for i in 0..self.n {
            let row = self.row(i);
            let (first, _) = two_least(row, &self.v);
            let j = place(row, &self.v, first, None);
            if self.row_of[j] == NONE {
                self.give(i, j);
            } else {
                free.push(i as u32);
            }
        }
        free
    }

    fn give(&mut self, i: usize, j: usize) {
        self.row_of[j] = i as u32;
        self.column_of[i] = j as u32;
    }

    /// Augmenting row reduction: a free row takes its cheapest column at a price at which the second cheapest would
    /// do as well; whoever had it looks on. Returns the rows that are left.
    fn reduce_rows(&mut self, rows: Vec<u32>) -> Vec<u32> {
        let mut free = Vec::new();
        let mut next = None;
        // Prices can fall against each other by tiny steps for long: paths do the rest.
        let mut left = self.n;
        let mut rows = rows.into_iter();
        while let Some(i) = next.take().or_else(|| rows.next()) {
            if left == 0 {
                free.push(i);
                continue;
            }
            left -= 1;
            let row = self.row(i as usize);
            let (first, second) = two_least(row, &self.v);
            let mut j = place(row, &self.v, first, None);
            let price = self.v[j] - (second - first);
            let falls = price < self.v[j];
            if falls {
                self.v[j] = price;
            } else if self.row_of[j] != NONE {
                j = place(row, &self.v, second, Some(j));
            }
            let outbid = self.row_of[j];
            self.give(i as usize, j);
            if outbid != NONE {
                self.column_of[outbid as usize] = NONE;
                if falls {
                    next = Some(outbid);
                } else {
                    free.push(outbid);
                }
            }
        }
        free
    }

    /// A shortest augmenting path from each of the rows to a column that is free (Dijkstra on c − u − v).
    fn augment(&mut self, rows: &[u32]) {
        let mut distance = vec![0.0; self.n];
        // −∞ at columns that are done, which nothing brings nearer then.
        let mut open = self.v.clone();
        let mut done = Vec::new();
        for &root in rows {
            for ((distance, c), v) in distance.iter_mut().zip(self.row(root as usize)).zip(&self.v) {
                *distance = c - v;
            }
            done.clear();
            let mut nearest = least(&distance);
            let end = loop {
                let j = self.nearest_column(&distance, nearest);
                let i = self.row_of[j];
                if i == NONE {
                    break j;
                }
                let row = self.row(i as usize);
                let ahead = nearest - (row[j] - self.v[j]);
                done.push(Done { column: j, row: i, distance: nearest, ahead });
                distance[j] = f32::INFINITY;
                open[j] = f32::NEG_INFINITY;
                nearest = approach(row, &open, ahead, &mut distance);
            };
            self.turn(root, end, nearest, &done);
            for done in &done {
                self.v[done.column] += done.distance - nearest;
                open[done.column] = self.v[done.column];
            }
        }
    }

    /// The first column at this distance. Where no number decides which is nearest, any free column ends the search.
    fn nearest_column(&self, distance: &[f32], nearest: f32) -> usize {
        // An infinite distance is that of the columns that are done.
        let found = if nearest < f32::INFINITY { find(distance, nearest) } else { None };
        found.or_else(|| self.row_of.iter().position(|i| *i == NONE)).expect("there are as many columns as rows")
    }

    /// Exchanges the pairs along the path from `root` to the column `end`.
    fn turn(&mut self, root: u32, end: usize, distance: f32, done: &[Done]) {
        let (mut j, mut distance, mut upto) = (end, distance, done.len());
        loop {
            // A row that brought the column to its distance. Each is done before what it leads to, so this ends;
            // where none gives the number, the root did.
            let gave = |from: &Done| (self.row(from.row as usize)[j] - self.v[j]) + from.ahead == distance;
            let Some(k) = done[..upto].iter().position(gave) else {
                return self.give(root as usize, j);
            };
            let from = &done[k];
            self.give(from.row as usize, j);
            (j, distance, upto) = (from.column, from.distance, k);
        }
    }
}

/// A column that a search is done with.
struct Done {
    column: usize,
    /// The row that has it.
    row: u32,
    /// How far it is from the root.
    distance: f32,
    /// What is added to c − v of the row for the distance of a column through it.
    ahead: f32,
}

/// The lesser one, as one instruction: `f32::min` also looks for NaN.
fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The least two of c − v.
fn two_least(row: &[f32], v: &[f32]) -> (f32, f32) {
    let (mut first, mut second) = ([f32::INFINITY; WIDE], [f32::INFINITY; WIDE]);
    let ((rows, row_tail), (vs, v_tail)) = (row.as_chunks::<WIDE>(), v.as_chunks::<WIDE>());
    for (c, v) in rows.iter().zip(vs) {
        for k in 0..WIDE {
            let h = c[k] - v[k];
            second[k] = lesser(greater(h, first[k]), second[k]);
            first[k] = lesser(h, first[k]);
        }
    }
    let (mut a, mut b) = (f32::INFINITY, f32::INFINITY);
    let tail = row_tail.iter().zip(v_tail).map(|(c, v)| (c - v, f32::INFINITY));
    for (first, second) in first.into_iter().zip(second).chain(tail) {
        b = lesser(lesser(second, greater(first, a)), b);
        a = lesser(first, a);
    }
    (a, b)
}

/// The first column but `other` where c − v is `h`; where there is none, 0. Many are checked at once, without a branch
/// for each.
fn place(row: &[f32], v: &[f32], h: f32, other: Option<usize>) -> usize {
    for (span, (row, v)) in row.chunks(SPAN).zip(v.chunks(SPAN)).enumerate() {
        if row.iter().zip(v).fold(false, |any, (c, v)| any | (c - v == h)) {
            let mut columns = (SPAN * span..).zip(row.iter().zip(v));
            if let Some((j, _)) = columns.find(|(j, (c, v))| *c - *v == h && Some(*j) != other) {
                return j;
            }
        }
    }
    0
}

/// The first place of a number, found in the same way.
fn find(numbers: &[f32], wanted: f32) -> Option<usize> {
    numbers.chunks(SPAN).enumerate().find_map(|(span, numbers)| {
        let any = numbers.iter().fold(false, |any, x| any | (*x == wanted));
        let at = if any { numbers.iter().position(|x| *x == wanted) } else { None };
        at.map(|at| SPAN * span + at)
    })
}

fn least(numbers: &[f32]) -> f32 {
    let (chunks, tail) = numbers.as_chunks::<WIDE>();
    let mut least = [f32::INFINITY; WIDE];
    for chunk in chunks {
        for k in 0..WIDE {
            least[k] = lesser(chunk[k], least[k]);
        }
    }
    least.iter().chain(tail).fold(f32::INFINITY, |least, x| lesser(*x, least))
}

/// Lets paths through a row shorten the distances; returns the least of them.
fn approach(row: &[f32], open: &[f32], ahead: f32, distance: &mut [f32]) -> f32 {
    let mut nearest = [f32::INFINITY; WIDE];
    let ((rows, row_tail), (opens, open_tail)) = (row.as_chunks::<WIDE>(), open.as_chunks::<WIDE>());
    let (distances, distance_tail) = distance.as_chunks_mut::<WIDE>();
    for ((c, v), distance) in rows.iter().zip(opens).zip(distances) {
        for k in 0..WIDE {
            distance[k] = lesser((c[k] - v[k]) + ahead, distance[k]);
            nearest[k] = lesser(distance[k], nearest[k]);
        }
    }
    for ((c, v), distance) in row_tail.iter().zip(open_tail).zip(distance_tail) {
        *distance = lesser((c - v) + ahead, *distance);
        nearest[0] = lesser(*distance, nearest[0]);
    }
    least(&nearest)
}
