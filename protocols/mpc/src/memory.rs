//! The values of a program under evaluation, each kept until its last use.

use std::borrow::Cow;
use std::sync::Arc;

use ai_link_program::fixed::{Op, Program, Step, ValueId};
use ai_link_program::ops::{ConstTerms, apply_linear};

use crate::buffers::{give_words, take_bytes, take_words, wipe_words};
use crate::kernels::VectorKernels;
use crate::planes::{CHUNK, for_chunks, read_words, write_message};

/// What a memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Masks: wiped after use.
    Masks,
    /// Masked values, which reveal nothing.
    Masked,
}

impl Holds {
    fn give_up(self, words: Vec<u64>) {
        match self {
            Self::Masks => wipe_words(words),
            Self::Masked => give_words(words),
        }
    }
}

/// Ring vectors by value id; those that no later step reads are given up.
pub(crate) struct Memory {
    holds: Holds,
    values: Vec<Vec<u64>>,
    last_uses: Vec<Option<usize>>,
    kernels: VectorKernels,
}

impl Memory {
    pub(crate) fn new(program: &Arc<Program>, holds: Holds) -> Self {
        Self {
            holds,
            values: vec![Vec::new(); program.values().len()],
            last_uses: program.last_uses(),
            kernels: VectorKernels::for_program(program),
        }
    }

    /// Stores all input ports from the message that concatenates them.
    pub(crate) fn set_inputs(&mut self, program: &Program, batch: usize, mut bytes: &[u8]) {
        for port in program.inputs() {
            let size = 8 * program.value(port.value).elements() * batch;
            let (this, rest) = bytes.split_at(size);
            let mut words = take_words(this.len() / 8);
            let pairs = words.chunks_mut(CHUNK).zip(this.chunks(8 * CHUNK));
            for_chunks(
                pairs.collect(),
                || (),
                |(), _, (out, bytes)| read_words(bytes, out),
            );
            self.set(port.value, words);
            bytes = rest;
        }
    }

    /// Stores all input ports from the concatenation of their masks.
    pub(crate) fn set_input_masks(&mut self, program: &Program, batch: usize, masks: Vec<u64>) {
        if let [port] = program.inputs() {
            return self.set(port.value, masks);
        }
        let mut rest = masks.as_slice();
        for port in program.inputs() {
            let (this, after) = rest.split_at(program.value(port.value).elements() * batch);
            self.set(port.value, this.to_vec());
            rest = after;
        }
        wipe_words(masks);
    }

    pub(crate) fn set(&mut self, id: ValueId, words: Vec<u64>) {
        self.give_up(id);
        self.values[id.index()] = words;
    }

    fn give_up(&mut self, id: ValueId) {
        self.holds
            .give_up(std::mem::take(&mut self.values[id.index()]));
    }

    pub(crate) fn value(&self, id: ValueId) -> &[u64] {
        &self.values[id.index()]
    }

    /// Frees what `step` (at `index`) read last.
    pub(crate) fn finish(&mut self, index: usize, step: &Step) {
        for id in &step.inputs {
            if self.last_uses[id.index()] == Some(index) {
                self.give_up(*id);
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
            true => std::mem::take(&mut self.values[x.index()]),
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
        let mut bytes = take_bytes(sizes.sum());
        let mut rest = bytes.as_mut_slice();
        for port in program.outputs() {
            let words = self.value(port.value);
            let (this, after) = rest.split_at_mut(8 * words.len());
            write_message(words, this);
            rest = after;
        }
        bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for words in std::mem::take(&mut self.values) {
            self.holds.give_up(words);
        }
    }
}
