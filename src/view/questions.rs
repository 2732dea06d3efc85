//! Questions in SQL: a few at a time, each answered by a process of its own.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::sql::{Answering, Question, SqlError};

/// Most questions that are answered at a time.
const AT_ONCE: usize = 2;

/// Longest that a question waits for its turn.
const WAIT: Duration = Duration::from_secs(10);

/// Starts what answers a question to tapes.
pub(crate) type Ask = Box<dyn Fn(&[PathBuf], &Question) -> io::Result<Answering> + Send + Sync>;

/// Has questions answered.
pub(super) struct Questions {
    ask: Ask,
    turns: Arc<Semaphore>,
}

/// A question under way; dropping it ends it.
pub(super) struct Turn {
    answering: Answering,
    _turn: OwnedSemaphorePermit,
}

impl Questions {
    pub(super) fn new(ask: Ask) -> Self {
        Self {
            ask,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Has a question answered when it is its turn.
    ///
    /// # Errors
    ///
    /// Fails where its turn does not come, or the system refuses a process.
    pub(super) async fn ask(
        &self,
        tapes: &[PathBuf],
        question: &Question,
    ) -> Result<Turn, SqlError> {
        let turn = timeout(WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(SqlError::Busy { at_once: AT_ONCE });
        };
        let answering = (self.ask)(tapes, question).map_err(|source| SqlError::System {
            verb: "start a process that answers",
            source,
        })?;
        Ok(Turn {
            answering,
            _turn: turn,
        })
    }
}

impl Turn {
    /// Returns the next bytes of the answer; none at its end.
    ///
    /// # Errors
    ///
    /// Says why there is no answer.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, SqlError> {
        self.answering.next().await
    }

    /// Returns the whole answer.
    ///
    /// # Errors
    ///
    /// Says why there is none, or that it has more than `limit_bytes`.
    pub(super) async fn whole(mut self, limit_bytes: usize) -> Result<Vec<u8>, SqlError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if whole.len() + piece.len() > limit_bytes {
                return Err(SqlError::LongAnswer { limit_bytes });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}
