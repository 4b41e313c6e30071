//! The numbers of a table as they are kept: f64, or bytes where the file holds bytes.
//!
//! 60 000 images of 784 grey levels are 47 MB as bytes and 376 MB as f64. What computes with rows takes some of them at
//! a time, and they are widened then.

use std::borrow::Cow;
use std::ops::Range;

/// Numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Real numbers.
    F64(Vec<f64>),
    /// Whole numbers from 0 to 255.
    U8(Vec<u8>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::F64(Vec::new())
    }
}

impl From<Vec<f64>> for Numbers {
    fn from(numbers: Vec<f64>) -> Self {
        Self::F64(numbers)
    }
}

impl From<Vec<u8>> for Numbers {
    fn from(numbers: Vec<u8>) -> Self {
        Self::U8(numbers)
    }
}

impl Numbers {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F64(numbers) => numbers.len(),
            Self::U8(numbers) => numbers.len(),
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them.
    ///
    /// # Panics
    /// Behind the last, as a slice does.
    pub fn at(&self, i: usize) -> f64 {
        match self {
            Self::F64(numbers) => numbers[i],
            Self::U8(numbers) => f64::from(numbers[i]),
        }
    }

    /// All of them in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        (0..self.len()).map(|i| self.at(i))
    }

    /// Column `j` of rows of `d`.
    pub fn column(&self, j: usize, d: usize) -> impl Iterator<Item = f64> + '_ {
        (j..self.len()).step_by(d.max(1)).map(|i| self.at(i))
    }

    /// Some of them as f64.
    ///
    /// # Panics
    /// Beyond the last, as a slice does.
    pub fn part(&self, range: Range<usize>) -> Cow<'_, [f64]> {
        match self {
            Self::F64(numbers) => Cow::Borrowed(&numbers[range]),
            Self::U8(numbers) => numbers[range].iter().map(|v| f64::from(*v)).collect(),
        }
    }

    /// All of them as f64.
    pub fn all(&self) -> Cow<'_, [f64]> {
        self.part(0..self.len())
    }

    /// All of them as f64, without a copy where they are.
    pub fn into_f64(self) -> Vec<f64> {
        match self {
            Self::F64(numbers) => numbers,
            Self::U8(numbers) => numbers.into_iter().map(f64::from).collect(),
        }
    }

    /// The bytes, where they are bytes.
    pub fn bytes(&self) -> Option<&[u8]> {
        if let Self::U8(bytes) = self { Some(bytes) } else { None }
    }

    /// The numbers, where they are f64, to change them.
    pub fn real_mut(&mut self) -> Option<&mut Vec<f64>> {
        if let Self::F64(numbers) = self { Some(numbers) } else { None }
    }

    /// Rows of `width` of these numbers, in this order.
    #[must_use]
    pub fn pick(&self, width: usize, rows: &[usize]) -> Self {
        fn of<T: Copy>(all: &[T], width: usize, rows: &[usize]) -> Vec<T> {
            // Without a width nothing is taken, and no row is looked for.
            let taken = if width == 0 { &[][..] } else { rows };
            taken.iter().flat_map(|i| &all[i * width..(i + 1) * width]).copied().collect()
        }
        match self {
            Self::F64(numbers) => Self::F64(of(numbers, width, rows)),
            Self::U8(numbers) => Self::U8(of(numbers, width, rows)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_numbers_that_they_stand_for() {
        let bytes = Numbers::from(vec![0u8, 17, 255, 3, 4, 5]);
        let wide = Numbers::from(vec![0.0, 17.0, 255.0, 3.0, 4.0, 5.0]);
        assert_eq!(bytes.all(), wide.all());
        assert_eq!(bytes.iter().collect::<Vec<_>>(), wide.clone().into_f64());
        assert_eq!(bytes.column(1, 3).collect::<Vec<_>>(), [17.0, 4.0]);
        assert_eq!(bytes.pick(2, &[2, 0]).all(), wide.pick(2, &[2, 0]).all());
        assert_eq!((bytes.part(1..3), bytes.at(2), bytes.len()), (wide.part(1..3), 255.0, 6));
        assert!(Numbers::default().pick(0, &[0]).is_empty() && bytes.bytes().is_some() && wide.bytes().is_none());
    }
}
