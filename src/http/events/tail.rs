//! What a client still lacks of an execution that has ended: its output is in its row, and may be cut.

use std::collections::BTreeMap;

use rgrid_api::units::format_size;
use rgrid_api::{OutputEvent, Stream};

use crate::execution::{ExecutionId, StreamOffsets};
use crate::store::{Store, StoreError, StreamCut};

/// Bytes of text in one event.
const PIECE: u64 = 64 * 1024;
/// The line that stands for what was cut is shorter.
const MARKER_MAX: u64 = 100;

pub(crate) struct Rest {
    id: ExecutionId,
    cuts: Option<BTreeMap<Stream, StreamCut>>,
}

impl Rest {
    pub fn new(id: ExecutionId) -> Self {
        Self { id, cuts: None }
    }

    /// The next piece, and `position` behind it; none when the client has everything.
    pub async fn next(
        &mut self,
        store: &Store,
        position: &mut StreamOffsets,
    ) -> Result<Option<OutputEvent>, StoreError> {
        let cuts = match self.cuts.take() {
            Some(cuts) => cuts,
            None => store.output_cuts(&self.id).await?,
        };
        let mut found = None;
        for stream in [Stream::Install, Stream::Stdout, Stream::Stderr] {
            let from = position.of(stream);
            let piece = match cuts.get(&stream) {
                None => self.whole(store, stream, from, PIECE).await?,
                Some(cut) => self.around_the_cut(store, stream, from, cut).await?,
            };
            if let Some((output, upto)) = piece {
                position.set(stream, upto);
                found = Some(output);
                break;
            }
        }
        self.cuts = Some(cuts);
        Ok(found)
    }

    async fn whole(
        &self,
        store: &Store,
        stream: Stream,
        from: u64,
        most: u64,
    ) -> Result<Option<(OutputEvent, u64)>, StoreError> {
        let text = store.stored_text(&self.id, stream, from, most).await?;
        let upto = from + text.len() as u64;
        Ok((!text.is_empty()).then_some((OutputEvent { stream, text, cut: None }, upto)))
    }

    /// Beginning, cut, end. Who followed live may have come far into what is not kept, even into the end.
    async fn around_the_cut(
        &self,
        store: &Store,
        stream: Stream,
        from: u64,
        cut: &StreamCut,
    ) -> Result<Option<(OutputEvent, u64)>, StoreError> {
        let end_begins = cut.total.saturating_sub(cut.tail);
        if from < cut.head {
            return self.whole(store, stream, from, PIECE.min(cut.head - from)).await;
        }
        let marker = marker(&store.stored_text(&self.id, stream, cut.head, MARKER_MAX).await?);
        if from < end_begins {
            let missing = end_begins - from;
            let text = if from == cut.head { marker } else { marker_for(missing) };
            return Ok(Some((OutputEvent { stream, text, cut: Some(missing) }, end_begins)));
        }
        // In the kept text the end stands right behind the marker.
        let shift = cut.head + marker.len() as u64;
        let kept = self.whole(store, stream, shift + (from - end_begins), PIECE).await?;
        Ok(kept.map(|(output, upto)| (output, upto - shift + end_begins)))
    }
}

/// The line of the cut, from the text that begins with it.
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
    fn the_marker_ends_where_the_end_of_the_text_begins() {
        assert_eq!(marker("\n[… 3 KiB cut by RGrid …]\nlast …]\n"), "\n[… 3 KiB cut by RGrid …]\n");
        assert_eq!(marker(&marker_for(7)), "\n[… 7 B cut by RGrid …]\n");
    }
}
