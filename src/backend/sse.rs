//! Server-sent events: bytes in, events out, wherever the bytes were split.
