//! Arithmetic in GF(2^8) with polynomial 0x11D, and the one product that coding consists of: a small
//! matrix times four long rows of bytes.
//!
//! There are several kernels, chosen at run time; all give the same bytes. GFNI multiplies 64 (or 32)
//! bytes by a constant with one instruction, as an 8x8 matrix over bits (its own multiplication has
//! another polynomial). AVX2 looks both halves of a byte up in tables of 16. The portable one doubles
//! eight bytes at a time in a word and leaves the rest to the compiler.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;
use std::sync::OnceLock;

use super::DATA_FRAGMENTS;

/// The polynomial x^8 + x^4 + x^3 + x^2 + 1 without its highest term.
const POLYNOMIAL: u8 = 0x1d;

/// One row of a matrix: what each of the four inputs is multiplied by.
pub(crate) type Row = [u8; DATA_FRAGMENTS];

/// The most rows of a product: all fragments that are not data.
const MAX_ROWS: usize = 8;

/// Code for one instruction set, which this machine was found to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Gfni256,
    #[cfg(target_arch = "x86_64")]
    Gfni512,
}

impl Kernel {
    /// Everything this machine runs, slowest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "other processors have one kernel only")]
        let mut found = vec![Self(Kind::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") {
                found.push(Self(Kind::Avx2));
                if has!("gfni") {
                    found.push(Self(Kind::Gfni256));
                    if has!("avx512f") && has!("avx512bw") {
                        found.push(Self(Kind::Gfni512));
                    }
                }
            }
        }
        found
    }

    /// The fastest that this machine runs.
    pub fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().pop().unwrap_or(Self(Kind::Portable)))
    }

    /// Fills each of `outputs` with its row of `rows` times `inputs`.
    ///
    /// # Panics
    ///
    /// If lengths differ, or there is not one output for each row, or there are more than 8 rows.
    pub(crate) fn multiply(
        self,
        rows: &[Row],
        inputs: [&[u8]; DATA_FRAGMENTS],
        outputs: &mut [&mut [u8]],
    ) {
        let length = inputs[0].len();
        assert!(rows.len() == outputs.len() && rows.len() <= MAX_ROWS);
        assert!(inputs.iter().all(|input| input.len() == length));
        assert!(outputs.iter().all(|output| output.len() == length));
        let done = match self.0 {
            Kind::Portable => 0,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => x86::avx2(rows, inputs, outputs),
            #[cfg(target_arch = "x86_64")]
            Kind::Gfni256 => x86::gfni256(rows, inputs, outputs),
            #[cfg(target_arch = "x86_64")]
            Kind::Gfni512 => x86::gfni512(rows, inputs, outputs),
        };
        portable::multiply(rows, inputs, outputs, done);
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Gfni256 => "gfni-avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Gfni512 => "gfni-avx512",
        })
    }
}

/// The product of two elements.
pub(crate) const fn product(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut sum) = (a, b, 0);
    while b != 0 {
        if b & 1 == 1 {
            sum ^= a;
        }
        a = double(a);
        b >>= 1;
    }
    sum
}

const fn double(a: u8) -> u8 {
    (a << 1) ^ (if a & 0x80 == 0 { 0 } else { POLYNOMIAL })
}

/// `a` to the power `n`, with 0^0 = 1.
pub(crate) const fn power(a: u8, n: usize) -> u8 {
    let (mut n, mut result) = (n, 1);
    while n > 0 {
        result = product(result, a);
        n -= 1;
    }
    result
}

/// The element that gives 1 when multiplied by `a`; 0 for 0.
const fn inverse(a: u8) -> u8 {
    // The group has 255 elements.
    power(a, 254)
}

/// The inverse of a matrix of four rows; `None` if it has none.
pub(crate) fn invert(rows: [Row; DATA_FRAGMENTS]) -> Option<[Row; DATA_FRAGMENTS]> {
    const N: usize = DATA_FRAGMENTS;
    let mut left = rows;
    let mut right: [Row; N] = std::array::from_fn(|r| std::array::from_fn(|c| u8::from(r == c)));
    for column in 0..N {
        let pivot = (column..N).find(|row| left[*row][column] != 0)?;
        left.swap(column, pivot);
        right.swap(column, pivot);
        let scale = inverse(left[column][column]);
        for c in 0..N {
            left[column][c] = product(left[column][c], scale);
            right[column][c] = product(right[column][c], scale);
        }
        for row in (0..N).filter(|row| *row != column) {
            let factor = left[row][column];
            for c in 0..N {
                left[row][c] ^= product(factor, left[column][c]);
                right[row][c] ^= product(factor, right[column][c]);
            }
        }
    }
    Some(right)
}

/// The product of a row and a matrix of four rows.
pub(crate) fn row_product(row: Row, matrix: &[Row; DATA_FRAGMENTS]) -> Row {
    std::array::from_fn(|column| {
        (0..DATA_FRAGMENTS).fold(0, |sum, i| sum ^ product(row[i], matrix[i][column]))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reed_solomon_erasure::galois_8;

    use super::*;

    #[test]
    fn arithmetic_is_that_of_the_reference() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(product(a, b), galois_8::mul(a, b));
            }
            if a != 0 {
                assert_eq!(product(a, inverse(a)), 1);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn all_kernels_give_the_same_bytes(
            rows in proptest::collection::vec(any::<Row>(), 1..=MAX_ROWS),
            length in 0..700_usize,
            seed: u8,
        ) {
            let inputs: [Vec<u8>; 4] = std::array::from_fn(|row| {
                (0..length).map(|i| (((i * 37 + row * 101 + usize::from(seed)) * 167) >> 3) as u8).collect()
            });
            let expected: Vec<Vec<u8>> = rows
                .iter()
                .map(|row| {
                    (0..length)
                        .map(|i| (0..4).fold(0, |sum, j| sum ^ galois_8::mul(row[j], inputs[j][i])))
                        .collect()
                })
                .collect();
            for kernel in Kernel::available() {
                let mut found = vec![vec![0xaa; length]; rows.len()];
                let mut outputs: Vec<&mut [u8]> = found.iter_mut().map(Vec::as_mut_slice).collect();
                kernel.multiply(&rows, inputs.each_ref().map(Vec::as_slice), &mut outputs);
                prop_assert_eq!(&found, &expected, "{}", kernel);
            }
        }

        #[test]
        fn inverses_undo(rows: [Row; 4]) {
            if let Some(inverse) = invert(rows) {
                for (i, row) in inverse.iter().enumerate() {
                    let unit: Row = std::array::from_fn(|c| u8::from(c == i));
                    prop_assert_eq!(row_product(*row, &rows), unit);
                }
            }
        }
    }
}
