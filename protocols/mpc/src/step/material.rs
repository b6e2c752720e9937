//! Shares of dealt values: at the dealer, sums over everyone's seeds; at an evaluator, its own.

use crate::buffers::wipe_bytes;
use crate::planes::{Plane, resized, view_planes, view_words};
use crate::prg::{Prg, Purpose};

/// An evaluator's place in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) index: usize,
    pub(crate) evaluators: usize,
    pub(crate) receiver: usize,
}

impl Seat {
    /// The place of evaluator `index` of `evaluators` where `receiver` is sent the corrections.
    pub(crate) fn new(index: usize, evaluators: usize, receiver: usize) -> Self {
        debug_assert!(index < evaluators && receiver < evaluators);
        Self {
            index,
            evaluators,
            receiver,
        }
    }

    /// Whether this evaluator adds the public terms.
    pub(crate) fn leads(self) -> bool {
        self.index == 0
    }

    /// Whether this evaluator is sent corrections rather than expanding its shares.
    pub(crate) fn receives(self) -> bool {
        self.index == self.receiver
    }
}

/// The generators of all evaluators at the dealer, in order, and who is sent the corrections.
#[derive(Clone, Copy)]
pub(crate) struct Seeds<'a> {
    pub(crate) prgs: &'a [&'a Prg],
    receiver: usize,
}

impl<'a> Seeds<'a> {
    pub(crate) fn new(prgs: &'a [&'a Prg], receiver: usize) -> Self {
        debug_assert!(receiver < prgs.len());
        Self { prgs, receiver }
    }

    pub(crate) fn evaluators(&self) -> usize {
        self.prgs.len()
    }

    pub(crate) fn receiver(&self) -> usize {
        self.receiver
    }

    /// Those who expand their shares of dealt values.
    fn expanding(&self) -> impl Iterator<Item = &'a Prg> + use<'a> {
        let receiver = self.receiver;
        let prgs = self.prgs.iter().enumerate();
        prgs.filter(move |(i, _)| *i != receiver)
            .map(|(_, prg)| *prg)
    }

    /// Sum of everyone's share of a value that is not dealt.
    #[inline(always)]
    pub(crate) fn sum(&self, purpose: Purpose, chunk: u32, out: &mut [u64]) {
        sum(self.prgs.iter().copied(), purpose, chunk, out);
    }

    /// Exclusive or of everyone's share of a value that is not dealt.
    #[inline(always)]
    pub(crate) fn xor(&self, purpose: Purpose, chunk: u32, out: &mut [Plane]) {
        xor(self.prgs.iter().copied(), purpose, chunk, out);
    }

    /// Sum of the shares of a dealt value that are expanded: what is missing is the correction.
    #[inline(always)]
    pub(crate) fn expanded_sum(&self, purpose: Purpose, chunk: u32, out: &mut [u64]) {
        sum(self.expanding(), purpose, chunk, out);
    }

    /// Exclusive or of the shares of a dealt value that are expanded.
    #[inline(always)]
    pub(crate) fn expanded_xor(&self, purpose: Purpose, chunk: u32, out: &mut [Plane]) {
        xor(self.expanding(), purpose, chunk, out);
    }

    /// Calls `add` with every expanded share of a dealt value, as bytes in `buffer`.
    #[inline(always)]
    pub(crate) fn expanded_bytes(
        &self,
        purpose: Purpose,
        chunk: u32,
        buffer: &mut [u8],
        mut add: impl FnMut(&[u8]),
    ) {
        for prg in self.expanding() {
            prg.fill_bytes(purpose, chunk, buffer);
            add(buffer);
        }
    }
}

#[inline(always)]
fn sum<'a>(mut prgs: impl Iterator<Item = &'a Prg>, purpose: Purpose, chunk: u32, out: &mut [u64]) {
    if let Some(prg) = prgs.next() {
        prg.fill(purpose, chunk, out);
    }
    prgs.for_each(|prg| prg.add(purpose, chunk, out));
}

#[inline(always)]
fn xor<'a>(
    mut prgs: impl Iterator<Item = &'a Prg>,
    purpose: Purpose,
    chunk: u32,
    out: &mut [Plane],
) {
    let out = out.as_flattened_mut();
    if let Some(prg) = prgs.next() {
        prg.fill(purpose, chunk, out);
    }
    prgs.for_each(|prg| prg.xor(purpose, chunk, out));
}

/// An evaluator's shares of what is dealt for a step.
pub(crate) struct Material {
    pub(crate) seat: Seat,
    pub(crate) prg: Prg,
    /// Corrections; empty unless this evaluator receives them.
    dealt: Vec<u8>,
    /// Their bytes per full chunk.
    stride: usize,
}

impl Material {
    pub(crate) fn new(seat: Seat, prg: Prg, dealt: Vec<u8>, stride: usize) -> Self {
        Self {
            seat,
            prg,
            dealt,
            stride,
        }
    }

    /// The corrections of a chunk; empty unless this evaluator receives them.
    pub(crate) fn dealt(&self, chunk: usize) -> &[u8] {
        let from = (chunk * self.stride).min(self.dealt.len());
        &self.dealt[from..(from + self.stride).min(self.dealt.len())]
    }

    /// This evaluator's shares of `count` dealt planes of a chunk, from plane `from` of its
    /// corrections, of which each takes `words` words there.
    pub(crate) fn planes<'a>(
        &'a self,
        purpose: Purpose,
        chunk: usize,
        words: usize,
        (from, count): (usize, usize),
        room: &'a mut Vec<Plane>,
    ) -> &'a [Plane] {
        if self.seat.receives() {
            let (from, size) = (8 * words * from, 8 * words * count);
            let bytes = &self.dealt(chunk)[from..from + size];
            view_planes(bytes, words, count, room)
        } else {
            let room = resized(room, count);
            self.prg
                .fill(purpose, chunk as u32, room.as_flattened_mut());
            room
        }
    }

    /// This evaluator's shares of `count` dealt words of a chunk, from byte `from` of its
    /// corrections.
    pub(crate) fn words<'a>(
        &'a self,
        purpose: Purpose,
        chunk: usize,
        (from, count): (usize, usize),
        room: &'a mut Vec<u64>,
    ) -> &'a [u64] {
        if self.seat.receives() {
            view_words(&self.dealt(chunk)[from..from + 8 * count], room)
        } else {
            room.resize(count, 0);
            self.prg.fill(purpose, chunk as u32, room);
            room
        }
    }

    /// This evaluator's shares of `size` dealt bytes of a chunk, from byte `from` of its
    /// corrections.
    pub(crate) fn bytes<'a>(
        &'a self,
        purpose: Purpose,
        chunk: usize,
        (from, size): (usize, usize),
        room: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        if self.seat.receives() {
            &self.dealt(chunk)[from..from + size]
        } else {
            room.resize(size, 0);
            self.prg.fill_bytes(purpose, chunk as u32, room);
            room
        }
    }
}

/// The corrections are shares of functions of masks.
impl Drop for Material {
    fn drop(&mut self) {
        wipe_bytes(std::mem::take(&mut self.dealt));
    }
}
