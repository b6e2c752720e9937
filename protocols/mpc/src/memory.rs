//! The values of a program under evaluation, each kept until its last use.

use std::borrow::Cow;
use std::sync::Arc;

use ai_link_program::fixed::{Op, Program, Step, ValueId};
use ai_link_program::ops::{ConstTerms, apply_linear};
use zeroize::Zeroizing;

use crate::kernels::VectorKernels;
use crate::planes::{from_bytes, write_words};

/// Ring vectors by value id; those that no later step reads are wiped and freed.
pub(crate) struct Memory {
    values: Vec<Zeroizing<Vec<u64>>>,
    last_uses: Vec<Option<usize>>,
    kernels: VectorKernels,
}

impl Memory {
    pub(crate) fn new(program: &Arc<Program>) -> Self {
        Self {
            values: vec![Zeroizing::default(); program.values().len()],
            last_uses: program.last_uses(),
            kernels: VectorKernels::for_program(program),
        }
    }

    /// Stores all input ports from the message that concatenates them.
    pub(crate) fn set_inputs(&mut self, program: &Program, batch: usize, mut bytes: &[u8]) {
        for port in program.inputs() {
            let size = 8 * program.value(port.value).elements() * batch;
            let (this, rest) = bytes.split_at(size);
            self.set(port.value, from_bytes(this));
            bytes = rest;
        }
    }

    /// Stores all input ports from the concatenation of their masks.
    pub(crate) fn set_input_masks(&mut self, program: &Program, batch: usize, mut words: &[u64]) {
        for port in program.inputs() {
            let (this, rest) = words.split_at(program.value(port.value).elements() * batch);
            self.set(port.value, this.to_vec());
            words = rest;
        }
    }

    pub(crate) fn set(&mut self, id: ValueId, words: Vec<u64>) {
        self.values[id.index()] = Zeroizing::new(words);
    }

    pub(crate) fn value(&self, id: ValueId) -> &[u64] {
        &self.values[id.index()]
    }

    /// Frees what `step` (at `index`) read last.
    pub(crate) fn finish(&mut self, index: usize, step: &Step) {
        for id in &step.inputs {
            if self.last_uses[id.index()] == Some(index) {
                self.values[id.index()] = Zeroizing::default();
            }
        }
    }

    /// Applies a linear step.
    pub(crate) fn apply(
        &mut self,
        program: &Program,
        index: usize,
        step: &Step,
        batch: usize,
        terms: ConstTerms,
    ) {
        let inputs: Vec<&[u64]> = step.inputs.iter().map(|id| self.value(*id)).collect();
        let out = apply_linear(program, step, &inputs, batch, terms, &self.kernels);
        self.set(step.output, out);
        self.finish(index, step);
    }

    pub(crate) fn kernels(&self) -> &VectorKernels {
        &self.kernels
    }

    /// The operands of an interactive step at the dealer: for a maximum, the difference.
    pub(crate) fn masks(&self, step: &Step) -> Vec<Cow<'_, [u64]>> {
        match (&step.op, step.inputs.as_slice()) {
            (Op::Max { .. }, [a, b]) => vec![Cow::Owned(self.difference(*a, *b))],
            (_, [a, b]) if a == b => vec![Cow::Borrowed(self.value(*a))],
            (_, inputs) => inputs.iter().map(|x| self.value(*x).into()).collect(),
        }
    }

    /// The operands of an interactive step at an evaluator, each moved if no one reads it again.
    pub(crate) fn operands(&mut self, index: usize, step: &Step) -> Vec<Vec<u64>> {
        match (&step.op, step.inputs.as_slice()) {
            (Op::Max { .. }, [a, b]) => vec![self.difference(*a, *b)],
            (_, [a, b]) if a == b => vec![self.operand(index, *a)],
            (_, inputs) => inputs.iter().map(|x| self.operand(index, *x)).collect(),
        }
    }

    fn operand(&mut self, index: usize, x: ValueId) -> Vec<u64> {
        match self.last_uses[x.index()] == Some(index) {
            true => std::mem::take(&mut *self.values[x.index()]),
            false => self.value(x).to_vec(),
        }
    }

    fn difference(&self, a: ValueId, b: ValueId) -> Vec<u64> {
        let pairs = self.value(a).iter().zip(self.value(b));
        pairs.map(|(a, b)| a.wrapping_sub(*b)).collect()
    }

    /// Stores the result of an interactive step: `max(a, b) = b + relu(a - b)`.
    pub(crate) fn set_result(&mut self, index: usize, step: &Step, mut result: Vec<u64>) {
        if let (Op::Max { .. }, [_, b]) = (&step.op, step.inputs.as_slice()) {
            let b = self.value(*b);
            result
                .iter_mut()
                .zip(b)
                .for_each(|(r, b)| *r = r.wrapping_add(*b));
        }
        self.set(step.output, result);
        self.finish(index, step);
    }

    /// The message that concatenates all outputs.
    pub(crate) fn outputs(&self, program: &Program) -> Vec<u8> {
        let sizes = program
            .outputs()
            .iter()
            .map(|port| 8 * self.value(port.value).len());
        let mut bytes = vec![0; sizes.sum()];
        let mut rest = bytes.as_mut_slice();
        for port in program.outputs() {
            let words = self.value(port.value);
            let (this, after) = rest.split_at_mut(8 * words.len());
            write_words(words, this);
            rest = after;
        }
        bytes
    }
}
