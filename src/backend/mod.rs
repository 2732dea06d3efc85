//! How a request is phrased and a streamed answer understood: one file a protocol, all of it pure.
//!
//! Bytes of a response go through [`sse::Decoder`], which cuts them into events wherever the
//! network cut them; an [`EventReader`] then says what each event means. Nothing here reads a
//! clock or a socket, so whatever arrives can be decoded again, elsewhere, with the same result.

pub mod sse;
