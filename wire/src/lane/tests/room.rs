use std::{
    cell::Cell,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::super::room::Room;

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_attempt_that_succeeds_does_not_wait() {
    let room = Room::default();
    let waiting = pin!(room.until(|| Some(7)));
    let poll = waiting.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(poll, Poll::Ready(7));
}

#[test]
fn an_attempt_is_made_again_when_room_was_made_and_only_then() {
    let room = Room::default();
    let count = Arc::<Count>::default();
    let waker = Waker::from(Arc::clone(&count));
    let mut context = Context::from_waker(&waker);
    let (attempts, free) = (Cell::new(0), Cell::new(false));
    let mut waiting = pin!(room.until(|| {
        attempts.set(attempts.get() + 1);
        free.get().then_some(())
    }));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert_eq!((attempts.get(), count.0.load(Ordering::SeqCst)), (1, 0));
    room.made();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert_eq!(attempts.get(), 2);
    free.set(true);
    room.made();
    assert!(waiting.as_mut().poll(&mut context).is_ready());
}

#[test]
fn room_made_during_an_attempt_is_not_missed() {
    let room = Room::default();
    let attempts = Cell::new(0);
    let waiting = pin!(room.until(|| {
        attempts.set(attempts.get() + 1);
        if attempts.get() == 1 {
            room.made();
            return None;
        }
        Some(())
    }));
    let poll = waiting.poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_ready());
}

#[test]
fn every_waiter_attempts_again() {
    let room = Room::default();
    let free = Cell::new(false);
    let mut context = Context::from_waker(Waker::noop());
    let mut first = pin!(room.until(|| free.get().then_some(())));
    let mut second = pin!(room.until(|| free.get().then_some(())));
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    free.set(true);
    room.made();
    assert!(first.as_mut().poll(&mut context).is_ready());
    assert!(second.as_mut().poll(&mut context).is_ready());
}
