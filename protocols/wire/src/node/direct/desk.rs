//! Where the two halves of a connection come together again when a stream is done with.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::line::{Line, LineReader, LineWriter};

/// Lends the halves of `line` to a stream. The receiver has it back when both were dropped.
pub(super) fn lend(line: Line) -> (Lent<LineReader>, Lent<LineWriter>, oneshot::Receiver<Line>) {
    let (back, returned) = oneshot::channel();
    let desk = Arc::new(Mutex::new(Desk {
        reader: None,
        writer: None,
        back: Some(back),
    }));
    let reader = Lent {
        half: Some(line.reader),
        put: |desk, half| desk.reader = Some(half),
        desk: desk.clone(),
    };
    let writer = Lent {
        half: Some(line.writer),
        put: |desk, half| desk.writer = Some(half),
        desk,
    };
    (reader, writer, returned)
}

/// Half of a connection, for as long as a stream uses it.
pub(in super::super) struct Lent<H> {
    /// Taken only when dropped.
    half: Option<H>,
    put: fn(&mut Desk, H),
    desk: Arc<Mutex<Desk>>,
}

struct Desk {
    reader: Option<LineReader>,
    writer: Option<LineWriter>,
    back: Option<oneshot::Sender<Line>>,
}

impl<H> Deref for Lent<H> {
    type Target = H;

    fn deref(&self) -> &H {
        self.half.as_ref().expect("taken only when dropped, qed")
    }
}

impl<H> DerefMut for Lent<H> {
    fn deref_mut(&mut self) -> &mut H {
        self.half.as_mut().expect("taken only when dropped, qed")
    }
}

impl<H> Drop for Lent<H> {
    fn drop(&mut self) {
        let Some(half) = self.half.take() else {
            return;
        };
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        (self.put)(&mut desk, half);
        if desk.reader.is_none() || desk.writer.is_none() {
            return;
        }
        if let (Some(reader), Some(writer), Some(back)) =
            (desk.reader.take(), desk.writer.take(), desk.back.take())
        {
            // Nobody waits: the connection is closed.
            drop(back.send(Line { reader, writer }));
        }
    }
}
