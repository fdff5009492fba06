//! A bounded way from threads that must not wait to one that may: what finds no room is counted and
//! lost.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc,
};

/// Where things go in. Cheap to clone.
pub(super) struct Sender<T> {
    sender: mpsc::SyncSender<T>,
    dropped: Arc<AtomicU64>,
}

/// Where they come out.
pub(super) struct Receiver<T> {
    receiver: mpsc::Receiver<T>,
    dropped: Arc<AtomicU64>,
    told: u64,
}

/// A queue for so many things at a time.
pub(super) fn queue<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::sync_channel(room);
    let dropped = Arc::new(AtomicU64::new(0));
    let receiver = Receiver {
        receiver,
        dropped: Arc::clone(&dropped),
        told: 0,
    };
    (Sender { sender, dropped }, receiver)
}

impl<T> Sender<T> {
    /// Puts a thing in, if there is room. The receiver looks by itself, so nobody is woken.
    pub(super) fn send(&self, thing: T) {
        if self.sender.try_send(thing).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were lost so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl<T> Receiver<T> {
    /// The next thing, if there is one.
    pub(super) fn take(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Counts things as lost that were taken out.
    pub(super) fn lose(&self, things: usize) {
        self.dropped.fetch_add(things as u64, Ordering::Relaxed);
    }

    /// How many were lost since this was last asked.
    pub(super) fn newly_dropped(&mut self) -> u64 {
        let dropped = self.dropped.load(Ordering::Relaxed);
        dropped - std::mem::replace(&mut self.told, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::queue;

    #[test]
    fn what_finds_no_room_is_counted() {
        let (sender, mut receiver) = queue(2);
        (0..5).for_each(|number| sender.send(number));
        assert_eq!((receiver.take(), receiver.take()), (Some(0), Some(1)));
        assert_eq!(receiver.take(), None);
        receiver.lose(2);
        assert_eq!(sender.dropped(), 5);
        assert_eq!((receiver.newly_dropped(), receiver.newly_dropped()), (5, 0));
    }
}
