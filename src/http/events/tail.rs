//! The output that a client still lacks when an execution has ended. It is stored in the execution's row and may be cut.

use std::collections::BTreeMap;

use rgrid_api::units::format_size;
use rgrid_api::{OutputEvent, Stream};

use crate::execution::{ExecutionId, StreamOffsets};
use crate::store::{Store, StoreError, StreamCut};

/// Bytes of text per event.
const EVENT_MAX: u64 = 64 * 1024;
/// The line that marks a cut is shorter than this.
const MARKER_MAX: u64 = 100;

pub(crate) struct Tail {
    id: ExecutionId,
    cuts: Option<BTreeMap<Stream, StreamCut>>,
}

/// An event, and the offset of its end.
type Piece = Option<(OutputEvent, u64)>;

impl Tail {
    pub fn new(id: ExecutionId) -> Self {
        Self { id, cuts: None }
    }

    /// The next event after `sent`, which is advanced; `None` when the client has everything.
    pub async fn next(
        &mut self,
        store: &Store,
        sent: &mut StreamOffsets,
    ) -> Result<Option<OutputEvent>, StoreError> {
        let cuts = match self.cuts.take() {
            Some(cuts) => cuts,
            None => store.output_cuts(&self.id).await?,
        };
        let mut next = None;
        for stream in [Stream::Install, Stream::Stdout, Stream::Stderr] {
            let from = sent.of(stream);
            let piece = match cuts.get(&stream) {
                None => self.text(store, stream, from, EVENT_MAX).await?,
                Some(cut) => self.around_cut(store, stream, from, cut).await?,
            };
            if let Some((output, end)) = piece {
                sent.set(stream, end);
                next = Some(output);
                break;
            }
        }
        self.cuts = Some(cuts);
        Ok(next)
    }

    async fn text(&self, store: &Store, stream: Stream, from: u64, max: u64) -> Result<Piece, StoreError> {
        let text = store.stored_text(&self.id, stream, from, max).await?;
        let end = from + text.len() as u64;
        Ok((!text.is_empty()).then_some((OutputEvent { stream, text, cut: None }, end)))
    }

    /// The beginning, the cut and the end. A client that followed live may have received part of what was cut.
    async fn around_cut(
        &self,
        store: &Store,
        stream: Stream,
        from: u64,
        cut: &StreamCut,
    ) -> Result<Piece, StoreError> {
        let cut_end = cut.total.saturating_sub(cut.tail);
        if from < cut.head {
            return self.text(store, stream, from, EVENT_MAX.min(cut.head - from)).await;
        }
        let marker = marker(&store.stored_text(&self.id, stream, cut.head, MARKER_MAX).await?);
        if from < cut_end {
            let missing = cut_end - from;
            let text = if from == cut.head { marker } else { marker_for(missing) };
            return Ok(Some((OutputEvent { stream, text, cut: Some(missing) }, cut_end)));
        }
        // In the stored text, the end follows the marker.
        let shift = cut.head + marker.len() as u64;
        let piece = self.text(store, stream, shift + (from - cut_end), EVENT_MAX).await?;
        Ok(piece.map(|(output, end)| (output, end - shift + cut_end)))
    }
}

/// The marker at the beginning of `text`.
fn marker(text: &str) -> String {
    const END: &str = " …]\n";
    let length = text.find(END).map_or(0, |at| at + END.len());
    text.get(..length).unwrap_or_default().to_owned()
}

fn marker_for(missing: u64) -> String {
    format!("\n[… {} cut by RGrid …]\n", format_size(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_ends_before_the_rest_of_the_text() {
        assert_eq!(marker("\n[… 3 KiB cut by RGrid …]\nlast …]\n"), "\n[… 3 KiB cut by RGrid …]\n");
        assert_eq!(marker(&marker_for(7)), "\n[… 7 B cut by RGrid …]\n");
    }
}
