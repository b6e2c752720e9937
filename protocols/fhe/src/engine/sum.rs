//! Weighted sums of sources, as LWE ciphertexts of dimension `k N`.
//!
//! An input is a coefficient of a GLWE ciphertext; that coefficient of it *is* an LWE ciphertext whose mask is the
//! reversed, partly negated polynomials (sample extraction). A sum of few inputs adds up such masks. A sum of many is one
//! coefficient of a product of polynomials: with `W(X) = sum w_c X^(N-1-c)`, coefficient `N - 1` of `W(X) A(X)` is
//! `sum w_c a_c`, and the product is taken by FFT. Bodies are always summed exactly.

use tfhe::core_crypto::fft_impl::fft64::math::polynomial::FourierPolynomial;
use tfhe::core_crypto::prelude::*;

use crate::parameters::ParameterSet;
use crate::program::{DENSE, Form, Program};

/// The sources of a run so far.
pub(crate) struct Summation<'a> {
    set: ParameterSet,
    inputs: usize,
    glwes: Vec<&'a [u64]>,
    /// Mask polynomials of the inputs after FFT.
    masks: Vec<Vec<FourierPolynomialOwned>>,
    /// Results of bootstraps, end to end.
    results: Vec<u64>,
}

type FourierPolynomialOwned =
    tfhe::core_crypto::fft_impl::fft64::math::polynomial::FourierPolynomialOwned;

impl<'a> Summation<'a> {
    pub(crate) fn new(
        set: ParameterSet,
        inputs: usize,
        list: &'a GlweCiphertextListOwned<u64>,
    ) -> Self {
        let degree = set.degree();
        let glwes: Vec<&[u64]> = list
            .as_ref()
            .chunks_exact((set.rank() + 1) * degree)
            .collect();
        let transform = |glwe: &&[u64]| {
            glwe[..set.rank() * degree]
                .chunks_exact(degree)
                .map(|p| forward(p, Kind::Torus))
                .collect()
        };
        Self {
            set,
            inputs,
            masks: glwes.iter().map(transform).collect(),
            glwes,
            results: Vec::new(),
        }
    }

    /// Adds results of bootstraps as sources.
    pub(crate) fn extend(&mut self, lwes: Vec<u64>) {
        self.results.extend(lwes);
    }

    /// The sum as an LWE ciphertext.
    pub(crate) fn eval(&self, form: &Form) -> Vec<u64> {
        let (degree, dimension) = (self.set.degree(), self.set.dimension());
        let mut out = vec![0u64; dimension + 1];
        out[dimension] = form.constant;
        let inputs = form.terms.partition_point(|t| (t.0 as usize) < self.inputs);
        let (mut packed, computed) = form.terms.split_at(inputs);
        while let Some(first) = packed.first() {
            let block = first.0 as usize / degree;
            let end = packed.partition_point(|t| t.0 as usize / degree == block);
            let (terms, rest) = packed.split_at(end);
            packed = rest;
            if terms.len() > DENSE {
                self.dense(block, terms, &mut out);
            } else {
                self.sparse(block, terms, &mut out);
            }
        }
        for (source, weight) in computed {
            let start = (*source as usize - self.inputs) * (dimension + 1);
            for (o, r) in out.iter_mut().zip(&self.results[start..=start + dimension]) {
                *o = o.wrapping_add(r.wrapping_mul(*weight as u64));
            }
        }
        out
    }

    /// All outputs of a program without tables, as coefficients of one product: its mask, then their bodies.
    ///
    /// With `W(X) = sum_j sum_i w_ji X^(F j + F - 1 - i)` for `F` inputs, coefficient `F j + F - 1` of the product is the sum
    /// of output `j`: of other blocks, only coefficients without an input fall there.
    pub(crate) fn shared(&self, program: &Program) -> Vec<u64> {
        let (degree, features) = (self.set.degree(), self.inputs);
        let (_, body) = self.glwes[0].split_at(self.set.rank() * degree);
        let mut weights = vec![0u64; degree];
        for (j, output) in program.outputs.iter().enumerate() {
            for (source, weight) in &output.form.terms {
                weights[features * j + features - 1 - *source as usize] = *weight as u64;
            }
        }
        let transformed = forward(&weights, Kind::Integer);
        let mut words: Vec<u64> = Vec::with_capacity(self.set.dimension() + program.outputs.len());
        for a in &self.masks[0] {
            words.extend(backward(a, &transformed, degree));
        }
        for (j, output) in program.outputs.iter().enumerate() {
            let place = program.shared_place(j);
            let sum = weights
                .iter()
                .enumerate()
                .fold(output.form.constant, |sum, (e, w)| {
                    if *w == 0 {
                        sum
                    } else if e <= place {
                        sum.wrapping_add(w.wrapping_mul(body[place - e]))
                    } else {
                        sum.wrapping_sub(w.wrapping_mul(body[degree + place - e]))
                    }
                });
            words.push(sum);
        }
        words
    }

    fn sparse(&self, block: usize, terms: &[(u32, i64)], out: &mut [u64]) {
        let degree = self.set.degree();
        let (polynomials, body) = self.glwes[block].split_at(self.set.rank() * degree);
        let (mask, last) = out.split_at_mut(self.set.dimension());
        for (source, weight) in terms {
            let (at, weight) = (*source as usize % degree, *weight as u64);
            last[0] = last[0].wrapping_add(body[at].wrapping_mul(weight));
            for (out, a) in mask
                .chunks_exact_mut(degree)
                .zip(polynomials.chunks_exact(degree))
            {
                let (low, high) = out.split_at_mut(at + 1);
                for (o, a) in low.iter_mut().zip(a[..=at].iter().rev()) {
                    *o = o.wrapping_add(a.wrapping_mul(weight));
                }
                for (o, a) in high.iter_mut().zip(a[at + 1..].iter().rev()) {
                    *o = o.wrapping_sub(a.wrapping_mul(weight));
                }
            }
        }
    }

    fn dense(&self, block: usize, terms: &[(u32, i64)], out: &mut [u64]) {
        let degree = self.set.degree();
        let (_, body) = self.glwes[block].split_at(self.set.rank() * degree);
        let (mask, last) = out.split_at_mut(self.set.dimension());
        let mut weights = vec![0u64; degree];
        for (source, weight) in terms {
            let at = *source as usize % degree;
            weights[degree - 1 - at] = *weight as u64;
            last[0] = last[0].wrapping_add(body[at].wrapping_mul(*weight as u64));
        }
        let weights = forward(&weights, Kind::Integer);
        for (out, a) in mask.chunks_exact_mut(degree).zip(&self.masks[block]) {
            // Coefficient N - 1 as an LWE mask is the product's coefficients in reverse.
            let product = backward(a, &weights, degree);
            for (o, p) in out.iter_mut().zip(product.iter().rev()) {
                *o = o.wrapping_add(*p);
            }
        }
    }
}

enum Kind {
    Torus,
    Integer,
}

fn forward(polynomial: &[u64], kind: Kind) -> FourierPolynomialOwned {
    let size = PolynomialSize(polynomial.len());
    let fft = Fft::new(size);
    let mut buffers = ComputationBuffers::new();
    buffers.resize(fft.as_view().forward_scratch().unaligned_bytes_required());
    let mut out = FourierPolynomial::new(size);
    let standard = Polynomial::from_container(polynomial);
    match kind {
        Kind::Torus => fft
            .as_view()
            .forward_as_torus(out.as_mut_view(), standard, buffers.stack()),
        Kind::Integer => {
            fft.as_view()
                .forward_as_integer(out.as_mut_view(), standard, buffers.stack())
        }
    };
    out
}

/// The product of two transformed polynomials.
fn backward(a: &FourierPolynomialOwned, b: &FourierPolynomialOwned, degree: usize) -> Vec<u64> {
    let fft = Fft::new(PolynomialSize(degree));
    let mut buffers = ComputationBuffers::new();
    buffers.resize(fft.as_view().backward_scratch().unaligned_bytes_required());
    let mut product = FourierPolynomial::new(PolynomialSize(degree));
    for (p, (a, b)) in product
        .data
        .iter_mut()
        .zip(a.data.iter().zip(b.data.iter()))
    {
        *p = *a * *b;
    }
    let mut out = vec![0u64; degree];
    fft.as_view().backward_as_torus(
        Polynomial::from_container(out.as_mut_slice()),
        product.as_view(),
        buffers.stack(),
    );
    out
}
