//! Questions of this process's own to the node: each goes to the task that has the control
//! stream, which gives the answer of that number to who waits for it.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use nano_wire::{Code, Failure, Hop, message::Control};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::Session;
use crate::CallError;

/// Questions that may wait to be sent on a connection.
const QUEUE: usize = 16;

/// Questions of one connection that may be unanswered; further ones wait.
const UNANSWERED: usize = 64;

/// A question, and who waits for its answer.
pub(crate) struct Question {
    message: Control,
    answer: oneshot::Sender<Control>,
}

/// The questions of one connection. Whoever waits is told when this is dropped.
pub(super) struct Questions {
    asked: mpsc::Receiver<Question>,
    unanswered: HashMap<u64, oneshot::Sender<Control>>,
    last: u64,
}

impl Questions {
    /// None yet, and the way for them to come.
    pub(super) fn new() -> (mpsc::Sender<Question>, Self) {
        let (ask, asked) = mpsc::channel(QUEUE);
        let questions = Self {
            asked,
            unanswered: HashMap::new(),
            last: 0,
        };
        (ask, questions)
    }

    /// The next one to be sent, and its number. Safe to cancel.
    pub(super) async fn next(&mut self) -> (u64, Control) {
        if self.unanswered.len() >= UNANSWERED {
            self.unanswered.retain(|_, answer| !answer.is_closed());
        }
        if self.unanswered.len() >= UNANSWERED {
            return std::future::pending().await;
        }
        match self.asked.recv().await {
            Some(Question { message, answer }) => {
                self.last += 1;
                self.unanswered.insert(self.last, answer);
                (self.last, message)
            }
            None => std::future::pending().await,
        }
    }

    /// Hands an answer over, if it is one.
    pub(super) fn answered(&mut self, id: u64, message: Control) {
        let is_answer = matches!(
            message,
            Control::Routes(_)
                | Control::Status(_)
                | Control::Explained(_)
                | Control::Checked(_)
                | Control::History(_)
                | Control::Past(_)
                | Control::Activity(_)
                | Control::Refused(_)
        );
        if is_answer && let Some(answer) = self.unanswered.remove(&id) {
            // Who has stopped to wait needs none.
            let _ = answer.send(message);
        }
    }
}

impl Session {
    /// Asks the node that the session is with, and waits for its answer so long.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        question: Control,
        limit: Duration,
    ) -> Result<Control, CallError> {
        let session = Arc::clone(self);
        let asked = async move { timeout(limit, session.ask_now(question)).await };
        match self.io.run(asked).await {
            Some(Ok(answer)) => answer,
            Some(Err(_)) => Err(failure(
                Code::Deadline,
                format!(
                    "the node did not answer for {limit:?}; one of an older version does not \
                     know the question"
                ),
            )),
            None => Err(failure(
                Code::ConnectionLost,
                "the runtime that the client was connected on has ended",
            )),
        }
    }

    async fn ask_now(&self, message: Control) -> Result<Control, CallError> {
        let mut state = self.state.subscribe();
        let link = loop {
            state.borrow_and_update();
            self.ready().await.map_err(|error| error.to_call_error())?;
            if let Some(link) = self.link.load_full() {
                break link;
            }
            // The sender lives in this session.
            let _ = state.changed().await;
        };
        let (answer, answered) = oneshot::channel();
        let question = Question { message, answer };
        let lost = || {
            failure(
                Code::ConnectionLost,
                "the session ended before an answer came",
            )
        };
        let questions = link.handler().questions.as_ref().ok_or_else(lost)?;
        questions.send(question).await.map_err(|_| lost())?;
        match answered.await {
            Ok(Control::Refused(failure)) => Err(*failure),
            Ok(answer) => Ok(answer),
            Err(_) => Err(lost()),
        }
    }
}

/// Of what this process did not send, or of a question, which never has a handler run.
pub(crate) fn failure(code: Code, message: impl Into<Cow<'static, str>>) -> CallError {
    Failure::not_sent(code, Hop::Caller, message)
}
