//! What a running attempt has said so far.

use diesel::prelude::*;
use rgrid_api::Stream;

use crate::execution::Claim;
use crate::store::StoreError;
use crate::store::schema::output_chunks;

/// One numbered piece of a stream. Numbers are those of the init's events: unique within an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub seq: u64,
    pub stream: Stream,
    pub text: String,
}

/// All chunks of an attempt in order, to go on behind the last one.
pub(crate) fn chunks(conn: &mut PgConnection, claim: &Claim) -> Result<Vec<Chunk>, StoreError> {
    let rows: Vec<(i64, String, String)> = output_chunks::table
        .filter(output_chunks::execution_id.eq(claim.execution.as_str()))
        .filter(output_chunks::attempt.eq(claim.attempt))
        .order(output_chunks::seq)
        .select((output_chunks::seq, output_chunks::stream, output_chunks::text))
        .load(conn)?;
    rows.into_iter().map(chunk).collect()
}

pub(crate) fn chunk((seq, stream, text): (i64, String, String)) -> Result<Chunk, StoreError> {
    let stream = stream.parse().map_err(StoreError::Internal)?;
    Ok(Chunk { seq: seq.unsigned_abs(), stream, text })
}
