//! Views of a tile: `[rows, lanes]`, the lanes of one row contiguous.
//!
//! A row has `stride` slots, of which the first `lanes` are in use. The stride is a multiple of
//! [`LANE_BLOCK`], so a kernel may compute on whole blocks of slots: what it reads from the unused ones is
//! arbitrary but initialised, what it writes there is never read.

/// Rows begin at multiples of this many slots (16 `f32` are two 256-bit vectors).
pub const LANE_BLOCK: usize = 16;

/// `lanes` rounded up to whole blocks: the stride of a tile for that many lanes.
pub const fn stride_for(lanes: usize) -> usize {
    lanes.div_ceil(LANE_BLOCK) * LANE_BLOCK
}

/// A shared view of a tile.
#[derive(Clone, Copy, Debug)]
pub struct Lanes<'a, T> {
    data: &'a [T],
    rows: usize,
    lanes: usize,
    stride: usize,
}

/// A mutable view of a tile.
#[derive(Debug)]
pub struct LanesMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    lanes: usize,
    stride: usize,
}

impl<'a, T> Lanes<'a, T> {
    /// A view of the first `lanes` slots of `rows` rows of `stride` slots each.
    ///
    /// # Panics
    /// If `data` is shorter than `rows * stride` or `lanes` exceeds `stride`: a mistake of the caller.
    pub fn new(data: &'a [T], rows: usize, lanes: usize, stride: usize) -> Self {
        assert!(
            data.len() >= rows * stride && lanes <= stride,
            "a tile of {rows} rows of {stride} slots needs {} numbers, got {}",
            rows * stride,
            data.len()
        );
        Self { data, rows, lanes, stride }
    }

    /// The number of rows (components).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of lanes (trajectories) in use.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// The distance between rows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// All slots of row `i`, the unused ones too.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..(i + 1) * self.stride]
    }

    /// The whole buffer, row after row.
    #[inline(always)]
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// The view of the first `lanes` lanes.
    ///
    /// # Panics
    /// If there are fewer slots.
    pub fn first_lanes(&self, lanes: usize) -> Lanes<'a, T> {
        Lanes::new(self.data, self.rows, lanes, self.stride)
    }

    /// The view of rows `from..to`.
    pub fn rows_of(&self, from: usize, to: usize) -> Lanes<'a, T> {
        Lanes::new(&self.data[from * self.stride..to * self.stride], to - from, self.lanes, self.stride)
    }
}

impl<'a, T> LanesMut<'a, T> {
    /// As [`Lanes::new`].
    ///
    /// # Panics
    /// If `data` is shorter than `rows * stride` or `lanes` exceeds `stride`: a mistake of the caller.
    pub fn new(data: &'a mut [T], rows: usize, lanes: usize, stride: usize) -> Self {
        assert!(
            data.len() >= rows * stride && lanes <= stride,
            "a tile of {rows} rows of {stride} slots needs {} numbers, got {}",
            rows * stride,
            data.len()
        );
        Self { data, rows, lanes, stride }
    }

    /// The number of rows (components).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of lanes (trajectories) in use.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// The distance between rows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// All slots of row `i`, the unused ones too.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &[T] {
        &self.data[i * self.stride..(i + 1) * self.stride]
    }

    /// All slots of row `i`, the unused ones too.
    #[inline(always)]
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        &mut self.data[i * self.stride..(i + 1) * self.stride]
    }

    /// The whole buffer, row after row.
    #[inline(always)]
    pub fn data_mut(&mut self) -> &mut [T] {
        self.data
    }

    /// The view of the first `lanes` lanes.
    ///
    /// # Panics
    /// If there are fewer slots.
    pub fn first_lanes(self, lanes: usize) -> LanesMut<'a, T> {
        LanesMut::new(self.data, self.rows, lanes, self.stride)
    }

    /// The same view, shared.
    pub fn as_lanes(&self) -> Lanes<'_, T> {
        Lanes { data: self.data, rows: self.rows, lanes: self.lanes, stride: self.stride }
    }

    /// The same view, lent on.
    pub fn reborrow(&mut self) -> LanesMut<'_, T> {
        LanesMut { data: self.data, rows: self.rows, lanes: self.lanes, stride: self.stride }
    }

    /// The view of rows `from..to`.
    pub fn rows_of(&mut self, from: usize, to: usize) -> LanesMut<'_, T> {
        LanesMut {
            data: &mut self.data[from * self.stride..to * self.stride],
            rows: to - from,
            lanes: self.lanes,
            stride: self.stride,
        }
    }
}
