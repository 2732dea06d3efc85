//! The SQL engine's session, for traces and for tapes.

mod session;

pub(crate) use session::new_session;
