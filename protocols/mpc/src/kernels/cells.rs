//! An output matrix that several tasks fill, each its own rectangle.

#![allow(unsafe_code)]

use std::marker::PhantomData;

/// A row-major matrix from which disjoint rectangles are handed to tasks.
pub(super) struct Cells<'a> {
    start: *mut u64,
    rows: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [u64]>,
}

// SAFETY: `Cells` has no method that reads or writes the matrix; a rectangle of it is only reached
// through `rectangle`, whose caller promises that no two that overlap are used at the same time.
unsafe impl Sync for Cells<'_> {}

impl<'a> Cells<'a> {
    /// `out` as rows of `stride` words.
    pub(super) fn new(out: &'a mut [u64], stride: usize) -> Self {
        assert!(stride > 0 && out.len().is_multiple_of(stride));
        Self {
            start: out.as_mut_ptr(),
            rows: out.len() / stride,
            stride,
            lifetime: PhantomData,
        }
    }

    /// The cells from `(row, column)` on, `rows` by `columns`.
    ///
    /// # Safety
    /// While the result lives no other rectangle that overlaps it is used, by any thread.
    pub(super) unsafe fn rectangle(
        &self,
        (row, column): (usize, usize),
        (rows, columns): (usize, usize),
    ) -> Rectangle<'_> {
        assert!(row + rows <= self.rows && column + columns <= self.stride);
        assert!(rows > 0 && columns > 0);
        Rectangle {
            // SAFETY: `row < self.rows` and `column < self.stride`, so this stays inside `out`.
            start: unsafe { self.start.add(row * self.stride + column) },
            rows,
            columns,
            stride: self.stride,
            lifetime: PhantomData,
        }
    }
}

/// Cells that one task alone has access to.
pub(super) struct Rectangle<'a> {
    start: *mut u64,
    rows: usize,
    columns: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [u64]>,
}

impl Rectangle<'_> {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The part from `(row, column)` on, `rows` by `columns`.
    pub(super) fn part(
        &mut self,
        (row, column): (usize, usize),
        (rows, columns): (usize, usize),
    ) -> Rectangle<'_> {
        assert!(row + rows <= self.rows && column + columns <= self.columns);
        assert!(rows > 0 && columns > 0);
        Rectangle {
            // SAFETY: inside the rectangle by the assertions; `self` stays borrowed meanwhile.
            start: unsafe { self.start.add(row * self.stride + column) },
            rows,
            columns,
            ..*self
        }
    }

    /// Fetches the cells of a tile into the cache, so that they are there when its sums are made.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) fn prefetch(&self) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for row in 0..self.rows {
            // SAFETY: both cells lie inside the matrix, and a prefetch changes nothing.
            unsafe {
                let row = self.start.add(row * self.stride);
                _mm_prefetch::<_MM_HINT_T0>(row.cast());
                _mm_prefetch::<_MM_HINT_T0>(row.add(self.columns - 1).cast());
            }
        }
    }

    /// One row of the rectangle.
    pub(super) fn row(&mut self, row: usize) -> &mut [u64] {
        assert!(row < self.rows);
        // SAFETY: the row has `columns` cells inside the matrix, and this rectangle is the only
        // access to them (`Cells::rectangle`); `self` stays borrowed meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.columns) }
    }
}
